"""Samples out of a dataset: a stream over whole tars, or single pictures by row.

Place in the flow: caption, degrade and train read through ``Dataset``.
The law: every row of an index is either yielded or handed to ``on_bad`` with its reason, in index order;
each tar is read once, front to back; a picture whose SHA-256 is not the index's is never yielded. A picture
larger than its tar is refused before memory is asked for.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from supir_shards.captions import read_captions
from supir_shards.layout import INDEX, MANIFEST, index_path, part_files, part_of, shard_path
from supir_shards.manifest import Manifest, load_manifest
from supir_shards.part_writer import shard_info
from supir_shards.quarantine import Quarantined, QuarantineReason, RejectedError
from supir_shards.record import Caption, DatasetError, Record, Role
from supir_shards.sample_json import Travelling, read_json
from supir_shards.storage import Store

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 256

OnBad = Callable[[Quarantined], None]
IndexRow = dict[str, Any]
Content = tuple[bytes, Travelling]
"""A sample's stored picture and what its KEY.json says beside the index."""


class Dataset:
    """A dataset to read.

    Args:
        url: local path, fsspec URL, or a ``Store``.

    Raises:
        DatasetError: there is no committed part at that place.
    """

    def __init__(self, url: str | Path | Store) -> None:
        self.store = url if isinstance(url, Store) else Store(url)
        self._tar_bytes: dict[str, int] = {}
        if not self.parts():
            raise _without_parts(self.store)

    @cached_property
    def manifest(self) -> Manifest:
        """The dataset's manifest; DatasetError if the dataset was not finished."""
        return load_manifest(self.store)

    @property
    def num_samples(self) -> int:
        """Samples in the finished dataset."""
        return self.manifest.totals.num_samples

    def parts(self) -> list[str]:
        """The committed parts, sorted."""
        return [part_of(path) for path in part_files(self.store.list(INDEX))]

    def index(self, part: str) -> pa.Table:
        """A part's index, one row a sample (``schema.INDEX_SCHEMA``)."""
        index = self.store.read_table(index_path(part))
        shard_info(part, index)
        return index

    def read_image(self, part: str, row: IndexRow) -> bytes:
        """The stored bytes of one picture.

        Args:
            part: the part.
            row: the picture's index row, as ``index(part).to_pylist()`` gives it.

        Raises:
            DatasetError: the bytes are not those that the index names.
        """
        path = shard_path(part)
        if row["offset"] + row["bytes"] > self._size(part):
            raise DatasetError(f"{self.store.url}/{path} ends before sample {row['key']}; run verify")
        data = self.store.read_range(path, row["offset"], row["bytes"])
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise DatasetError(f"{self.store.url}/{path}: sample {row['key']} was altered; run verify")
        return data

    def read_sample(self, part: str, row: IndexRow) -> Record:
        """One sample whole, without captions; its picture and KEY.json are read in one piece.

        Args:
            part: the part.
            row: its index row, as ``index(part).to_pylist()`` gives it.

        Raises:
            DatasetError: the tar does not hold what the index names.
        """
        return record_from(part, row, self.read_content(part, row), [])

    def read_content(self, part: str, row: IndexRow) -> Content:
        """The stored picture and its KEY.json, read in one piece.

        Args:
            part: the part.
            row: of its index row, ``key``, ``extension``, ``offset``, ``bytes``, ``json_bytes`` and ``sha256``.

        Raises:
            DatasetError: the tar does not hold what the index names.
        """
        path, start = shard_path(part), row["offset"] - tarfile.BLOCKSIZE
        size = 2 * tarfile.BLOCKSIZE + _padded(row["bytes"]) + row["json_bytes"]
        if start < 0 or start + size > self._size(part):
            raise DatasetError(f"{self.store.url}/{path} ends before sample {row['key']}; run verify")
        piece = self.store.read_range(path, start, size)
        try:
            return _read_sample(io.BytesIO(piece), row | {"offset": tarfile.BLOCKSIZE}, len(piece))
        except RejectedError as error:
            is_altered = error.reason is QuarantineReason.ALTERED
            what = f" was altered ({error.detail})" if is_altered else f": {error.detail}"
            raise DatasetError(f"{self.store.url}/{path}: sample {row['key']}{what}; run verify") from error

    def _size(self, part: str) -> int:
        if part not in self._tar_bytes:
            self._tar_bytes[part] = self.store.size(shard_path(part))
        return self._tar_bytes[part]

    def samples(
        self, parts: Iterable[str] | None = None, captions: str | None = None, on_bad: OnBad | None = None
    ) -> Iterator[Record]:
        """All samples of the parts, in order; holds one picture at a time.

        Args:
            parts: parts to read, all if None.
            captions: the captioner whose captions each record shall carry, none if None.
            on_bad: gets every sample that cannot be read; without it the first one raises.

        Raises:
            DatasetError: a sample cannot be read and ``on_bad`` is None, or the captions are missing.
        """
        for part in self.parts() if parts is None else parts:
            index = self.index(part)
            if index.num_rows == 0:
                continue
            by_key = read_captions(self.store, captions, part) if captions else {}
            for row, outcome in self._read_part(part, index):
                if not isinstance(outcome, Quarantined):
                    yield record_from(part, row, outcome, by_key.get(row["key"], []))
                elif on_bad:
                    on_bad(outcome)
                else:
                    raise DatasetError(f"{self.store.url}/{outcome.name}: {outcome.detail}; run verify")

    def _read_part(self, part: str, index: pa.Table) -> Iterator[tuple[IndexRow, Content | Quarantined]]:
        path = shard_path(part)
        try:
            size = self.store.size(path)
        except FileNotFoundError:
            for row in _rows(index):
                yield row, _bad(path, row, QuarantineReason.MISSING, "the tar is missing")
            return
        with self.store.open(path) as stream:
            yield from read_rows(stream, path, index, size)


def read_rows(
    stream: BinaryIO, path: str, index: pa.Table, tar_bytes: int
) -> Iterator[tuple[IndexRow, Content | Quarantined]]:
    """Each index row with the picture and metadata that the tar holds for it, or why it holds none.

    Args:
        stream: the tar; only ``read`` and forward ``seek`` are used where the rows are in the tar's order.
        path: the tar's path, for messages.
        index: its rows.
        tar_bytes: the tar's size.
    """
    for row in _rows(index):
        try:
            yield row, _read_sample(stream, row, tar_bytes)
        except RejectedError as error:
            yield row, _bad(path, row, error.reason, error.detail)


def _rows(index: pa.Table) -> Iterator[IndexRow]:
    """The rows one after the other; a few at a time are Python objects, which take many times the table's room."""
    for batch in index.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _bad(path: str, row: IndexRow, reason: QuarantineReason, detail: str) -> Quarantined:
    name = f"{path}/{row['key']}.{row['extension']}"
    return Quarantined(name=name, reason=reason, detail=f"sample {row['key']}: {detail}")


def _read_sample(stream: BinaryIO, row: IndexRow, tar_bytes: int) -> Content:
    image = _read_member(stream, f"{row['key']}.{row['extension']}", row["offset"], row["bytes"], tar_bytes)
    if hashlib.sha256(image).hexdigest() != row["sha256"]:
        raise RejectedError(QuarantineReason.ALTERED, f"sha256 is not {row['sha256']}")
    offset = _padded(row["offset"] + row["bytes"]) + tarfile.BLOCKSIZE
    return image, read_json(_read_member(stream, f"{row['key']}.json", offset, row["json_bytes"], tar_bytes))


def _read_member(stream: BinaryIO, name: str, offset: int, size: int, tar_bytes: int) -> bytes:
    """A member's data, after its header was found to say what the index says."""
    if offset < tarfile.BLOCKSIZE or size < 0 or offset + size > tar_bytes:
        raise RejectedError(
            QuarantineReason.TRUNCATED, f"{name} would end at byte {offset + size} of {tar_bytes}"
        )
    stream.seek(offset - tarfile.BLOCKSIZE)
    try:
        header = tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise RejectedError(QuarantineReason.BAD_HEADER, f"no tar header before {name} ({error})") from error
    if header.name != name or header.size != size:
        raise RejectedError(
            QuarantineReason.ALTERED, f"found {header.name!a} of {header.size} bytes, not {name} of {size}"
        )
    return stream.read(size)


def _without_parts(store: Store) -> DatasetError:
    """What a place without parts is; one that cannot be reached lists as empty too, but says so when it is read."""
    try:
        store.read(MANIFEST)
    except FileNotFoundError:
        return DatasetError(f"{store.url} holds no dataset: no {INDEX}/part-*.parquet there; check the path")
    return DatasetError(
        f"{store.url} has a {MANIFEST}, but lists no {INDEX}/part-*.parquet; copy the dataset whole, or serve it "
        "where folders can be listed"
    )


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def record_from(part: str, row: IndexRow, content: Content, captions: list[Caption]) -> Record:
    """A record from its index row, its content and its captions."""
    from supir_shards.schema import named

    image, travelling = content
    return Record(
        key=row["key"],
        image=image,
        extension=row["extension"],
        role=Role(row["role"]),
        width=row["width"],
        height=row["height"],
        source=row["source"],
        licence=row["licence"],
        scores=named(row["scores"]),
        texture=row["texture"],
        texture_shape=(row["texture_rows"], row["texture_cols"]),
        text=row["text"],
        source_key=row["source_key"],
        origin=travelling.origin,
        trace=travelling.trace,
        part=part,
        captions=tuple(captions),
    )
