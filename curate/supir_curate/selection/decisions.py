"""The decisions about the candidates of one part as its selection table.

Place in the flow: `judging` says what the rules say, `survivors` who is excluded among those that passed; `select`
writes the tables. The law: a candidate without scores keeps the ledger's reason; one that breaks a rule has that rule's
name; the rest is kept unless it is excluded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.config.rules import PASSED, Threshold, Thresholds
from supir_curate.ledger import AT_ONCE
from supir_curate.score import FAILED, REMOVED
from supir_curate.selection.judging import UNMEASURED, Judged
from supir_curate.selection.roles import ROLES
from supir_curate.selection.survivors import REASONS, Excluded, Exclusion
from supir_curate.sources.look_ahead import in_order
from supir_curate.verdict import Reason, Tally
from supir_shards import Store, ledger_path

if TYPE_CHECKING:
    import pyarrow as pa

KEPT, DROPPED = "kept", "dropped"
DECIDING = ("source_row", "key", "status", "reason", "detail")
STATES = (KEPT, DROPPED, FAILED)
Places = NDArray[np.int64]
REPEATING = ("state", "reason", "role")  # columns of a table with few different values


def name_repeated(store: Store, parts: Sequence[str], excluded: Excluded) -> None:
    """Reads the files or URLs of those candidates whose bytes excluded ones have too, for `selection_table`.

    Args:
        store: the dataset, with its ledger.
        parts: names of all parts.
        excluded: takes the names.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    def named(number: int) -> tuple[int, pa.Array]:
        table = store.read_table(ledger_path(parts[number]), ["source_row", "url"])
        place = pc.index_in(pa.array(repeated[number]), table.column("source_row").combine_chunks())
        return number, pc.take(table.column("url"), place).combine_chunks()

    repeated = excluded.repeated(len(parts))
    for number, urls in in_order(named, [n for n, rows in enumerate(repeated) if len(rows)], AT_ONCE):
        excluded.name_repeated(number, repeated[number], urls)


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
    import pyarrow.compute as pc

    ledger = store.read_table(ledger_path(part), DECIDING).combine_chunks()
    failed, status = judged.failed, ledger.column("status")
    is_failed, is_removed = (pc.equal(status, word).to_numpy() for word in (FAILED, REMOVED))
    measured = failed != UNMEASURED
    names = ["", *thresholds, *map(str, REASONS[1:]), str(Reason.REMOVED)]
    state = np.where(measured & (failed == PASSED), STATES.index(KEPT), STATES.index(DROPPED))
    state[~measured & is_failed] = STATES.index(FAILED)
    reason = np.where(failed >= 0, failed + 1, 0)
    reason[is_removed] = len(names) - 1
    places = _places(ledger.column("source_row").to_numpy(), excluded)
    reason[places] = [1 + len(thresholds) + REASONS[1:].index(one.reason) for one in excluded]
    state[places] = STATES.index(DROPPED)
    role = np.where(measured, judged.role + 1, 0)
    detail = _details(judged, list(thresholds.values()), places, [one.detail for one in excluded])
    told = pa.array(measured | is_removed)
    columns = {
        "source_row": ledger.column("source_row"),
        "key": ledger.column("key"),
        "state": _texts(state, STATES),
        "reason": pc.if_else(told, _texts(reason, names), ledger.column("reason")),
        "detail": pc.if_else(pa.array(measured), detail, ledger.column("detail")),
        "role": _texts(role, ["", *map(str, ROLES)]),
    }
    return pa.table(columns)


def counted(column: pa.ChunkedArray) -> Counter[str]:
    """Returns how often each value of a column of texts stands in it."""
    import pyarrow.compute as pc

    return Counter({row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()})


def tally_of(selection: pa.Table) -> Tally:
    """Returns the counts of a part's decisions."""
    states = counted(selection.column("state"))
    return Tally(seen=selection.num_rows, failed=states[FAILED], dropped=states[DROPPED], kept=states[KEPT])


class Counts:
    """What became of the candidates, over the parts' decisions."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.reasons: Counter[str] = Counter()
        self.roles: Counter[str] = Counter()

    def add(self, decisions: pa.Table) -> None:
        """Counts a part's decisions."""
        import pyarrow.compute as pc

        kept = pc.equal(decisions.column("state"), KEPT)
        reasons = counted(decisions.column("reason"))
        self.reasons.update({reason: count for reason, count in reasons.items() if reason})
        self.roles.update(counted(decisions.column("role").filter(kept)))
        self.tally += tally_of(decisions)


def _details(
    judged: Judged, rules: Sequence[Threshold], excluded: Places, said_of_excluded: Sequence[str]
) -> pa.Array:
    """Returns for each candidate the score by which it fails, or why it is excluded; "" for what is kept."""
    before = [f"{rule.score} " for rule in rules]
    after = ["" if rule.limit is None else f", kept {rule.keep} {rule.limit:g}" for rule in rules]
    rows = np.flatnonzero(judged.failed >= 0)
    fails = zip(judged.failed[rows].tolist(), judged.value.tolist(), strict=True)
    said = [f"{before[number]}{value:.4g}{after[number]}" for number, value in fails]
    codes = np.zeros(len(judged.failed), dtype=np.int32)
    codes[rows] = np.arange(1, len(rows) + 1)
    codes[excluded] = np.arange(len(rows) + 1, len(rows) + 1 + len(excluded))
    return _texts(codes, ["", *said, *said_of_excluded])


def _places(rows: Places, excluded: Sequence[Exclusion]) -> Places:
    """Returns where the excluded stand among a part's source rows."""
    order = np.argsort(rows, kind="stable")
    return order[np.searchsorted(rows[order], np.array([one.row for one in excluded], dtype=np.int64))]


def _texts(codes: NDArray[Any], texts: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(texts, pa.string()).take(pa.array(codes))
