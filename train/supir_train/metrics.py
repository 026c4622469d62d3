"""RUN/metrics.jsonl: one JSON object a line, enough to draw the loss curves; traces.jsonl and bad_samples.jsonl.

A training line holds step, phase, phase_step, images (seen in the phase), the means since the last line of the loss
and of what the stage logs beside it, grad_norm (before clipping), lr, images_per_s and seconds (training time of
the phase since this start). A validation line holds step, phase, phase_step and `validation_…` figures.
A line of traces.jsonl holds step and phase, and what one training pair was made from: key, crop (x0, y0, x1, y1 in the
stored picture), flip, and the trace of its degradation, from which `supir_degrade.replay` makes the LQ side again, or
where `data.degrade_on` is device, `supir_degrade.batch.replay_batch` on that kind of device.
The law it keeps: a continued run drops the lines that lie after its checkpoint, so no step appears twice.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from supir_train.batch import BadSample, Batch
from supir_train.world import World


class StepLog:
    """Appends lines that tell of steps to a file, after dropping what lies beyond the point where the run goes on.

    Args:
        path: the file; made when missing.
        step: run step of the checkpoint that the run goes on from; 0 for a new run.
        phase: phase of that checkpoint; None for a new run.
    """

    def __init__(self, path: Path, *, step: int, phase: str | None) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if _is_before(line, step, phase)]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def pair_lines(batch: Batch) -> Iterator[dict[str, Any]]:
    """Yields what each degraded pair of the batch was made from."""
    pairs = zip(batch.keys, batch.boxes, batch.traces, strict=True) if batch.traces else ()
    for key, box, trace in pairs:
        yield {"key": key, "crop": box.corners, "flip": box.flip, "trace": trace.model_dump(mode="json")}


Sums = dict[str, tuple[float, float]]
"""By name: the sum of a figure over what it was counted for, and how much that was."""


class Means:
    """Running means of named scalars since the last `take`, over all processes of a run.

    Args:
        world: the processes.
        sums: what was counted before, as `merged` gave it.
    """

    def __init__(self, world: World, sums: Sums | None = None) -> None:
        self._world = world
        self._sums: dict[str, tuple[torch.Tensor, float]] = {}
        if sums and world.writes:
            self._sums = {
                name: (torch.tensor(total, dtype=torch.float64), count)
                for name, (total, count) in sums.items()
            }

    def add(self, figures: Mapping[str, torch.Tensor], count: int = 1) -> None:
        """Counts the scalars of `count` equally weighted items whose mean `figures` are."""
        for name, value in figures.items():
            term = value.detach().double() * count
            total, counted = self._sums.get(name, (0.0, 0))
            self._sums[name] = (term + total, counted + count)

    def merged(self) -> Sums:
        """Returns the sums over all processes; to be called by all of them."""
        own = {name: (float(total), count) for name, (total, count) in self._sums.items()}
        merged: Sums = {}
        for sums in self._world.gather(own):
            for name, (total, count) in sums.items():
                before = merged.get(name, (0.0, 0.0))
                merged[name] = (before[0] + total, before[1] + count)
        return merged

    def take(self) -> dict[str, float]:
        """Returns the means, and starts again; to be called by all processes."""
        merged = self.merged()
        self._sums = {}
        return {name: total / count for name, (total, count) in merged.items()}


class BadSamples:
    """The samples that gave no crop, each listed once over all starts of a run.

    Args:
        path: the list, JSON lines; made when the first bad sample is listed.
        world: the processes of the run; each adds, one writes.
    """

    def __init__(self, path: Path, world: World) -> None:
        self._path, self._world = path, world
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._keys = {json.loads(line)["key"] for line in lines}
        self._new: list[BadSample] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, samples: Iterable[BadSample]) -> None:
        """Notes samples of this process for the next `write`."""
        self._new.extend(sample for sample in samples if sample.key not in self._keys)

    def write(self) -> None:
        """Lists what any process noted and what is not listed yet; to be called by all of them."""
        noted = itertools.chain.from_iterable(self._world.gather(self._new))
        fresh = {sample.key: sample for sample in noted if sample.key not in self._keys}
        self._new = []
        self._keys.update(fresh)
        if fresh and self._world.writes:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(sample)) + "\n" for sample in fresh.values())


def _is_before(line: str, step: int, phase: str | None) -> bool:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:  # the line that a kill cut short
        return False
    return phase is not None and (entry["step"] < step or (entry["step"] == step and entry["phase"] == phase))
