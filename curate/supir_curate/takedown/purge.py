"""Everything that goes by a removed name, out of every file of a dataset.

Place in the flow: `remove` calls it after the names are in `removed.json`. The law: what is to go is told by that list
alone, and the ledger, which knows the most names, is cleared last; so whatever a kill left undone, the same call does
it. A candidate keeps its row, emptied, so that no other row moves; every file that holds nothing of the removed stays
as it is.
"""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO

from supir_curate.config import CurateConfig
from supir_curate.failures import write_failures
from supir_curate.reporting.report import REPORT, write_report
from supir_curate.retry import RETRY
from supir_curate.score import REMOVED
from supir_curate.selection.decisions import Counts
from supir_curate.selection.select import (
    DROPPED,
    SELECTION,
    load_selection,
    selection_path,
    write_selection,
)
from supir_curate.sources.originals import SPOOL, spool_bytes_path, spool_path
from supir_curate.sources.plan import PLAN, Plan, candidates_path, load_plan
from supir_curate.takedown.removal import INDEX_NAMES, LEDGER_NAMES, matching_rows
from supir_curate.tombstones import REMOVED_URL, TOMBSTONES, is_buried, read_tombstones
from supir_curate.verdict import Reason
from supir_shards import Manifest, Store, drop_samples, finish_dataset, index_path, ledger_path, part_of

COMMAND = "supir-curate remove"
COPY_BYTES = 8 * 2**20
KEYED = (
    "shards",
    "index",
    "captions",
    "ledger",
    "candidates",
    "selection",
    SPOOL,
)  # folders with a way of their own


def purge(store: Store) -> Manifest:
    """Deletes what `removed.json` names from every file, and returns the new manifest.

    Args:
        store: a finished dataset.

    Raises:
        DatasetError: a sample that is to stay is damaged.
    """
    tombstones = read_tombstones(store)
    plan = load_plan(store) if store.exists(PLAN) else None
    for path in store.list(RETRY):
        store.delete(path)  # of a retry that was stopped: it begins anew
    parts = sorted(
        {part_of(path) for folder in ("index", "ledger") for path in store.list(folder, ".parquet")}
    )
    sidecars = [path for path in store.list(suffix=".parquet") if path.split("/")[0] not in KEYED]
    rows_of = {part: _candidate_rows(store, part, tombstones) for part in parts}
    for part in parts:
        keys = _drop_samples(store, part, tombstones)
        for path in sidecars:
            if path.endswith(f"/{part}.parquet"):
                _drop_rows(store, path, rows_of[part], keys)
        if plan and rows_of[part]:
            _empty_spool(store, plan, part, rows_of[part])
            _empty_candidates(store, part, rows_of[part])
    for path in store.list("selection", ".parquet"):
        _empty_decisions(store, part_of(path), rows_of.get(part_of(path), []), tombstones)
    for part in parts:
        if rows_of[part]:
            _empty_ledger(store, part, rows_of[part])
    for path in store.leftovers():
        store.delete(path)
    if plan:
        _retell(store, plan)
    content = store.read(TOMBSTONES)
    lineage = {"names_removed": len(tombstones)}
    return finish_dataset(
        store, command=COMMAND, config=lineage, config_hash=hashlib.sha256(content).hexdigest()[:16]
    )


def _candidate_rows(store: Store, part: str, tombstones: frozenset[str]) -> list[int]:
    if not store.exists(ledger_path(part)):
        return []
    table = store.read_table(ledger_path(part), [*LEDGER_NAMES, "source_row"])
    places = matching_rows(table, LEDGER_NAMES, tombstones)
    return list(table.take(places).column("source_row").to_pylist())


def _drop_samples(store: Store, part: str, tombstones: frozenset[str]) -> list[str]:
    if not store.exists(index_path(part)):
        return []
    index = store.read_table(index_path(part), INDEX_NAMES)
    keys = index.take(matching_rows(index, INDEX_NAMES, tombstones)).column("key").to_pylist()
    if keys:
        drop_samples(store, part, keys)
    return list(keys)


def _drop_rows(store: Store, path: str, rows: list[int], keys: list[str]) -> None:
    """Drops the rows of a table beside the ledger or the index that belong to a removed candidate or sample."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = store.columns(path)
    column, gone = ("source_row", rows) if "source_row" in columns else ("key", keys)
    if not gone or column not in columns:
        return
    table = store.read_table(path)
    values = pa.array(gone, table.schema.field(column).type)
    kept = table.filter(pc.invert(pc.is_in(table.column(column), value_set=values)))
    if kept.num_rows == table.num_rows:
        return
    if kept.num_rows or path.startswith("scores/"):
        store.write_table(path, kept)
    else:
        store.delete(path)


def _empty_spool(store: Store, plan: Plan, part: str, rows: list[int]) -> None:
    """Overwrites the fetched bytes of removed candidates with zeros, so that the others stay where they are listed."""
    if plan.spool or not store.exists(spool_path(part)):
        return  # the bytes lie in another dataset, or nowhere
    listed = store.read_table(spool_path(part), ["row", "offset", "size"]).to_pylist()
    places = [place for place, row in enumerate(listed) if row["row"] in set(rows)]
    with store.open(spool_bytes_path(part)) as old, store.writing(spool_bytes_path(part)) as new:
        for row in sorted((listed[place] for place in places), key=lambda row: int(row["offset"])):
            _copy(old, new, row["offset"] - old.tell())
            new.write(bytes(row["size"]))
            old.seek(row["offset"] + row["size"])
        _copy(old, new, store.size(spool_bytes_path(part)) - old.tell())
    _rewrite(store, spool_path(part), places, _emptied, keep=("row",))


def _copy(old: BinaryIO, new: BinaryIO, size: int) -> None:
    while size > 0:
        data = old.read(min(size, COPY_BYTES))
        new.write(data)
        size -= len(data) or size


def _empty_candidates(store: Store, part: str, rows: list[int]) -> None:
    _rewrite(store, candidates_path(part), rows, _emptied)


def _emptied(name: str, kind: Any) -> Any:
    """Returns what stands in a column of a candidate that was removed."""
    if name == "url":
        return REMOVED_URL
    return str(Reason.REMOVED) if name == "reason" else _nothing(kind)


def _empty_ledger(store: Store, part: str, rows: list[int]) -> None:
    said = {"url": REMOVED_URL, "part": part, "status": REMOVED, "reason": str(Reason.REMOVED)}
    said |= {"detail": "", "licence": ""}
    table = store.read_table(ledger_path(part), ["source_row"])
    places = [place for place, row in enumerate(table.column("source_row").to_pylist()) if row in set(rows)]

    def emptied(name: str, _kind: Any) -> Any:
        return said.get(name)

    _rewrite(store, ledger_path(part), places, emptied, keep=("source_row",))


def _empty_decisions(store: Store, part: str, rows: list[int], tombstones: frozenset[str]) -> None:
    """Empties the removed candidates' decisions, and forgets their keys where others name them as their twins."""
    import pyarrow as pa

    table = store.read_table(selection_path(part))
    gone = set(rows)
    changed = []
    for row in table.to_pylist():
        if row["source_row"] in gone:
            row |= {"key": None, "state": DROPPED, "reason": str(Reason.REMOVED), "detail": "", "role": ""}
        elif row["reason"] == Reason.NEAR_DUPLICATE and is_buried(tombstones, row["detail"]):
            row["detail"] = str(Reason.REMOVED)
        changed.append(row)
    new = pa.Table.from_pylist(changed, schema=table.schema)
    if not new.equals(table):
        store.write_table(selection_path(part), new)


def _rewrite(store: Store, path: str, places: list[int], emptied: Any, keep: tuple[str, ...] = ()) -> None:
    """Writes a table with the rows at some places replaced, column by column, by what `emptied(name, type)` gives."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    table = store.read_table(path)
    mask = np.zeros(table.num_rows, dtype=bool)
    mask[places] = True
    columns = []
    for field in table.schema:
        column = table.column(field.name)
        if field.name not in keep:
            value = pa.scalar(emptied(field.name, field.type), field.type)
            column = pc.if_else(pa.array(mask), value, column)
        columns.append(column)
    store.write_table(path, pa.table(columns, schema=table.schema))


def _nothing(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ""
    return 0 if pa.types.is_integer(kind) else None


def _retell(store: Store, plan: Plan) -> None:
    """Counts the selection anew, and writes the report and the list of failures without the removed."""
    if store.exists(SELECTION):
        selection = load_selection(store)
        counts = Counts()
        for part in plan.parts()[: selection.parts]:
            counts.add(store.read_table(selection_path(part)))
        write_selection(
            store, counts, selection.config, selection.thresholds, selection.select_hash, selection.parts
        )
        if store.exists(REPORT):
            config = CurateConfig().with_recorded(store.url, plan.scoring, selection.config)
            write_report(store, plan, config)
    write_failures(store, plan)
