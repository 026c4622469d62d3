"""Limits from a set of pictures that is trusted: nothing worse than its own worst few per cent is kept.

Place in the flow: `supir-curate calibrate` scores the reference as `run` would and writes rules for `--config`. The
law: every limit is an order statistic of the reference, on its rule's side; a rule whose limit is relative, or whose
score the reference lacks or has as one single value (the aspect ratio of square portraits), stays as it is.

Source: SUPIR (arXiv 2401.13627), section 3.2, in whose sense FFHQ is the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import floor

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_curate.config.rules import Keep, Rule, Rules, Threshold
from supir_curate.ledger import numbers, read_scores
from supir_curate.score import OK
from supir_curate.scores import PREFIX
from supir_curate.selection.select import require_scored
from supir_curate.selection.thresholds import order_statistic
from supir_curate.sources.plan import Plan
from supir_shards import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedRule:
    """A rule before and after.

    Args:
        name: the reason that it gives.
        score: what it limits.
        keep: comparison.
        old_limit: before.
        new_limit: after.
        among: reference pictures that have the score.
        fail_old: those of them that the old limit drops.
        fail_new: those of them that the new limit drops.
        note: why it stays as it was; "" where it changes.
    """

    name: str
    score: str
    keep: Keep
    old_limit: float
    new_limit: float
    among: int
    fail_old: int
    fail_new: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Every rule with a number, and how many of the measured reference pictures fail any of them before and after."""

    rules: tuple[CalibratedRule, ...]
    measured: int
    fail_old: int
    fail_new: int


def calibrate(store: Store, plan: Plan, rules: Rules, quantile: float) -> Calibration:
    """Returns the rules with their limits at a quantile of a scored reference.

    Args:
        store: the reference's dataset, with its ledger.
        plan: its plan.
        rules: the table.
        quantile: share of the reference that each new limit may drop, 0 to 1.

    Raises:
        UserError: the reference is not scored whole, or none of it could be measured.
    """
    require_scored(store, plan)
    columns = _Columns(store, plan)
    if not columns.measured:
        raise UserError(
            f"none of the {plan.num_candidates} reference pictures in {store.url} could be measured"
        )
    old, new = np.zeros(columns.measured, dtype=bool), np.zeros(columns.measured, dtype=bool)
    calibrated = []
    for name, rule in rules.items():
        if not isinstance(rule.limit, float):
            continue
        values = columns.of(rule.score)
        limit, note = _new_limit(values, rule, quantile)
        fails = [_fails(rule, one, values) for one in (rule.limit, limit)]
        old, new = old | fails[0], new | fails[1]
        calibrated.append(
            CalibratedRule(
                name=name,
                score=rule.score,
                keep=rule.keep,
                old_limit=rule.limit,
                new_limit=limit,
                among=int((~np.isnan(values)).sum()),
                fail_old=int(fails[0].sum()),
                fail_new=int(fails[1].sum()),
                note=note,
            )
        )
    return Calibration(tuple(calibrated), columns.measured, int(old.sum()), int(new.sum()))


def rules_yaml(calibration: Calibration, reference: str, quantile: float) -> str:
    """Returns the rules as a file for `--config`; each line says what it changes."""
    lines = [
        f"# Limits at the {quantile:g} quantile of {calibration.measured} pictures of {reference}.",
        f"# {calibration.fail_new} of them fail one of these rules; under the old ones {calibration.fail_old} did.",
        "select:",
        "  rules:",
    ]
    for rule in calibration.rules:
        said = (
            rule.note or f"was {rule.old_limit:g}; {rule.fail_new} of {rule.among} fail, were {rule.fail_old}"
        )
        lines.append(
            f'    {rule.name}: {{score: {rule.score}, keep: "{rule.keep}", limit: {rule.new_limit!r}}}  # {said}'
        )
    return "\n".join(lines) + "\n"


def table_lines(calibration: Calibration) -> Iterator[str]:
    """Yields the table for people: rule, old and new limit, how many of the reference fail."""
    yield f"{'rule':<18}{'score':<22}{'keep':<6}{'old limit':>12}{'new limit':>12}{'fail old':>10}{'fail new':>10}"
    for rule in calibration.rules:
        yield (
            f"{rule.name:<18}{rule.score:<22}{rule.keep:<6}{rule.old_limit:>12.5g}{rule.new_limit:>12.5g}"
            f"{rule.fail_old:>10}{rule.fail_new:>10}  {rule.note}".rstrip()
        )
    yield f"{'any of them':<70}{calibration.fail_old:>10}{calibration.fail_new:>10}  of {calibration.measured}"


def as_rows(calibration: Calibration) -> list[dict[str, object]]:
    """Returns the rules for programs."""
    return [asdict(rule) for rule in calibration.rules]


class _Columns:
    """Scores of the measured reference pictures, one column at a time."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store, self._parts = store, plan.parts()
        self._chosen = [
            np.asarray(read_scores(store, part, ["status"]).column("status").to_numpy() == OK)
            for part in self._parts
        ]
        self.measured = sum(int(chosen.sum()) for chosen in self._chosen)

    def of(self, score: str) -> NDArray[np.float64]:
        """Returns a score of every measured picture, NaN where it has none or nobody scored it."""
        found = []
        for part, chosen in zip(self._parts, self._chosen, strict=True):
            table = read_scores(self._store, part, [PREFIX + score])
            has_it = PREFIX + score in table.column_names
            found.append(numbers(table, PREFIX + score)[chosen] if has_it else np.full(chosen.sum(), np.nan))
        return np.concatenate(found)


def _new_limit(values: NDArray[np.float64], rule: Rule, quantile: float) -> tuple[float, str]:
    assert isinstance(rule.limit, float)
    known = values[~np.isnan(values)]
    if not len(known):
        return rule.limit, "as it was: no reference picture has the score"
    if known.min() == known.max():
        return rule.limit, f"as it was: every reference picture has {known[0]:g}"
    dropped = floor(Fraction(str(quantile)) * len(known))
    limit = order_statistic(known, rule.keep, max(1, len(known) - dropped))
    assert limit is not None
    return limit, ""


def _fails(rule: Rule, limit: float, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ~Threshold(score=rule.score, keep=rule.keep, limit=limit, found="").passes(values)
