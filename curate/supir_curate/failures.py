"""The list of candidates that failed, for people: report/failures.csv.

Place in the flow: `score`, `pack` and `report` write it anew; it is a list of URLs like any other, so what failed can
be given to another run as its source, which knows it by its columns (`columns.OUR_FAILURES`) and reads the role too.
The law: a candidate without scores stands in it with what the ledger says and all that its source told, and so does a
kept picture that was no longer what was scored when it was to be packed: `pack` notes those in `changed/`, one table a
part, for the ledger and the selection never change.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from supir_curate.score import FAILED
from supir_curate.scores import PREFIX
from supir_curate.sources.columns import OUR_FAILURES
from supir_curate.sources.digest import SHA256_DIGITS
from supir_curate.sources.plan import SOURCE_SCORES, Plan, candidates_path
from supir_curate.verdict import Reason
from supir_shards import Store, ledger_path, part_of
from supir_shards.layout import scores_path

FAILURES = "report/failures.csv"
CHANGED = "changed"
SAID = ("source_row", "url", "reason", "detail")  # by the ledger
TOLD = ("text", "licence", "role", "digest")  # by the source


class Failure(NamedTuple):
    """One line of the list, and the numbers that its source says of it by their names."""

    part: str
    source_row: int
    url: str
    reason: str
    detail: str
    text: str
    licence: str
    role: str
    sha256: str
    md5: str
    scores: dict[str, float]


def write_failures(store: Store, plan: Plan) -> str:
    """Writes the list as CSV unless it stands already; returns its path below the dataset."""
    sink = io.StringIO()
    names = plan.scoring.source.score_columns
    table = csv.writer(sink, lineterminator="\n")
    table.writerow([*OUR_FAILURES, *names])
    for failure in (*failed_candidates(store, plan), *changed_pictures(store)):
        table.writerow([*failure[:-1], *(failure.scores.get(name, "") for name in names)])
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
    numbers = [row["source_row"] for row in rows]
    listed = store.read_table(candidates_path(part), TOLD).take(numbers).to_pylist()
    scores = _scores(store, part, numbers)
    for row, told, score in zip(rows, listed, scores, strict=True):
        words: dict[str, Any] = {name: told.get(name) or "" for name in ("text", "licence", "role")}
        digest = told.get("digest") or ""
        is_sha256 = len(digest) == SHA256_DIGITS
        yield Failure(
            part=part,
            **{name: row[name] for name in SAID},
            **words,
            sha256=digest if is_sha256 else "",
            md5="" if is_sha256 else digest,
            scores=score,
        )


def _scores(store: Store, part: str, numbers: list[int]) -> list[dict[str, float]]:
    """Returns the numbers that the source says of some rows of a part; what it does not say is not there."""
    path = scores_path(SOURCE_SCORES, part)
    if not store.exists(path):
        return [{} for _ in numbers]
    rows = {row["source_row"]: row for row in store.read_table(path).to_pylist()}
    return [
        {
            name.removeprefix(PREFIX): value
            for name, value in rows.get(number, {}).items()
            if name.startswith(PREFIX) and not math.isnan(value)
        }
        for number in numbers
    ]


def note_changed(store: Store, part: str, changed: Sequence[tuple[int, str, str]]) -> None:
    """Writes which pictures of a part (source row, url, what was seen) could not be packed; none leaves no file."""
    import pyarrow as pa

    path = f"{CHANGED}/{part}.parquet"
    store.delete(path)
    if changed:
        rows, urls, details = map(list, zip(*changed, strict=True))
        columns = {"part": [part] * len(rows), "source_row": rows, "url": urls, "detail": details}
        store.write_table(path, pa.table(columns))
