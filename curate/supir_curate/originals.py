"""The original bytes of candidates, from wherever they are: a folder, or the spool that the fetcher filled.

Place in the flow: `score` and `pack` read here, so that a picture is fetched once and never again. The law: a part's
originals come in source order, one at a time; a candidate without bytes comes with its reason; every text in them is
valid Unicode. Spool files are Parquet, one row a candidate, written whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from supir_console import UserError
from supir_curate.folder import Folder
from supir_curate.plan import Plan, read_candidates
from supir_curate.verdict import Reason
from supir_shards import DatasetError, Store

SPOOL = "spool"
GROUP_BYTES = 32 * 2**20  # of pictures in one row group: what a reader holds at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the web said when a URL was fetched; None where it said nothing.

    Args:
        final_url: the URL that answered, after redirects.
        address: the IP address that answered.
        http_status: its status code.
        content_type: header as received, like the next ones.
        etag: header.
        redirects: URLs on the way, one a line.
        robots: what robots.txt said: "allowed", "disallowed", or why it was not had.
        x_robots_tag: header.
        fetched: the answer's Date header.
    """

    final_url: str | None = None
    address: str | None = None
    http_status: int | None = None
    content_type: str | None = None
    etag: str | None = None
    redirects: str | None = None
    robots: str | None = None
    x_robots_tag: str | None = None
    fetched: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """One candidate with its bytes, or with the reason why it has none.

    Args:
        row: its place in the part.
        url: URL, or path below the source folder.
        text: alt text.
        licence: licence.
        data: the bytes; empty when `reason` is set.
        reason: why there are no bytes.
        detail: what was seen then.
        evidence: of the fetch; empty for folders.
    """

    row: int
    url: str
    text: str = ""
    licence: str = ""
    data: bytes = b""
    reason: Reason | None = None
    detail: str = ""
    evidence: Evidence = Evidence()


def valid_text(text: str) -> str:
    """Returns a text that can be stored: bytes of a header or file name that are not Unicode become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def spool_path(part: str) -> str:
    """Returns where a part's fetched bytes lie."""
    return f"{SPOOL}/{part}.parquet"


def spool_store(store: Store, plan: Plan) -> Store:
    """Returns the dataset that holds the fetched bytes: this one, or the one it was selected anew from."""
    return Store(plan.spool) if plan.spool else store


def read_originals(
    store: Store, plan: Plan, part: str, wanted: Callable[[int], bool], max_bytes: int
) -> Iterator[Original]:
    """Yields the wanted candidates of a part in source order, each with its bytes.

    Args:
        store: the dataset.
        plan: its plan.
        part: name of the part.
        wanted: whether a source row is wanted; others are not read.
        max_bytes: a larger file of a folder source fails (URL sources were held to it when fetched).

    Raises:
        UserError: the fetched bytes are gone.
    """
    if plan.kind == "urls":
        yield from _read_spool(spool_store(store, plan), part, wanted)
        return
    source = Folder(plan.source)
    for row, candidate in enumerate(read_candidates(store, part)):
        if wanted(row):
            yield _read_file(source, row, candidate.url, candidate.licence, max_bytes)


async def write_spool(store: Store, part: str, originals: AsyncIterator[Original]) -> None:
    """Writes a part's fetched candidates in one visible step, in the order they come."""
    import pyarrow.parquet as pq

    schema = _spool_schema()
    codec = {field.name: "NONE" if field.name == "data" else "ZSTD" for field in schema}
    with (
        store.writing(spool_path(part)) as file,
        pq.ParquetWriter(file, schema, compression=codec, use_dictionary=False) as writer,
    ):
        group: list[Original] = []
        async for original in originals:
            group.append(original)
            if sum(len(member.data) for member in group) >= GROUP_BYTES:
                writer.write_table(_spool_table(group))
                group = []
        if group:
            writer.write_table(_spool_table(group))


def _read_file(source: Folder, row: int, path: str, licence: str, max_bytes: int) -> Original:
    def failed(reason: Reason, detail: str) -> Original:
        return Original(row=row, url=path, licence=licence, reason=reason, detail=valid_text(detail))

    try:
        size = source.size(path)
        if size > max_bytes:
            return failed(Reason.TOO_MANY_BYTES, f"{size} bytes, more than {max_bytes}")
        return Original(row=row, url=path, licence=licence, data=source.read(path))
    except (OSError, DatasetError) as error:  # a remote name that a store refuses is one bad item too
        return failed(Reason.UNREADABLE, f"{type(error).__name__}: {error}")


def _spool_schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("row", pa.int64()),
            ("url", pa.string()),
            ("text", pa.string()),
            ("licence", pa.string()),
            ("data", pa.binary()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("evidence", pa.string()),  # JSON of Evidence
        ]
    )


def _spool_table(group: list[Original]) -> Any:
    import pyarrow as pa

    rows = [
        {
            "row": original.row,
            "url": original.url,
            "text": original.text,
            "licence": original.licence,
            "data": original.data,
            "reason": original.reason and str(original.reason),
            "detail": original.detail,
            "evidence": json.dumps(asdict(original.evidence)),
        }
        for original in group
    ]
    return pa.Table.from_pylist(rows, schema=_spool_schema())


def _read_spool(store: Store, part: str, wanted: Callable[[int], bool]) -> Iterator[Original]:
    import pyarrow.parquet as pq

    if not store.exists(spool_path(part)):
        raise UserError(
            f"{store.url} no longer holds the fetched bytes of {part}: it was packed without --keep-spool;"
            " score the URLs into a new dataset"
        )
    with store.open(spool_path(part)) as stream:
        table = pq.ParquetFile(stream)
        for group in range(table.num_row_groups):
            rows = table.read_row_group(group, columns=["row"]).column("row").to_pylist()
            if not any(map(wanted, rows)):
                continue
            for values in table.read_row_group(group, use_threads=False).to_pylist():
                if wanted(values["row"]):
                    evidence = Evidence(**json.loads(values.pop("evidence")))
                    reason = values.pop("reason")
                    yield Original(**values, reason=Reason(reason) if reason else None, evidence=evidence)
