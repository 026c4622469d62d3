"""The learning rate of a step: warm-up, then constant or a cosine."""

from __future__ import annotations

import math

from supir_train.optimize_config import OptimizeConfig

COSINE_FLOOR = 0.01
"""Share of the peak learning rate that the cosine schedule ends at."""


def learning_rate(fit: OptimizeConfig, step: int) -> float:
    """Returns the learning rate of step number `step` (0 for the first)."""
    warm = min(1.0, (step + 1) / (fit.warmup_steps + 1))
    if fit.schedule == "constant":
        return fit.lr * warm
    through = min(1.0, max(0, step - fit.warmup_steps) / max(1, fit.horizon - fit.warmup_steps))
    cosine = 0.5 * (1.0 + math.cos(math.pi * through))
    return fit.lr * warm * (COSINE_FLOOR + (1.0 - COSINE_FLOOR) * cosine)
