"""From photos to a restorer against the clock: `make speedrun PHOTOS=DIR`.

Curates the photos, trains a new autoencoder and a robust encoder from random weights, and prints as Markdown, for
docs/results.md, when the encoder first restored held-out crops below each LPIPS. The clock runs from the first command
to the validation, curation included. An interrupted run goes on where it stopped, its clock as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COMMANDS = Path(sys.executable).parent
LPIPS_MARKS = (0.45, 0.43, 0.41, 0.40, 0.39, 0.38, 0.37, 0.36, 0.35, 0.33, 0.30)
STEPS = ("optimize.steps=0", "autoencoder.steps=400")
ENCODER = ("validation.every=50", "checkpoint_every=50")


@dataclass(frozen=True, slots=True)
class Mark:
    """The first validation below an LPIPS."""

    lpips: float
    step: int
    images: int
    seconds: float


def main() -> None:
    """Runs the steps that the command line's budget allows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/speedrun"))
    parser.add_argument("--steps", type=int, default=1500, help="of the robust encoder")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    work = options.output
    work.mkdir(parents=True, exist_ok=True)
    clock = Clock(work / "seconds.json")
    dataset = work / "dataset"
    clock.run("supir-curate", "run", options.photos, "-o", dataset, "--config", HERE / "curate.yaml")
    shared = [f"data.dataset={dataset}", *options.overrides]
    autoencoder = [f"run={work / 'autoencoder'}", *STEPS, *shared]
    clock.run("supir-train", HERE / "autoencoder.yaml", *_set(autoencoder))
    before = clock.seconds
    encoder = [f"run={work / 'encoder'}", f"init={work / 'autoencoder' / 'model'}", *ENCODER]
    budget = [f"data.recipe={HERE / 'recipe.yaml'}", f"optimize.steps={options.steps}"]
    clock.run("supir-train", HERE / "encoder.yaml", *_set([*encoder, *budget, *shared]))
    marks = list(_marks(work / "encoder" / "metrics.jsonl", before))
    print("\n| LPIPS | minutes | step | crops seen |\n|---|---|---|---|")
    for mark in marks:
        print(f"| {mark.lpips:.2f} | {mark.seconds / 60:.1f} | {mark.step} | {mark.images} |")
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores")


class Clock:
    """Seconds of all commands of a run, over its interruptions.

    Args:
        path: the file that keeps them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: float = json.loads(path.read_text()) if path.exists() else 0.0

    def run(self, command: str, *arguments: str | Path) -> None:
        """Runs a command to its end; one that fails ends the speedrun."""
        started, before = time.monotonic(), self.seconds
        try:
            code = subprocess.run([str(COMMANDS / command), *map(str, arguments)], check=False).returncode
        finally:
            self.seconds = before + time.monotonic() - started
            self._path.write_text(json.dumps(self.seconds))
        if code:
            sys.exit(f"error: {command} left with code {code}; its last lines say why")


def _set(overrides: list[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def _marks(metrics: Path, before: float) -> Iterator[Mark]:
    """The first validation below each LPIPS; the seconds of a step are those of the lines up to it."""
    waiting = list(LPIPS_MARKS)
    seconds, images = before, 0
    lines: Iterator[dict[str, Any]] = map(json.loads, metrics.read_text().splitlines())
    for line in lines:
        seconds += line.get("seconds", 0.0)
        images = line.get("images", images)
        while waiting and line.get("validation_lpips", 1.0) <= waiting[0]:
            yield Mark(waiting.pop(0), line["step"], images, seconds)


if __name__ == "__main__":
    main()
