"""Every rule's limit as a number: given, or found in the ledger as a quantile or a top share.

Place in the flow: `judging` asks for them, `select` writes them into `selection.json`. The law: a limit is
an order statistic of one population, the measured candidates that pass every rule with a given number and have the
score. So it depends on neither the rules' order nor the source's, other relative rules do not move it, and several of
them intersect. A quantile drops no more than its share, a top share keeps no less; equal scores stay together.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, copysign, floor, isfinite
from sys import float_info

import numpy as np
from numpy.typing import NDArray

from supir_curate.config.rules import Keep, Quantile, Rule, Rules, Threshold, Thresholds, Top


def given_thresholds(rules: Rules) -> Thresholds:
    """Returns the rules whose limit is a number, or that are off."""
    return {
        name: Threshold(score=rule.score, keep=rule.keep, limit=rule.limit, found="given")
        for name, rule in rules.items()
        if rule.limit is None or isinstance(rule.limit, float)
    }


def as_numbers(rules: Rules, thresholds: Thresholds) -> Rules:
    """Returns rules with the limits that were found for them."""
    return {name: rule.model_copy(update={"limit": thresholds[name].limit}) for name, rule in rules.items()}


def found_threshold(rule: Rule, values: NDArray[np.float64]) -> Threshold:
    """Returns a rule with its quantile or top share as a number.

    Args:
        rule: its limit is relative.
        values: (N,) the scores of the population, NaN where one has none.
    """
    assert isinstance(rule.limit, Quantile | Top)
    values = values[~np.isnan(values)]
    limit = _finite(
        order_statistic(values, rule.keep, num_kept(rule.limit, rule.keep, len(values))), rule.keep
    )
    ((kind, share),) = rule.limit.model_dump().items()
    words = f"{kind} {share:g} of {len(values)} candidates that pass the given limits"
    return Threshold(score=rule.score, keep=rule.keep, limit=limit, found=words)


def order_statistic(values: NDArray[np.float64], keep: Keep, num_kept: int) -> float | None:
    """Returns the limit with which the best `num_kept` values, and those equal to the last of them, are kept.

    Args:
        values: (N,) without NaN; reordered in place.
        keep: ">=" where a higher value is better.
        num_kept: 1 to N.

    Example:
        >>> order_statistic(np.array([4.0, 1.0, 3.0, 2.0]), ">=", 3)
        2.0
    """
    if not len(values):
        return None
    place = len(values) - num_kept if keep == ">=" else num_kept - 1
    values.partition(place)
    return float(values[place])


def _finite(limit: float | None, keep: Keep) -> float | None:
    """Returns a limit that can be written down and decides the same: a source's scores may be infinite."""
    if limit is None or isfinite(limit):
        return limit
    drops_none = limit < 0 if keep == ">=" else limit > 0
    return None if drops_none else copysign(float_info.max, limit)


def num_kept(limit: Quantile | Top, keep: Keep, count: int) -> int:
    """Returns how many of `count` candidates a quantile or a top share keeps, at least one."""
    if isinstance(limit, Top):
        return max(1, ceil(Fraction(str(limit.top)) * count))
    below = Fraction(str(limit.quantile)) * count
    return max(1, count - floor(below) if keep == ">=" else ceil(below))
