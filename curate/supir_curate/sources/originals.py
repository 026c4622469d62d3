"""The original bytes of candidates, from wherever they are: files, tars, Parquet, or the spool the fetcher filled.

Place in the flow: `score` and `pack` read here, so that a picture is fetched once and never again. The law: a part's
originals come in source order, one at a time; a candidate without bytes comes with its reason; every text in them is
valid Unicode. Of a part's spool the bytes are written first, one picture after the other, slow ones out of their turn,
and last the Parquet file with a row a candidate in source order, which says where they lie and that the part is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, fields, replace
from itertools import accumulate, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, Kind
from supir_curate.sources.digest import mismatch
from supir_curate.sources.folder import Folder
from supir_curate.sources.listing import source_folder
from supir_curate.sources.plan import Plan, read_candidates
from supir_curate.sources.table_pictures import read_pictures
from supir_curate.sources.tars import Members
from supir_curate.verdict import Reason
from supir_shards import DatasetError, Store

if TYPE_CHECKING:
    import pyarrow as pa

SPOOL = "spool"
MEMBERS = ("tars", "dataset")  # kinds whose pictures lie in tars


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


EVIDENCE = tuple(field.name for field in fields(Evidence))


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
        evidence: of the fetch; empty for other sources.
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
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def spool_path(part: str) -> str:
    """Returns where a part's fetched candidates are listed; the file's presence says that the part is whole."""
    return f"{SPOOL}/{part}.parquet"


def spool_bytes_path(part: str) -> str:
    """Returns where a part's fetched bytes lie."""
    return f"{SPOOL}/{part}.bin"


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
        max_bytes: a larger picture fails (those of URL sources were held to it when fetched).

    Raises:
        UserError: the fetched bytes are gone.
    """
    piece = plan.piece_of(part)
    if piece.kind == "urls":
        yield from _read_spool(spool_store(store, plan), part, wanted)
        return
    rows = [(row, one) for row, one in enumerate(read_candidates(store, part)) if wanted(row)]
    yield from read_rows(source_folder(piece.source), piece.kind, rows, plan.scoring.source, max_bytes)


def read_rows(
    source: Folder, kind: Kind, rows: Sequence[tuple[int, Candidate]], config: SourceConfig, max_bytes: int
) -> Iterator[Original]:
    """Yields candidates of a source that is files, in the order given, each with its bytes.

    Args:
        source: the source folder.
        kind: of the source, "urls" excepted.
        rows: each candidate with its source row, in source order.
        config: names the column of pictures.
        max_bytes: a larger picture fails.
    """
    if kind == "images":
        yield from _read_tables(source, rows, config, max_bytes)
        return
    with Members(source) as members:
        for row, candidate in rows:
            yield _read_file(source, kind, members, row, candidate, max_bytes)


async def write_spool(store: Store, part: str, batches: AsyncIterator[list[Original]]) -> None:
    """Writes a part's fetched candidates, their bytes in the order they come; the disk is waited for in threads."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    end = 0
    async with _off_loop(store.writing(spool_bytes_path(part))) as file:
        async for batch in batches:
            bodies = [original.data for original in batch]
            starts = accumulate(map(len, bodies), initial=end)
            rows += [
                _described(original) | {"offset": start, "size": len(original.data)}
                for original, start in zip(batch, starts, strict=False)
            ]
            end += sum(map(len, bodies))
            await asyncio.to_thread(file.writelines, bodies)
            del batch, bodies  # they count as given back from here on
    rows.sort(key=itemgetter("row"))
    table = pa.Table.from_pylist(rows, schema=_spool_schema())
    await asyncio.to_thread(store.write_table, spool_path(part), table)


@asynccontextmanager
async def _off_loop(context: AbstractContextManager[BinaryIO]) -> AsyncIterator[BinaryIO]:
    """Enters and leaves a context in threads, for what waits for the disk."""
    value = await asyncio.to_thread(context.__enter__)
    try:
        yield value
    except BaseException as error:
        await asyncio.to_thread(context.__exit__, type(error), error, error.__traceback__)
        raise
    await asyncio.to_thread(context.__exit__, None, None, None)


def verified(original: Original, candidate: Candidate) -> Original:
    """Returns an original with its bytes, or failed without them where they have another hash than was told."""
    fault = mismatch(original.data, candidate.digest)
    return _failed(replace(original, data=b""), Reason.HASH_MISMATCH, fault) if fault else original


def size_of(source: Folder, kind: Kind, candidate: Candidate) -> int:
    """Returns the bytes of a picture in a folder or tar.

    Raises:
        OSError: it cannot be had.
        DatasetError: it is remote, and its name is refused.
    """
    return candidate.size if kind in MEMBERS else source.size(candidate.file or candidate.url)


def _read_file(
    source: Folder, kind: Kind, members: Members, row: int, candidate: Candidate, max_bytes: int
) -> Original:
    base = _without_bytes(row, candidate)
    if candidate.reason is not None:
        return base
    try:
        size = size_of(source, kind, candidate)
        if size > max_bytes:
            return _failed(base, Reason.TOO_MANY_BYTES, f"{size} bytes, more than {max_bytes}")
        in_tar = kind in MEMBERS
        data = members.read(candidate) if in_tar else source.read(candidate.file or candidate.url)
        return verified(replace(base, data=data), candidate)
    except (OSError, DatasetError) as error:  # a remote name that a store refuses is one bad item too
        return _failed(base, Reason.UNREADABLE, f"{type(error).__name__}: {error}")


def _read_tables(
    source: Folder, rows: Sequence[tuple[int, Candidate]], config: SourceConfig, max_bytes: int
) -> Iterator[Original]:
    for file, group in groupby(rows, lambda row: row[1].file):
        of_file = list(group)
        wanted = [candidate.offset for _, candidate in of_file if candidate.reason is None]
        pictures = read_pictures(source, file, wanted, config)
        for row, candidate in of_file:
            base = _without_bytes(row, candidate)
            picture = next(pictures) if candidate.reason is None else b""
            if candidate.reason is not None:
                yield base
            elif isinstance(picture, Exception):
                yield _failed(base, Reason.UNREADABLE, f"{type(picture).__name__}: {picture}")
            elif len(picture) > max_bytes:
                yield _failed(base, Reason.TOO_MANY_BYTES, f"{len(picture)} bytes, more than {max_bytes}")
            else:
                yield verified(replace(base, data=picture), candidate)


def _without_bytes(row: int, candidate: Candidate) -> Original:
    return Original(
        row=row,
        url=candidate.url,
        text=candidate.text,
        licence=candidate.licence,
        reason=candidate.reason,
        detail=candidate.detail,
    )


def _failed(base: Original, reason: Reason, detail: str) -> Original:
    return replace(base, reason=reason, detail=valid_text(detail))


def _described(original: Original) -> dict[str, Any]:
    """Returns all of an original but its bytes."""
    told = {name: getattr(original, name) for name in ("row", "url", "text", "licence", "reason", "detail")}
    return told | {name: getattr(original.evidence, name) for name in EVIDENCE}


def _spool_schema() -> pa.Schema:
    import pyarrow as pa

    numbers = {"row": pa.int64(), "offset": pa.int64(), "size": pa.int64(), "http_status": pa.int32()}
    names = ("row", "offset", "size", "url", "text", "licence", "reason", "detail", *EVIDENCE)
    return pa.schema([(name, numbers.get(name, pa.string())) for name in names])


def _read_spool(store: Store, part: str, wanted: Callable[[int], bool]) -> Iterator[Original]:
    if not store.exists(spool_path(part)):
        raise UserError(
            f"{store.url} no longer holds the fetched bytes of {part}: it was packed without --keep-spool;"
            " score the URLs into a new dataset"
        )
    rows = store.read_table(spool_path(part)).to_pylist()
    with store.open(spool_bytes_path(part)) as stream:
        for row in rows:
            if wanted(row["row"]):
                stream.seek(row.pop("offset"))
                data = stream.read(row.pop("size"))
                evidence = Evidence(**{name: row.pop(name) for name in EVIDENCE})
                reason = row.pop("reason")
                yield Original(**row, data=data, reason=Reason(reason) if reason else None, evidence=evidence)
