"""The paper's claims at the size of `mini`: a committed config each in train/mini/claims, a row of the table each.

    python train/mini/claims.py train/mini/claims/*.yaml --pairs PAIRS [--place dataset=DATASET] [-o runs/claims]

A claim compares two arms. An arm trains an adapter by claim_adapter.yaml, changed as the claim says, or takes the model
as it is; restores PAIRS/lq, captioned; and is measured against PAIRS/hq. Both are done for every seed, of training and
of restoring. Arms that several claims have in common are made once: a folder is named by what was asked for in it.
The interval is of the mean difference over other draws of the pictures and of the seeds. All is done by the project's
commands, so that a run that was interrupted goes on where it stopped, and its folders can be looked into.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from supir_console import Config, UserError, load_config

HERE = Path(__file__).parent
COMMANDS = Path(sys.executable).parent
NUM_RESAMPLES = 4000
DIGITS = {"lpips": 3, "psnr": 2}
SHARED_SETTINGS = {"strength": 1, "working_scale": 1, "min_size_px": 128}
"""What the arms restore with beside their own: all of the restoration, at the size that adapters are trained at."""

Figures = npt.NDArray[np.float64]
"""(seeds, pictures), the pictures in the order of their names."""


class Arm(Config):
    """One side of a comparison."""

    encoder: Literal["robust", "plain"] = Field(
        default="robust", description="plain: the VAE's own encoder in the robust encoder's place."
    )
    train: dict[str, Any] | None = Field(
        default=None,
        description="Keys of claim_adapter.yaml to change; null: no training, the model as it is.",
    )
    restore: dict[str, Any] = Field(default={}, description="Keys of the restorer's settings to change.")


class Claim(Config):
    """What is said, and the two arms that decide it."""

    says: str = Field(description="The claim in words; it recommends the arm `ours`.")
    source: str = Field(description="Where it is made.")
    metric: Literal["lpips", "psnr"] = Field(default="lpips", description="The figure that decides.")
    ours: Arm
    other: Arm


@dataclass(frozen=True, slots=True)
class Lab:
    """What all arms share.

    Args:
        model: name or folder of what they start from.
        pairs: folder with lq/ and hq/.
        places: what stands for {NAME} in a value of `Arm.train`.
        num_steps: of each adapter.
        seeds: of training and of restoring.
        work: folder of the runs.
    """

    model: str
    pairs: Path
    places: Mapping[str, str]
    num_steps: int
    seeds: range
    work: Path

    def measure(self, arm: Arm, metric: str) -> Figures:
        """Returns the arm's figures.

        Raises:
            UserError: a command failed, or `train` names a place that was not given.
        """
        return np.array([self._measure(arm, seed, metric) for seed in self.seeds])

    def _measure(self, arm: Arm, seed: int, metric: str) -> list[float]:
        model = self.model if arm.encoder == "robust" else self._with_plain_encoder()
        shared = str(self.model), str(self.pairs), dict(self.places), self.num_steps
        folder = self.work / _digest(*shared, arm.encoder, arm.train) / f"seed-{seed}"
        if arm.train is not None:
            model = self._trained(folder / "run", model, arm.train, seed)
        restored = folder / f"restored-{_digest(arm.restore)}"
        table = restored.with_name(f"{restored.name}.{metric}.csv")
        made: list[str | Path] = ["-o", restored, "--model", model, "--preset", "mini", "--seed", str(seed)]
        run(
            "supir-infer",
            self.pairs / "lq",
            *made,
            "--captioner",
            "tags",
            *_set(SHARED_SETTINGS | arm.restore),
        )
        against: list[str | Path] = ["--reference", self.pairs / "hq", "--metrics", metric]
        run("supir-eval", restored, *against, "--per-image", table)
        with table.open(newline="") as file:
            return [
                float(line[metric]) for line in sorted(csv.DictReader(file), key=lambda line: line["name"])
            ]

    def _trained(self, folder: Path, init: str, changes: dict[str, Any], seed: int) -> str:
        """Folder of the model with an adapter trained as the claim says."""
        shared: dict[str, Any] = {
            "run": str(folder),
            "init": init,
            "seed": seed,
            "optimize.steps": self.num_steps,
        }
        placed = {
            key: self._placed(value) for key, value in ({"data.dataset": "{dataset}"} | changes).items()
        }
        run("supir-train", HERE / "claim_adapter.yaml", *_set(shared | placed))
        return str(folder / "model")

    def _with_plain_encoder(self) -> str:
        """Folder of the model whose control and start are what the VAE's own encoder makes of the LQ."""
        from supir_infer.model_source import load_model, resolve_model
        from supir_train.reset import reset_robust_encoder

        folder = self.work / "plain-encoder"
        if not (folder / "config.json").exists():
            supir = load_model(resolve_model(self.model), "cpu", "float32")
            reset_robust_encoder(supir)
            supir.save_pretrained(folder)
        return str(folder)

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return value.format(**self.places)
        except KeyError as error:
            raise UserError(
                f"the claim trains on {error}; give its folder: --place {error.args[0]}=PATH"
            ) from error


def main() -> None:
    """Prints the rows of the claims that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("claims", type=Path, nargs="+", metavar="CLAIM.yaml")
    parser.add_argument("--pairs", type=Path, required=True, help="folder with lq/ and hq/ of the same names")
    parser.add_argument("--model", default="runs/noise-prior/model", help="what every arm starts from")
    parser.add_argument(
        "--place", action="append", default=[], metavar="NAME=PATH", help="a dataset that claims train on"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="of each adapter")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/claims"))
    options = parser.parse_args()
    places = dict(place.partition("=")[::2] for place in options.place)
    lab = Lab(options.model, options.pairs, places, options.steps, range(options.seeds), options.output)
    try:
        print(
            "| claim | figure | ours | other | difference (95 %) | of each seed | |\n|---|---|---|---|---|---|---|"
        )
        for path in options.claims:
            claim = load_config(Claim, path)
            ours, other = (lab.measure(arm, claim.metric) for arm in (claim.ours, claim.other))
            print(row(claim, ours, other), flush=True)
    except UserError as error:
        sys.exit(f"error: {error}")


def row(claim: Claim, ours: Figures, other: Figures) -> str:
    """Returns the claim's line of the Markdown table."""
    digits = DIGITS[claim.metric]
    low, high = interval(ours - other)
    better = sorted((low, high) if claim.metric == "psnr" else (-low, -high))
    verdict = "holds" if better[0] > 0 else "the contrary" if better[1] < 0 else "open"
    seeds = ", ".join(f"{value:+.{digits}f}" for value in (ours - other).mean(axis=1))
    cells = (
        f"{claim.says} ({claim.source})",
        claim.metric.upper(),
        f"{ours.mean():.{digits}f}",
        f"{other.mean():.{digits}f}",
        f"{(ours - other).mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})",
        seeds,
        verdict,
    )
    return f"| {' | '.join(cells)} |"


def interval(differences: Figures) -> tuple[float, float]:
    """Returns the 95 % percentile interval of the mean, over resamples of the seeds and of the pictures."""
    random = np.random.default_rng(0)
    seeds, pictures = differences.shape
    means = [
        differences[
            np.ix_(random.integers(seeds, size=seeds), random.integers(pictures, size=pictures))
        ].mean()
        for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def run(command: str, *arguments: str | Path) -> None:
    """Runs one of the project's commands; its words go to stderr.

    Raises:
        UserError: it failed.
    """
    line = [str(COMMANDS / command), *map(str, arguments)]
    if code := subprocess.run(line, check=False, stdout=sys.stderr).returncode:
        raise UserError(f"{command} left with code {code}; its last lines say why")


def _digest(*asked: Any) -> str:
    """Name of a folder for what was asked for."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def _set(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield "--set"
        yield f"{key}={json.dumps(value)}"


if __name__ == "__main__":
    main()
