"""What the rules say of every candidate, each score of the ledger read once.

Place in the flow: `select` hands in every part's columns, then asks for the limits that are quantiles or top shares and
for the judgement under them; `decisions` writes it down. The law: the first rule of the table that a candidate fails
decides; of a sample of a dataset, which passed the rules of its own run, only a rule that is not the default judges
again. A relative rule's limit is known when every part was seen; until then its scores are held of those candidates
that no earlier rule has dropped.

Memory: 3 bytes a candidate; 8 for one that fails a rule; 8 a relative rule for one that it may still decide about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from supir_curate.config.rules import PASSED, Rules, Threshold, Thresholds
from supir_curate.config.select import RoleRules, SelectConfig
from supir_curate.ledger import numbers, read_scores
from supir_curate.score import OK
from supir_curate.scores import PREFIX
from supir_curate.selection.roles import SOURCE_KEY, Codes, assigned
from supir_curate.selection.survivors import RANKING, Survivors
from supir_curate.selection.thresholds import found_threshold, given_thresholds
from supir_shards import Store

if TYPE_CHECKING:
    import pyarrow as pa

UNMEASURED = PASSED - 1


@dataclass(slots=True)
class Judged:
    """What the rules say of one part's candidates.

    Args:
        failed: (N,) number of the first rule that it fails, `PASSED` for none, `UNMEASURED` without scores.
        value: (F,) the scores that failed, of those that fail a rule, in their order.
        role: (N,) its role.
    """

    failed: NDArray[np.int16]
    value: NDArray[np.float64]
    role: Codes


Waiting = dict[int, NDArray[np.float64]]
"""Number of a relative rule to the scores of the candidates of a part that it may still decide about."""


class Judge:
    """Judges parts by rules and roles, and hands those that pass to the survivors.

    Args:
        store: the dataset.
        rules: the table.
        roles: role to its rule.
        survivors: takes what passed.
        other_scores: further scores that the survivors need.
    """

    def __init__(
        self, store: Store, rules: Rules, roles: RoleRules, survivors: Survivors, other_scores: Sequence[str]
    ) -> None:
        self._store, self._rules, self._roles, self._survivors = store, rules, roles, survivors
        self._given = given_thresholds(rules)
        self._relative = {
            place: rule for place, (name, rule) in enumerate(rules.items()) if name not in self._given
        }
        numbered = enumerate(self._given.get(name) for name in rules)
        self._first = {place: rule for place, rule in numbered if rule and rule.limit is not None}
        standard = SelectConfig().rules
        self._standard = {
            place for place, (name, rule) in enumerate(rules.items()) if rule == standard.get(name)
        }
        self._limited = [rule.score for rule in rules.values() if rule.limit is not None]
        self.named = [*self._limited, *other_scores]
        """Scores that decide."""
        urls = ["url"] if any(rule.url for rule in roles.values()) else []
        ranking = [*RANKING, *(PREFIX + name for name in other_scores)]
        self._ranking = list(dict.fromkeys(ranking))
        columns = ["status", *ranking, *urls, *(PREFIX + name for name in self._limited)]
        self._columns = list(dict.fromkeys(columns))
        self._judged: list[Judged] = []
        self._waiting: list[Waiting] = []

    def read(self, part: str) -> pa.Table:
        """Returns the columns of a part that the judgement needs; many parts may be read at a time."""
        return read_scores(self._store, part, self._columns)

    def add(self, ledger: pa.Table, kept: NDArray[np.bool_] | None = None) -> None:
        """Judges the next part, whose columns were read, by the rules with a given number.

        Args:
            ledger: the part's columns.
            kept: (N,) which candidates are kept, where that is settled already.
        """
        scores = {name: numbers(ledger, PREFIX + name) for name in self._limited}
        failed, value = np.full(ledger.num_rows, PASSED, dtype=np.int16), np.empty(ledger.num_rows)
        for place, rule in reversed(self._first.items()):  # the first that fails has the last word
            fails = _fails(rule, scores[rule.score])
            if SOURCE_KEY in ledger.column_names and place in self._standard:
                continue  # a sample has passed the rules of its own run; only a rule that was given judges it again
            np.copyto(failed, place, where=fails)
            np.copyto(value, scores[rule.score], where=fails)
        failed[np.asarray(ledger.column("status").to_numpy() != OK)] = UNMEASURED
        if kept is not None:
            failed = np.where(kept, PASSED, UNMEASURED).astype(np.int16)
        role = assigned(ledger, self._roles)
        self._judged.append(Judged(failed, value[failed >= 0], role))
        self._waiting.append(
            {place: scores[rule.score][_open_to(failed, place)] for place, rule in self._relative.items()}
        )
        passed = failed == PASSED
        told = [name for name in (SOURCE_KEY,) if name in ledger.column_names]
        ranked = ledger.select([*self._ranking, *told]).filter(passed)
        self._survivors.add(len(self._judged) - 1, ranked, role[passed], settled=kept is not None)

    def settled(self) -> tuple[Thresholds, list[Judged]]:
        """Returns every rule's limit as a number and the judgement of every part; survivors are those that pass."""
        if not self._relative:
            return self._given, self._judged
        passed = [one.failed == PASSED for one in self._judged]
        found = {place: self._found(place, passed) for place in self._relative}
        for one, waiting in zip(self._judged, self._waiting, strict=True):
            _apply(one, waiting, found)
        self._waiting.clear()
        still = [one.failed[before] == PASSED for one, before in zip(self._judged, passed, strict=True)]
        self._survivors.keep(np.concatenate(still))
        thresholds = {name: found.get(place) or self._given[name] for place, name in enumerate(self._rules)}
        return thresholds, self._judged

    def _found(self, place: int, passed: Sequence[NDArray[np.bool_]]) -> Threshold:
        population = [
            waiting[place][chosen[_open_to(one.failed, place)]]
            for one, waiting, chosen in zip(self._judged, self._waiting, passed, strict=True)
        ]
        return found_threshold(self._relative[place], np.concatenate(population))


def _open_to(failed: NDArray[np.int16], place: int) -> NDArray[np.bool_]:
    """Returns which candidates a rule may still decide about: they pass, or fail a later one."""
    return (failed == PASSED) | (failed > place)


def _fails(rule: Threshold, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns what `Threshold.passes` does not, in one comparison: NaN is neither below nor above a limit."""
    if rule.limit is None:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(values < rule.limit if rule.keep == ">=" else values > rule.limit)


def _apply(one: Judged, waiting: Waiting, found: dict[int, Threshold]) -> None:
    """Judges a part by the relative rules too."""
    before = one.failed.copy()
    value = np.empty(len(before))
    value[before >= 0] = one.value
    for place, rule in reversed(found.items()):
        rows = np.flatnonzero(_open_to(before, place))
        fails = _fails(rule, waiting[place])
        one.failed[rows[fails]], value[rows[fails]] = place, waiting[place][fails]
    one.value = value[one.failed >= 0]
