"""The ledger with every score: its own columns, and those that scorers put beside it.

Place in the flow: `select`, `survey` and the commands on finished datasets read scores here. The law: a score has one
source; a candidate that a sidecar does not name has no value there (NaN). A sidecar is `scores/NAME/part-N.parquet`
with `source_row` (int64) and one or more float64 columns `score.X`; the ledger itself never changes after scoring.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_curate.scores import PREFIX
from supir_shards import Store, ledger_path
from supir_shards.layout import SCORES, scores_path

if TYPE_CHECKING:
    import pyarrow as pa

    from supir_curate.sources.plan import Plan

AT_ONCE = 8  # parts read or written at a time, where storage is waited for


def read_scores(store: Store, part: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns a part's ledger, one row a candidate, with the scores of every sidecar that there is.

    Args:
        store: the dataset.
        part: name of the part.
        columns: column names that are wanted; None for all. One that is nowhere is left out.

    Raises:
        UserError: two files give the same score.
    """
    ledger = store.read_table(ledger_path(part), columns and [*columns, "source_row"])
    missing = None if columns is None else set(columns).difference(ledger.column_names)
    if missing is None or any(name.startswith(PREFIX) for name in missing):
        for name in store.folders(SCORES):
            path = scores_path(name, part)
            if store.exists(path):
                ledger = _joined(ledger, _scores_of(store, path, missing), path)
    return ledger


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Returns a column as float64, NaN where it is null."""
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)


def require_scores(store: Store, plan: Plan, wanted: Collection[str]) -> None:
    """Checks that the ledger or a finished sidecar has each score.

    Args:
        store: the dataset, with its ledger.
        plan: its plan.
        wanted: score names.

    Raises:
        UserError: a score is nowhere, or its sidecar lacks parts.
    """
    if not plan.num_parts:
        return
    known = {name for name in store.columns(ledger_path(plan.parts()[0])) if name.startswith(PREFIX)}
    files = store.list(SCORES, ".parquet") if any(PREFIX + name not in known for name in wanted) else []
    for scorer in sorted({path.split("/")[1] for path in files}):
        paths = [path for path in files if path.split("/")[1] == scorer]
        columns = {name for name in store.columns(paths[0]) if name.startswith(PREFIX)}
        used = sorted(name for name in wanted if PREFIX + name in columns)
        if used and len(paths) < plan.num_parts:
            raise UserError(
                f"{store.url}/{SCORES}/{scorer} holds {used[0]!r} of {len(paths)} of {plan.num_parts} parts;"
                " let the scorer finish first"
            )
        known |= columns
    require_known(store.url, wanted, {name.removeprefix(PREFIX) for name in known})


def require_known(dataset: str, wanted: Collection[str], known: Collection[str]) -> None:
    """Raises UserError, with the nearest name, if a score is none of the known ones."""
    names = sorted(known)
    for name in wanted:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise UserError(
                f"{dataset} has no score {name!r}; did you mean {nearest!r}? All: {', '.join(names)}"
            )


def sidecar_scores(store: Store) -> set[str]:
    """Returns the scores that stand beside the ledger, of whatever parts."""
    first = {path.split("/")[1]: path for path in store.list(SCORES, ".parquet")}
    columns = {column for path in first.values() for column in store.columns(path)}
    return {name.removeprefix(PREFIX) for name in columns if name.startswith(PREFIX)}


def _scores_of(store: Store, path: str, missing: Collection[str] | None) -> pa.Table:
    """Returns a sidecar's scores, without what it holds besides: an embedding is a thousand times as long."""
    names = store.columns(path) if missing is None else missing
    return store.read_table(path, ["source_row", *(name for name in names if name.startswith(PREFIX))])


def _joined(ledger: pa.Table, sidecar: pa.Table, path: str) -> pa.Table:
    rows = np.asarray(ledger.column("source_row").to_numpy())
    theirs = np.asarray(sidecar.column("source_row").to_numpy())
    order = np.argsort(theirs, kind="stable")
    place = np.searchsorted(theirs[order], rows)
    place = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(rows), dtype=np.intp)
    found = theirs[place] == rows if len(order) else np.zeros(len(rows), dtype=bool)
    for name in sidecar.column_names[1:]:
        if name in ledger.column_names:
            raise UserError(f"{path} gives {name}, which another file has too; remove one of them")
        values = np.full(len(rows), np.nan)
        values[found] = numbers(sidecar, name)[place[found]]
        ledger = ledger.append_column(name, [values])
    return ledger
