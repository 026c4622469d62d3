"""Every rule's limit as a number: given, or found in the ledger as a quantile or a top share.

Place in the flow: `select` asks for them before it decides, and writes them into `selection.json`. The law: a limit is
an order statistic of one population, the measured candidates that pass every rule with a given number and have the
score. So it depends on neither the rules' order nor the source's, other relative rules do not move it, and several of
them intersect. A quantile drops no more than its share, a top share keeps no less; equal scores stay together.

Memory: a byte a candidate, and 8 bytes for one score at a time.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from supir_curate.config.rules import (
    PASSED,
    Keep,
    Quantile,
    Rule,
    Rules,
    Threshold,
    Thresholds,
    Top,
    first_failed,
)
from supir_curate.ledger import AT_ONCE, numbers, read_scores
from supir_curate.score import OK
from supir_curate.scores import PREFIX
from supir_curate.sources.look_ahead import in_order
from supir_curate.sources.plan import Plan
from supir_shards import Store


def find_thresholds(store: Store, plan: Plan, rules: Rules) -> Thresholds:
    """Returns the rules with their limits as numbers, in the same order.

    Args:
        store: the dataset, with its ledger.
        plan: its plan.
        rules: every score that they name is there.
    """
    given = {
        name: Threshold(score=rule.score, keep=rule.keep, limit=rule.limit, found="given")
        for name, rule in rules.items()
        if rule.limit is None or isinstance(rule.limit, float)
    }
    if len(given) == len(rules):
        return given
    masks = in_order(partial(_population, store, given), plan.parts(), AT_ONCE)
    population = dict(zip(plan.parts(), masks, strict=True))
    return {
        name: given[name] if name in given else _found(store, population, rule)
        for name, rule in rules.items()
    }


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


def num_kept(limit: Quantile | Top, keep: Keep, count: int) -> int:
    """Returns how many of `count` candidates a quantile or a top share keeps, at least one."""
    if isinstance(limit, Top):
        return max(1, ceil(Fraction(str(limit.top)) * count))
    below = Fraction(str(limit.quantile)) * count
    return max(1, count - floor(below) if keep == ">=" else ceil(below))


def _population(store: Store, given: Thresholds, part: str) -> NDArray[np.bool_]:
    used = {name: threshold for name, threshold in given.items() if threshold.limit is not None}
    names = [PREFIX + threshold.score for threshold in used.values()]
    table = read_scores(store, part, ["status", *names])
    columns = {name.removeprefix(PREFIX): numbers(table, name) for name in names}
    measured = np.asarray(table.column("status").to_numpy() == OK)
    return measured & (first_failed(columns, used) == PASSED) if used else measured


def _found(store: Store, population: dict[str, NDArray[np.bool_]], rule: Rule) -> Threshold:
    assert isinstance(rule.limit, Quantile | Top)
    column = PREFIX + rule.score
    values = np.empty(sum(int(chosen.sum()) for chosen in population.values()))
    end = 0
    tables = in_order(lambda part: read_scores(store, part, [column]), population, AT_ONCE)
    for table, chosen in zip(tables, population.values(), strict=True):
        found = numbers(table, column)[chosen]
        found = found[~np.isnan(found)]
        values[end : end + len(found)] = found
        end += len(found)
    values = values[:end]
    limit = order_statistic(values, rule.keep, num_kept(rule.limit, rule.keep, len(values)))
    ((kind, share),) = rule.limit.model_dump().items()
    words = f"{kind} {share:g} of {len(values)} candidates that pass the given limits"
    return Threshold(score=rule.score, keep=rule.keep, limit=limit, found=words)
