"""The decision about every candidate of one part, as arrays: what the rules say, then the part's selection table.

Place in the flow: `select` judges every part, finds who is excluded among those that passed, and writes the tables.
The law: a candidate without scores keeps the ledger's reason; one that breaks a rule has that rule's name; the rest is
kept unless it is excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.config.rules import PASSED, Thresholds, first_failed
from supir_curate.config.select import RoleRules
from supir_curate.ledger import numbers, read_scores
from supir_curate.score import FAILED, OK, REMOVED
from supir_curate.scores import PREFIX
from supir_curate.selection.roles import ROLES, Codes, assigned
from supir_curate.selection.survivors import Exclusion, Survivors
from supir_curate.sidecar import require_seen
from supir_curate.verdict import Reason, Tally
from supir_shards import Store, ledger_path

if TYPE_CHECKING:
    import pyarrow as pa

KEPT, DROPPED = "kept", "dropped"
RANKING = ("key", "phash", "width", "height", "score.effective_ratio", "score.short_side_px")
DECIDING = ("source_row", "key", "status", "reason", "detail")


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rules say of one part's candidates, each an array of (N,).

    Args:
        failed: number of the first rule that it fails, `PASSED` for none.
        value: the score that failed.
        role: its role.
    """

    failed: NDArray[np.int16]
    value: NDArray[np.float64]
    role: Codes


class Judge:
    """Judges parts by rules and roles, and hands those that pass to the survivors.

    Args:
        store: the dataset.
        thresholds: the rules.
        roles: role to its rule.
        survivors: takes what passed.
        other_scores: further scores that the survivors need.
    """

    def __init__(
        self,
        store: Store,
        thresholds: Thresholds,
        roles: RoleRules,
        survivors: Survivors,
        other_scores: Sequence[str],
    ) -> None:
        self._store, self._thresholds, self._roles, self._survivors = store, thresholds, roles, survivors
        self._limited = [rule.score for rule in thresholds.values() if rule.limit is not None]
        self._named = named = [*self._limited, *other_scores]
        urls = ["url"] if any(rule.url for rule in roles.values()) else []
        self._columns = ["status", *RANKING, *urls, *(PREFIX + name for name in named)]

    def read(self, part: str) -> pa.Table:
        """Returns the columns of a part that the judgement needs; many parts may be read at a time."""
        return read_scores(self._store, part, list(dict.fromkeys(self._columns)))

    def __call__(self, number: int, part: str, ledger: pa.Table) -> Judged:
        """Returns what is said of a part, the `number`-th of the dataset, whose columns were read.

        Raises:
            UserError: a scorer whose scores decide has not looked at all that passes.
        """
        scores = {name: numbers(ledger, PREFIX + name) for name in self._limited}
        failed = first_failed(scores, self._thresholds) if scores else _nothing_failed(ledger.num_rows)
        value = np.full(ledger.num_rows, np.nan)
        for place, rule in enumerate(self._thresholds.values()):
            broken = failed == place
            if broken.any():
                value[broken] = scores[rule.score][broken]
        role = assigned(ledger, self._roles)
        passed = np.asarray(ledger.column("status").to_numpy() == OK) & (failed == PASSED)
        require_seen(self._store, part, self._named, numbers(ledger, "source_row")[passed])
        self._survivors.add(number, ledger.filter(passed), role[passed])
        return Judged(failed, value, role)


def selection_table(
    store: Store, part: str, judged: Judged, thresholds: Thresholds, excluded: Sequence[Exclusion]
) -> pa.Table:
    """Returns a part's decisions: source_row, key, state, reason, detail, role.

    Args:
        store: the dataset.
        part: name of the part.
        judged: what the rules say.
        thresholds: the rules.
        excluded: those that passed the rules and are not kept.
    """
    import pyarrow as pa

    ledger = store.read_table(ledger_path(part), DECIDING)
    rows, status = ledger.column("source_row").to_numpy(), ledger.column("status").to_numpy()
    measured = np.asarray(status == OK)
    state = np.where(measured, KEPT, np.where(status == FAILED, FAILED, DROPPED)).astype(object)
    reason: NDArray[Any] = np.where(measured, "", ledger.column("reason").to_numpy())
    detail: NDArray[Any] = np.where(measured, "", ledger.column("detail").to_numpy())
    named = list(thresholds.items())
    for place in np.flatnonzero(measured & (judged.failed != PASSED)).tolist():
        name, rule = named[judged.failed[place]]
        reason[place] = name
        detail[place] = f"{rule.score} {judged.value[place]:.4g}, kept {rule.keep} {rule.limit:g}"
        state[place] = DROPPED
    if excluded:
        order = np.argsort(rows, kind="stable")
        places = order[np.searchsorted(rows[order], [one.row for one in excluded])].tolist()
        for place, one in zip(places, excluded, strict=True):
            state[place], reason[place], detail[place] = DROPPED, str(one.reason), one.detail
    reason[status == REMOVED] = str(Reason.REMOVED)
    role = np.array(ROLES, dtype=object)[judged.role]
    role[~measured] = ""
    texts = {"state": state, "reason": reason, "detail": detail, "role": [str(one) for one in role]}
    columns = {"source_row": ledger.column("source_row"), "key": ledger.column("key")}
    return pa.table(columns | {name: pa.array(values, pa.string()) for name, values in texts.items()})


def tally_of(selection: pa.Table) -> Tally:
    """Returns the counts of a part's decisions."""
    states = selection.column("state").to_numpy()
    failed, dropped, kept = (int((states == state).sum()) for state in (FAILED, DROPPED, KEPT))
    return Tally(seen=selection.num_rows, failed=failed, dropped=dropped, kept=kept)


def _nothing_failed(num_rows: int) -> NDArray[np.int16]:
    return np.full(num_rows, PASSED, dtype=np.int16)
