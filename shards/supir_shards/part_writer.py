"""Samples in, one committed part out: a WebDataset tar and, last, its index.

Place in the flow: the last step of curate's pack and of the negative-sample job.
The law: the same samples in the same order give the same bytes, whenever and wherever it runs (no clock, no
user id). The index is written after the tar is safe, so a part with an index is complete; a part without
one is written again. A part with no sample has an index and no tar.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

from supir_shards.layout import FORMAT_VERSION, index_path, require_format, shard_path
from supir_shards.record import EXTENSIONS, KEY_LENGTH, DatasetError, Role, Sample
from supir_shards.sample_json import json_bytes

if TYPE_CHECKING:
    import pyarrow as pa

    from supir_shards.storage import Store

META_VERSION, META_PART = b"supir.format_version", b"supir.part"
META_SHA256, META_BYTES = b"supir.shard_sha256", b"supir.shard_bytes"

_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_MAX_SIDE = 2**31 - 1
_BATCH_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInfo:
    """A part, its number of samples, and its tar's bytes and SHA-256 (0 and "" where it has no tar)."""

    part: str
    num_samples: int
    shard_bytes: int
    shard_sha256: str


def is_committed(store: Store, part: str) -> bool:
    """Whether the part is complete on disk."""
    return store.exists(index_path(part))


def write_part(store: Store, part: str, samples: Iterable[Sample]) -> PartInfo:
    """Write and commit one part, replacing one of the same name; holds one picture at a time.

    Args:
        store: the dataset.
        part: a name from ``part_name``.
        samples: in the order they are to have in the tar; keys are unique.

    Raises:
        DatasetError: a sample breaks a rule of ``record.py``, or its key came twice; nothing is committed
        then.
    """
    stream = iter(samples)
    first = next(stream, None)
    if first is None:
        info = PartInfo(part=part, num_samples=0, shard_bytes=0, shard_sha256="")
        store.delete(shard_path(part))
        store.write_table(index_path(part), _index_table([], info))
        return info
    with store.writing(shard_path(part)) as file:
        sink = _HashingSink(file)
        batches = _write_tar(sink, chain([first], stream))
    info = PartInfo(
        part=part,
        num_samples=sum(batch.num_rows for batch in batches),
        shard_bytes=sink.size,
        shard_sha256=sink.sha256.hexdigest(),
    )
    store.write_table(index_path(part), _index_table(batches, info))
    return info


def shard_info(part: str, index: pa.Table) -> PartInfo:
    """What an index says about its part's tar.

    Raises:
        DatasetError: the table is not an index, is of another format version, has holes or unknown roles, or is
            another part's index.
    """
    from supir_shards.schema import INDEX_SCHEMA

    path = index_path(part)
    metadata = index.schema.metadata or {}
    if META_VERSION in metadata:
        require_format(path, metadata[META_VERSION].decode(errors="replace"))
    columns = list(index.schema)[: len(INDEX_SCHEMA)]
    if not {META_VERSION, META_SHA256, META_BYTES, META_PART} <= metadata.keys() or columns != list(
        INDEX_SCHEMA
    ):
        raise DatasetError(
            f"{path} is not an index of this format (columns {index.schema.names}); run verify"
        )
    if metadata[META_PART].decode() != part:
        raise DatasetError(f"{path} is the index of {metadata[META_PART].decode()!r}; run verify")
    holes = [name for name in index.column_names if index.column(name).null_count]
    if holes:
        raise DatasetError(f"{path} has empty cells in {', '.join(holes)}; run verify")
    strange = sorted({*index.column("role").unique().to_pylist()} - {*Role})
    if strange:
        raise DatasetError(f"{path} has the role {strange[0]!r}, not one of {', '.join(Role)}; run verify")
    return PartInfo(
        part=part,
        num_samples=index.num_rows,
        shard_bytes=int(metadata[META_BYTES]),
        shard_sha256=metadata[META_SHA256].decode(),
    )


class _HashingSink:
    """Passes bytes on and keeps their count and hash, so that the tar is never read again to learn them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)


def _write_tar(sink: _HashingSink, samples: Iterable[Sample]) -> list[pa.RecordBatch]:
    """Write the tar; returns the index rows in batches, which take a tenth of their room as Python objects."""
    batches: list[pa.RecordBatch] = []
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for sample in samples:
        _check(sample)
        if sample.key in seen:
            raise DatasetError(f"sample {sample.key} came twice in one part; keys must be unique")
        seen.add(sample.key)
        metadata = json_bytes(sample)
        offset = _add(sink, f"{sample.key}.{sample.extension}", sample.image)
        _add(sink, f"{sample.key}.json", metadata)
        rows.append(_index_row(sample, offset, len(metadata)))
        if len(rows) == _BATCH_ROWS:
            batches.append(_batch(rows))
            rows.clear()
    batches.append(_batch(rows))
    sink.write(bytes(2 * tarfile.BLOCKSIZE))
    sink.write(bytes(-sink.size % tarfile.RECORDSIZE))
    return batches


def _add(sink: _HashingSink, name: str, data: bytes) -> int:
    """Write a member; returns the place of its data in the tar."""
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, user names empty, mode 0644
    member.size = len(data)
    sink.write(member.tobuf(tarfile.USTAR_FORMAT))
    offset = sink.size
    sink.write(data)
    sink.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    return offset


def _index_row(sample: Sample, offset: int, num_json_bytes: int) -> dict[str, Any]:
    from supir_shards.schema import pairs_of

    return {
        "key": sample.key,
        "role": str(sample.role),
        "extension": sample.extension,
        "offset": offset,
        "bytes": len(sample.image),
        "json_bytes": num_json_bytes,
        "sha256": hashlib.sha256(sample.image).hexdigest(),
        "width": sample.width,
        "height": sample.height,
        "source": sample.source,
        "licence": sample.licence,
        "scores": pairs_of({name: float(value) for name, value in sample.scores.items()}),
        "texture": sample.texture,
        "texture_rows": sample.texture_shape[0],
        "texture_cols": sample.texture_shape[1],
        "text": sample.text,
        "source_key": sample.source_key,
    }


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    import pyarrow as pa

    from supir_shards.schema import INDEX_SCHEMA

    return pa.RecordBatch.from_pylist(rows, schema=INDEX_SCHEMA)


def _index_table(batches: list[pa.RecordBatch], info: PartInfo) -> pa.Table:
    import pyarrow as pa

    from supir_shards.schema import INDEX_SCHEMA

    metadata = {
        META_VERSION: str(FORMAT_VERSION).encode(),
        META_PART: info.part.encode(),
        META_SHA256: info.shard_sha256.encode(),
        META_BYTES: str(info.shard_bytes).encode(),
    }
    return pa.Table.from_batches(batches, INDEX_SCHEMA).replace_schema_metadata(metadata)


def _check(sample: Sample) -> None:
    rows, cols = sample.texture_shape
    if not _KEY.fullmatch(sample.key):
        raise DatasetError(
            f"key {sample.key!r} is not {KEY_LENGTH} lower-case hex digits; use sample_key(bytes)"
        )
    problem = None
    if not _KEY.fullmatch(sample.source_key):
        problem = f"source_key {sample.source_key!r} is not {KEY_LENGTH} lower-case hex digits"
    elif sample.extension not in EXTENSIONS:
        problem = f"extension {sample.extension!r} is not one of {', '.join(EXTENSIONS)}"
    elif not sample.image:
        problem = "the picture has 0 bytes"
    elif not (0 < sample.width <= _MAX_SIDE and 0 < sample.height <= _MAX_SIDE):
        problem = f"{sample.width}x{sample.height} px is not a picture's size"
    elif rows < 0 or cols < 0 or rows * cols != len(sample.texture):
        problem = f"the texture map has {len(sample.texture)} bytes, not {rows} x {cols} cells"
    if problem:
        raise DatasetError(f"sample {sample.key}: {problem}")
    for text in (sample.source, sample.licence, sample.text, sample.trace, *sample.scores):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(f"sample {sample.key}: {text!a} is not valid Unicode text") from error
