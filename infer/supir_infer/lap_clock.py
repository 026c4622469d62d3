"""Seconds of the parts of a piece of work on a device.

Place in the flow: `restore` times encoding, sampling and decoding with it, for the origin that a result carries.
"""

from __future__ import annotations

import time

import torch


class LapClock:
    """Writes the seconds since the last lap; waits for the device first, or the figures would lie.

    Args:
        timings: gets the seconds by name.
        device: where the work is done.
    """

    def __init__(self, timings: dict[str, float], device: torch.device) -> None:
        self._timings, self._device = timings, device
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Notes the seconds since the last call, or since the start, under a name."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._timings[name] = now - self._last
        self._last = now
