"""Candidates that failed for passing reasons, tried again: those with another end now move to new parts.

Place in the flow: `score --retry-failed`, once every part is scored; `pipeline` calls it. The law: a candidate has one
row in the ledger, before and after. Who fails again for a passing reason stays where it is and as it is; the others get
parts of their own behind those that there are (`sources.additions`), and leave their old part's lists once the new one
is scored. So no shard and no caption that there is changes, and what is packed stays packed.

Written down so that a kill at any moment costs nothing but time: `retry/` is a small dataset of the candidates that are
tried and their bytes (`retry/list.json` says that it is whole); `moved/part-N.parquet` says for each candidate of a new
part where it stood before, until it has left there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from supir_console import Progress
from supir_curate.cluster import Cluster, Fetching
from supir_curate.score import FAILED
from supir_curate.scores import PREFIX
from supir_curate.selection.select import selection_path
from supir_curate.sources.additions import MOVED, MOVED_URL, append_parts
from supir_curate.sources.cutting import in_parts
from supir_curate.sources.originals import spool_bytes_path, spool_path
from supir_curate.sources.plan import SOURCE_SCORES, Plan, candidates_path, read_state
from supir_curate.verdict import may_pass
from supir_shards import Store, ledger_path, part_name, part_of
from supir_shards.layout import scores_path

if TYPE_CHECKING:
    import pyarrow as pa

RETRY, LIST = "retry", "list.json"
FROM_PART, FROM_ROW = "from_part", "from_row"

Ended = tuple[str, dict[str, Any]]
"""A candidate's part in the list, and its row in that part's spool."""


class RetryList(BaseModel):
    """The content of `retry/list.json`: the dataset's parts when the list was made, and the list's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset_parts: int
    num_parts: int
    num_candidates: int


class Retried(NamedTuple):
    """What a retry came to: candidates tried, with bytes now, and with another reason that will not pass."""

    tried: int = 0
    succeeded: int = 0
    settled: int = 0


def passing_failures(store: Store, plan: Plan) -> dict[str, list[int]]:
    """Returns the source rows that failed for a passing reason, of each part that has some."""
    found: dict[str, list[int]] = {}
    columns = ["source_row", "status", "reason", "detail"]
    for part in (part for part in plan.parts() if plan.piece_of(part).kind == "urls"):
        rows = store.read_table(ledger_path(part), columns).to_pylist()
        failed = [row for row in rows if row["status"] == FAILED]
        if chosen := [row["source_row"] for row in failed if may_pass(row["reason"], row["detail"] or "")]:
            found[part] = chosen
    return found


def retry_failed(
    store: Store, plan: Plan, cluster: Cluster, fetching: Callable[[str], Fetching]
) -> tuple[Plan, Retried]:
    """Fetches again what failed for passing reasons; returns the plan, with new parts for what ended otherwise.

    Args:
        store: the dataset; every part is scored.
        plan: its plan.
        cluster: where it is fetched.
        fetching: fetches the parts of the dataset at a place.

    Raises:
        UserError: the list of what is tried again is damaged.
    """
    again = Store(f"{store.url}/{RETRY}")
    listed = _standing_list(again)
    if (
        listed is None or listed.dataset_parts != plan.num_parts
    ):  # none, or its parts were made before the kill
        _clear(again)
        listed = _make_list(store, plan, again)
    parts = [part_name(number) for number in range(listed.num_parts)]
    with Progress(listed.num_candidates, "retry", "URLs") as progress:
        for count in cluster.run(partial(_num_rows, again.url), parts, fetching(again.url)):
            progress.advance(count)
    ended = [row for part in parts for row in _ended(again, part)]
    if ended:
        plan = _as_parts(store, plan, again, ended)
    _clear(again)
    succeeded = sum(row["reason"] is None for _, row in ended)
    return plan, Retried(listed.num_candidates, succeeded, len(ended) - succeeded)


def settle_moved(store: Store) -> bool:
    """Takes the candidates that a later, scored part has out of their old parts; returns whether there were any."""
    paths = store.list(MOVED, ".parquet")
    for path in paths:
        if not store.exists(ledger_path(part_of(path))):
            continue
        moved = store.read_table(path).to_pylist()
        for part in sorted({row[FROM_PART] for row in moved}):
            _leave(store, part, {row[FROM_ROW] for row in moved if row[FROM_PART] == part})
        store.delete(path)
    return bool(paths)


def _standing_list(again: Store) -> RetryList | None:
    if not again.exists(LIST):
        return None
    return read_state(again, LIST, RetryList, f"delete the folder {again.url}")


def _clear(again: Store) -> None:
    """Deletes the list and its bytes, the mark last."""
    paths = [*again.list(), *again.leftovers()]
    for path in sorted(paths, key=lambda path: path == LIST):
        again.delete(path)


def _make_list(store: Store, plan: Plan, again: Store) -> RetryList:
    """Writes the candidates to be tried, with where they stand, as parts of their own."""
    failures = passing_failures(store, plan).items()
    tables = (_candidates(store, part, rows) for part, rows in failures)
    number = count = 0
    for table in in_parts(tables, plan.scoring.source.part_size):
        name = part_name(number)
        again.write_table(_origin_path(name), table)
        told = [name for name in table.column_names if not name.startswith((PREFIX, FROM_PART, FROM_ROW))]
        again.write_table(candidates_path(name), table.select(told))
        number, count = number + 1, count + table.num_rows
    listed = RetryList(dataset_parts=plan.num_parts, num_parts=number, num_candidates=count)
    again.write(LIST, listed.model_dump_json().encode() + b"\n")
    return listed


def _candidates(store: Store, part: str, rows: list[int]) -> pa.Table:
    """Returns some candidates of a part as a listing, with what the source scores of them, and where they stand."""
    import pyarrow as pa

    table = store.read_table(candidates_path(part)).take(rows)
    path = scores_path(SOURCE_SCORES, part)
    scores = (
        store.read_table(path) if store.exists(path) else pa.table({"source_row": pa.array([], pa.int64())})
    )
    place = {row: place for place, row in enumerate(scores.column("source_row").to_pylist())}
    places = pa.array([place.get(row) for row in rows], pa.int64())
    for name in scores.column_names[1:]:
        table = table.append_column(
            name, scores.column(name).take(places).combine_chunks().fill_null(math.nan)
        )
    table = table.append_column(FROM_PART, pa.array([part] * len(rows), pa.string()))
    return table.append_column(FROM_ROW, pa.array(rows, pa.int64()))


def _origin_path(part: str) -> str:
    return f"{MOVED}/{part}.parquet"


def _num_rows(again: str, part: str) -> int:
    return int(Store(again).read_table(spool_path(part), ["row"]).num_rows)


def _ended(again: Store, part: str) -> Iterator[Ended]:
    """Yields the fetched candidates of a part of the list that did not fail for a passing reason once more."""
    for row in again.read_table(spool_path(part)).to_pylist():
        if row["reason"] is None or not may_pass(row["reason"], row["detail"] or ""):
            yield part, row


def _as_parts(store: Store, plan: Plan, again: Store, ended: list[Ended]) -> Plan:
    """Makes parts of what ended: their bytes, and where they stood before, are written beside their lists."""
    import pyarrow as pa

    tables = {part: again.read_table(_origin_path(part)) for part, _ in ended}
    rows = [tables[part].slice(row["row"], 1) for part, row in ended]

    def write_beside(name: str, first: int, count: int) -> None:
        _write_spool(store, name, again, ended[first : first + count])
        origins = pa.concat_tables(rows[first : first + count]).select([FROM_PART, FROM_ROW])
        store.write_table(_origin_path(name), origins)

    listings = (row.drop_columns([FROM_PART, FROM_ROW]) for row in rows)
    return append_parts(store, plan, listings, write_beside)


def _write_spool(store: Store, name: str, again: Store, ended: list[Ended]) -> None:
    import pyarrow as pa

    rows, end = list[dict[str, Any]](), 0
    with store.writing(spool_bytes_path(name)) as file:
        for place, (part, row) in enumerate(ended):
            file.write(again.read_range(spool_bytes_path(part), row["offset"], row["size"]))
            rows.append(row | {"row": place, "offset": end})
            end += row["size"]
    schema = again.read_table(spool_path(ended[0][0])).schema
    store.write_table(spool_path(name), pa.Table.from_pylist(rows, schema=schema))


def _leave(store: Store, part: str, rows: set[int]) -> None:
    """Takes rows out of a part: its lists name them no more, its ledger and its selection have them no more.

    Rows of a list keep their places, which the ledger counts by. The ledger comes last.
    """
    _unname(store, candidates_path(part), rows, None)
    _unname(store, spool_path(part), rows, "row")
    for path in (selection_path(part), ledger_path(part)):
        if store.exists(path):
            table = store.read_table(path)
            kept = [row not in rows for row in table.column("source_row").to_pylist()]
            if not all(kept):
                store.write_table(path, table.filter(kept))


def _unname(store: Store, path: str, rows: set[int], column: str | None) -> None:
    """Empties the rows of a list; `column` has their numbers, None where they count from the first."""
    import pyarrow as pa

    if not store.exists(path):
        return
    table = store.read_table(path)
    numbers = table.column(column).to_pylist() if column else range(table.num_rows)
    texts = [field.name for field in table.schema if field.type == pa.string() and field.name != "reason"]
    empty = dict.fromkeys(texts, "") | {"url": MOVED_URL}
    told = [
        row | empty if number in rows else row for number, row in zip(numbers, table.to_pylist(), strict=True)
    ]
    store.write_table(path, pa.Table.from_pylist(told, schema=table.schema))
