"""RUN/metrics.jsonl: one JSON object a line, enough to draw the loss curves; traces.jsonl and bad_samples.jsonl.

A training line holds step, phase, phase_step, images (seen in the phase), the means since the last line of the loss
and of what the stage logs beside it (of a noise loss also by bins of timesteps, loss_t000_199 to loss_t800_999),
grad_norm (before clipping) and lr; of the training since the last line, without validations and checkpoints: seconds,
images_per_s, and data_wait, the share of the seconds in which batches were waited for; since the start, of the training
process with most: peak_rss_bytes and peak_cuda_bytes; replaced_loaders, if loader processes died since the last line;
and time, in seconds since 1970. psnr_db is over the images that
are not their reference, psnr_db_infinite the share of the others.
A validation line holds step, phase, phase_step, time and `validation_…` figures; of the restored pairs psnr, ssim and
lpips, as `supir-eval` gives them, identical, the share of pairs that are left out of these, and sheet, their picture.
A line of traces.jsonl holds step and phase, and what one training pair was made from: key, crop (x0, y0, x1, y1 in the
stored picture), flip, and the trace of its degradation, from which `supir_degrade.replay` makes the LQ side again, or
where `data.degrade_on` is device, `supir_degrade.batch.replay_batch` on that kind of device.
The law it keeps: a line is appended whole, by one write; a continued run drops what a kill cut short and the lines that
lie after its checkpoint, so no step appears twice. What is dropped goes in one step: the file is never half there.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from supir_shards import Store
from supir_train.batch import Batch
from supir_train.crop_maker import BadSample
from supir_train.world import World

log = logging.getLogger(__name__)


class StepLog:
    """Appends lines that tell of steps to a file, after dropping what lies beyond the point where the run goes on.

    Args:
        path: the file; made when missing.
        step: run step of the checkpoint that the run goes on from; 0 for a new run.
        phase: phase of that checkpoint; None for a new run.
        is_validated: whether the checkpoint holds what its validation found; if not, that will be written again.

    `kept` are the lines that stood there and stay.
    """

    def __init__(self, path: Path, *, step: int, phase: str | None, is_validated: bool = True) -> None:
        self._path = path
        told = (entry for entry in _entries(path) if {"step", "phase"} <= entry.keys())
        self.kept = [
            entry
            for entry in told
            if _is_before(entry, step, phase)
            and (is_validated or entry["step"] < step or "validation_loss" not in entry)
        ]
        _rewrite(path, self.kept)

    def write(self, line: Mapping[str, Any]) -> None:
        """Appends one line."""
        _append(self._path, line)


def pair_lines(batch: Batch) -> Iterator[dict[str, Any]]:
    """Yields what each degraded pair of the batch was made from."""
    pairs = zip(batch.keys, batch.boxes, batch.traces, strict=True) if batch.traces else ()
    for key, box, trace in pairs:
        yield {"key": key, "crop": box.corners, "flip": box.flip, "trace": trace.model_dump(mode="json")}


Counted = dict[str, tuple[torch.Tensor, torch.Tensor | float]]
Sums = dict[str, tuple[float, float]]
"""By name: the sum of a figure over what it was counted for, and how much that was."""


class Means:
    """Running means of named figures since the last `take`, over all processes of a run.

    Of figures in dB that stand for one image each, those at infinity (the PSNR of an image that is its reference) are
    left out: one of them would be all of the mean. NAME_infinite is their share of the images.

    Args:
        world: the processes.
        sums: what was counted before, as `merged` gave it.
    """

    def __init__(self, world: World, sums: Sums | None = None) -> None:
        self._world = world
        self._sums: Counted = {}
        if sums and world.writes:
            self._sums = {
                name: (torch.tensor(total, dtype=torch.float64), count)
                for name, (total, count) in sums.items()
            }

    def add(self, figures: Mapping[str, torch.Tensor], count: int = 1) -> None:
        """Counts scalars, the mean of `count` equally weighted items, and vectors, one figure an image."""
        for name, value in figures.items():
            figure = value.detach().double()
            if figure.ndim and name.endswith("_db"):
                infinite = torch.isposinf(figure)
                self._count(name, figure.where(~infinite, 0.0).sum(), (~infinite).sum())
                self._count(f"{name}_infinite", infinite.sum(), len(figure))
            elif figure.ndim:
                self._count(name, figure.sum(), len(figure))
            else:
                self._count(name, figure * count, count)

    def _count(self, name: str, term: torch.Tensor, count: torch.Tensor | float) -> None:
        total, counted = self._sums.get(name, (0.0, 0))
        self._sums[name] = (term + total, counted + count)

    def snapshot(self) -> Counted:
        """Returns what this process has counted, for `restore`."""
        return dict(self._sums)

    def restore(self, counted: Counted) -> None:
        """Forgets what was counted since that `snapshot`."""
        self._sums = dict(counted)

    def merged(self) -> Sums:
        """Returns the sums over all processes; to be called by all of them."""
        own = {name: (float(total), float(count)) for name, (total, count) in self._sums.items()}
        merged: Sums = {}
        for sums in self._world.gather(own):
            for name, (total, count) in sums.items():
                before = merged.get(name, (0.0, 0.0))
                merged[name] = (before[0] + total, before[1] + count)
        return merged

    def take(self) -> dict[str, float]:
        """Returns the means of what has any, and starts again; to be called by all processes."""
        merged = self.merged()
        self._sums = {}
        return {name: total / count for name, (total, count) in merged.items() if count}


class BadSamples:
    """The samples that gave no crop, each listed once over all starts of a run.

    Args:
        path: the list, JSON lines; made when the first bad sample is listed.
        world: the processes of the run; each adds, one writes.
    """

    def __init__(self, path: Path, world: World) -> None:
        self._path, self._world = path, world
        listed = [entry for entry in _entries(path) if "key" in entry]
        self._keys = {entry["key"] for entry in listed}
        self._new: list[BadSample] = []
        if path.exists() and world.writes:
            _rewrite(path, listed)

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, samples: Iterable[BadSample]) -> None:
        """Notes samples of this process for the next `write`."""
        self._new.extend(sample for sample in samples if sample.key not in self._keys)

    def write(self) -> None:
        """Lists what any process noted and what is not listed yet, and tells the user; to be called by all of them."""
        noted = itertools.chain.from_iterable(self._world.gather(self._new))
        fresh = {sample.key: sample for sample in noted if sample.key not in self._keys}
        self._new = []
        self._keys.update(fresh)
        if not fresh or not self._world.writes:
            return
        for sample in fresh.values():
            _append(self._path, asdict(sample))
        first = next(iter(fresh.values()))
        log.warning(
            "%d samples give no crop and are left out, %s (%s) among them; %s lists them",
            len(fresh),
            first.key,
            first.reason,
            self._path,
        )


def _append(path: Path, line: Mapping[str, Any]) -> None:
    """Appends a line by one write, which a killed process has made or has not; a full disk may take a part of it."""
    rest = memoryview(_encoded(line))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        error.filename = str(path)  # the system names none where a write fails
        raise
    finally:
        os.close(descriptor)


def _entries(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a file, none if there is no file; the end of one that was cut short is left out."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    parsed = [_parsed(line) for line in lines]
    return [entry for entry in parsed if isinstance(entry, dict)]


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _rewrite(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    Store(path.parent).write(path.name, b"".join(map(_encoded, entries)))


def _encoded(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _is_before(entry: Mapping[str, Any], step: int, phase: str | None) -> bool:
    return phase is not None and (entry["step"] < step or (entry["step"] == step and entry["phase"] == phase))
