"""Where a run's time goes and the most memory that it held: figures of each line of metrics, and of the summary.

Place in the flow: `loop.py` tells it what it is doing, `run.py` asks it at the end. The law it keeps: a rate is that of
training alone and of the time since the last line; validations and checkpoints are counted apart.
"""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from supir_train.batch import Batch
from supir_train.world import World

LARGEST_VALIDATION_SHARE = 0.05
"""Share of a run's time that its validations may take before the user is told."""
log = logging.getLogger(__name__)
RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of getrusage's ru_maxrss


class Pace:
    """The clock of one start of a run.

    Args:
        world: the processes of the run.
        device: where it computes.
    """

    def __init__(self, world: World, device: torch.device) -> None:
        self._world, self._device = world, device
        self._started = time.monotonic()
        self._validating_s = self._last_validation_s = self._between_s = 0.0
        self._last_validation_ended = self._started
        self._is_warned = False
        self.begin_window()

    def begin_window(self) -> None:
        """Starts a new window of training."""
        self._since, self._apart_s, self._waited_s, self._images = time.monotonic(), 0.0, 0.0, 0
        self._replaced_loaders = 0

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yields the batches and counts the seconds in which they were waited for, and the loaders that died."""
        waiting = iter(batches)
        while True:
            asked = time.monotonic()
            try:
                batch = next(waiting)
            except StopIteration:
                return
            self._waited_s += time.monotonic() - asked
            self._replaced_loaders += batch.replaced_loaders
            yield batch

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Counts what is done within it as no training."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._apart_s += time.monotonic() - began

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Counts what is done within it as validation."""
        began = time.monotonic()
        self._between_s = began - self._last_validation_ended
        try:
            with self.apart():
                yield
        finally:
            self._last_validation_ended = time.monotonic()
            self._last_validation_s = self._last_validation_ended - began
            self._validating_s += self._last_validation_s

    def warn_of_cost(self, every: int) -> None:
        """Tells the user, once, if validations take too much of the time.

        Args:
            every: steps between two of them, which lie before the last one.
        """
        affordable = affordable_every(every, self._between_s, self._last_validation_s)
        if affordable <= every or self._is_warned:
            return
        self._is_warned = True
        share = self._last_validation_s / (self._last_validation_s + self._between_s)
        log.warning(
            "a validation takes %.1f s, %.0f %% of the time at validation.every=%d; for %.0f %% set "
            "validation.every=%d, or fewer validation.crops, validation.pictures or validation.steps",
            self._last_validation_s,
            100 * share,
            every,
            100 * LARGEST_VALIDATION_SHARE,
            affordable,
        )

    def count(self, images: int) -> None:
        """Counts images that all processes together have trained on."""
        self._images += images

    def line(self) -> dict[str, Any]:
        """Returns the figures of the window, and begins the next one; to be called by all processes.

        `data_wait` is the mean over the processes of the share of time in which batches were waited for; the memory is
        that of the process that held most.
        """
        seconds = max(time.monotonic() - self._since - self._apart_s, 1e-9)
        own = (
            self._waited_s / seconds,
            _peak_rss_bytes(),
            _peak_cuda_bytes(self._device),
            self._replaced_loaders,
        )
        waits, resident, on_device, replaced = zip(*self._world.gather(own), strict=True)
        line = {
            "seconds": seconds,
            "images_per_s": self._images / seconds,
            "data_wait": sum(waits) / len(waits),
            "peak_rss_bytes": max(resident),
        }
        if any(replaced):
            line["replaced_loaders"] = sum(replaced)
        if any(on_device):
            line["peak_cuda_bytes"] = max(on_device)
        self.begin_window()
        return line

    @property
    def validation_share(self) -> float:
        """Share of the time since the start that went into validations, 0 to 1."""
        return self._validating_s / max(time.monotonic() - self._started, 1e-9)


def affordable_every(every: int, training_s: float, validation_s: float) -> int:
    """Returns how many steps must lie between two validations for them to take `LARGEST_VALIDATION_SHARE` of the time.

    Args:
        every: steps between them now, which took `training_s`.
        validation_s: what a validation takes.
    """
    wanted_s = validation_s * (1 - LARGEST_VALIDATION_SHARE) / LARGEST_VALIDATION_SHARE
    return -int(-every * wanted_s // max(training_s, 1e-9))


def _peak_rss_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT_BYTES


def _peak_cuda_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
