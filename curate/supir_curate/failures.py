"""The list of candidates that failed, for people: report/failures.csv.

Place in the flow: `score`, `pack` and `report` write it anew; it is a list of URLs like any other, so what failed can
be given to another run as its source. The law: a candidate without scores stands in it with what the ledger says and
what its source told, and so does a kept picture that was no longer what was scored when it was to be packed: `pack`
notes those in `changed/`, one table a part, for the ledger and the selection never change.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from supir_curate.score import FAILED
from supir_curate.sources.plan import Plan, candidates_path
from supir_curate.verdict import Reason
from supir_shards import Store, ledger_path, part_of

FAILURES = "report/failures.csv"
CHANGED = "changed"
SAID = ("source_row", "url", "reason", "detail")  # by the ledger
TOLD = ("text", "licence", "role")  # by the source


class Failure(NamedTuple):
    """One line of the list."""

    part: str
    source_row: int
    url: str
    reason: str
    detail: str
    text: str
    licence: str
    role: str


def write_failures(store: Store, plan: Plan) -> str:
    """Writes the list as CSV unless it stands already; returns its path below the dataset."""
    sink = io.StringIO()
    table = csv.writer(sink, lineterminator="\n")
    table.writerow(Failure._fields)
    table.writerows(failed_candidates(store, plan))
    table.writerows(changed_pictures(store))
    content = sink.getvalue().encode()
    if not store.exists(FAILURES) or store.read(FAILURES) != content:
        store.write(FAILURES, content)
    return FAILURES


def failed_candidates(store: Store, plan: Plan) -> Iterator[Failure]:
    """Yields every candidate without scores."""
    import pyarrow.compute as pc

    for part in plan.parts():
        ledger = store.read_table(ledger_path(part), ["status", *SAID])
        chosen = ledger.filter(pc.equal(ledger.column("status"), FAILED))
        yield from _told(store, part, chosen.select(SAID).to_pylist())


def changed_pictures(store: Store) -> Iterator[Failure]:
    """Yields every kept picture that could not be packed."""
    for path in store.list(CHANGED):
        rows = store.read_table(path, SAID).to_pylist()
        yield from _told(
            store, part_of(path), [{"reason": str(Reason.CHANGED_SINCE_SCORED), **row} for row in rows]
        )


def _told(store: Store, part: str, rows: list[dict[str, Any]]) -> Iterator[Failure]:
    """Yields failures with what their source tells of them."""
    if not rows:
        return
    listed = (
        store.read_table(candidates_path(part), TOLD).take([row["source_row"] for row in rows]).to_pylist()
    )
    for row, told in zip(rows, listed, strict=True):
        yield Failure(part, *(row[name] for name in SAID), *(told.get(name) or "" for name in TOLD))


def note_changed(store: Store, part: str, changed: Sequence[tuple[int, str, str]]) -> None:
    """Writes which pictures of a part (source row, url, what was seen) could not be packed; none leaves no file."""
    import pyarrow as pa

    path = f"{CHANGED}/{part}.parquet"
    store.delete(path)
    if changed:
        rows, urls, details = map(list, zip(*changed, strict=True))
        columns = {"part": [part] * len(rows), "source_row": rows, "url": urls, "detail": details}
        store.write_table(path, pa.table(columns))
