"""What the benchmarks share: both sides timed in turns in one run, medians, one table with the ratio.

Machines are noisy and shared, so a benchmark's figure is the ratio; seconds are shown for scale only.
"""

from __future__ import annotations

import gc
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

WHERE_BASICSR = (
    "give the source distribution basicsr-1.4.2.tar.gz from https://pypi.org/project/basicsr/1.4.2/#files, or its "
    "unpacked folder, as BASICSR (pip cannot fetch it: its setup fails)"
)
"""The peer of both degradation benchmarks."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one side: median and interquartile range over the rounds."""

    median_s: float
    iqr_s: float


def race(
    sides: dict[str, Callable[[], object]], rounds: int = 5, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Timing]:
    """Times every side `rounds` times in alternation, after one warm-up each; `clock` gives seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    for _ in range(rounds):
        for name, run in sides.items():
            gc.collect()
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {name: _timing(values) for name, values in seconds.items()}


def show(title: str, timings: dict[str, Timing], *, peer: str, count: int, unit: str) -> None:
    """Prints the table: rate of each side and its ratio to the peer (above 1: faster than the peer)."""
    print(title)
    for name, timing in timings.items():
        rate, ratio = count / timing.median_s, timings[peer].median_s / timing.median_s
        spread = 100 * timing.iqr_s / timing.median_s
        print(f"  {name:<28}{rate:>10.3g} {unit}/s   x{ratio:.2f} of {peer}   (IQR {spread:.0f} %)")
    figures = {name: timing.median_s for name, timing in timings.items()}
    print("  " + json.dumps({"python": platform.python_version(), "rounds_median_s": figures}))


def _timing(values: list[float]) -> Timing:
    low, _, high = statistics.quantiles(values, n=4)
    return Timing(statistics.median(values), high - low)
