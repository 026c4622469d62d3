"""`recipe.yaml` with other shares, for legs that go on from weights which lack one thing.

    python train/mini/recipe_of.py OUT.yaml clean=0.02 x4=0.65 x2=0.2 x1=0.15 realesrgan=0.54 light=0.2 web=0.16 ...

clean is `clean_share`, x4, x2 and x1 are those of `scale`, and the others those of the branches in their order, which
are left out at 0; what is not named keeps its share. reduced-jpeg=0.3 has so many of the pictures that are reduced and
nothing else saved as JPEG of quality 50 to 95 afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

BRANCHES = ("realesrgan", "light", "web", "jpeg", "noise", "reduced", "blur")
SCALES = {"x4": 4, "x2": 2, "x1": 1}
REDUCED_JPEG = "reduced-jpeg"
KNOWN = ("clean", *SCALES, *BRANCHES, REDUCED_JPEG)


def main() -> None:
    """Writes the recipe that the command line names."""
    if len(sys.argv) < 3:
        sys.exit(f"error: type python {sys.argv[0]} OUT.yaml NAME=SHARE ..., names of {', '.join(KNOWN)}")
    out, *asked = sys.argv[1:]
    shares = dict(map(_read, asked))
    recipe = yaml.safe_load(Path(__file__).with_name("recipe.yaml").read_text(encoding="utf-8"))
    Path(out).write_text(yaml.safe_dump(with_shares(recipe, shares), sort_keys=False), encoding="utf-8")


def with_shares(recipe: dict[str, Any], shares: dict[str, float]) -> dict[str, Any]:
    """Returns the recipe, changed in place, with these shares."""
    recipe["clean_share"] = shares.get("clean", recipe["clean_share"])
    recipe["scale"] = {
        scale: share
        for name, scale in SCALES.items()
        if (share := shares.get(name, recipe["scale"].get(scale, 0)))
    }
    (choice,) = recipe["steps"]
    branches = dict(zip(BRANCHES, choice["branches"], strict=True))
    for name, branch in branches.items():
        branch["weight"] = shares.get(name, branch["weight"])
    if jpeg := shares.get(REDUCED_JPEG):
        branches["reduced"]["steps"].append({"do": "jpeg", "probability": jpeg, "quality": [50, 95]})
    choice["branches"] = [branch for branch in branches.values() if branch["weight"]]
    return recipe


def _read(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if name not in KNOWN or not 0 <= value <= 1:
        sys.exit(f"error: {text}: type NAME=SHARE, a name of {', '.join(KNOWN)} and a share of 0 to 1")
    return name, value


if __name__ == "__main__":
    main()
