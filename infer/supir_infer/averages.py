"""Averages over pictures and how sure they are: means with bootstrap intervals, quartiles.

Place in the flow: `evaluation` and `comparison` take them. The law: an interval says how much the mean would move with
another draw of pictures of this kind; it says nothing of a metric's own errors.
Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
SEED = 0  # of the resampling, so that a report is the same whenever it is made
BATCH_NUMBERS = 2_000_000  # held at once

Interval = tuple[float, float]


def mean(values: Sequence[float]) -> float | None:
    """Returns the mean, None of nothing."""
    return float(np.mean(values)) if values else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """Returns the value that `share` of the values lie below, linear between two; None of nothing."""
    return float(np.quantile(values, share)) if values else None


def mean_intervals(columns: Sequence[Sequence[float]]) -> list[Interval | None]:
    """Returns the 95 % bootstrap interval of each column's mean; None where fewer than two pictures say anything.

    The pictures are resampled, the same ones for every column.

    Args:
        columns: figures of one metric each, over the same pictures.
    """
    from scipy.stats import bootstrap

    if not columns or len(columns[0]) < 2:
        return [None] * len(columns)
    matrix = np.asarray(columns, dtype=np.float64)
    interval = bootstrap(
        (matrix,),
        np.mean,
        axis=-1,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, BATCH_NUMBERS // matrix.size),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return [(float(low), float(high)) for low, high in zip(interval.low, interval.high, strict=True)]
