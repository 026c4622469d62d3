"""Is a dataset what it was when it was finished? Every file and every picture is read and compared.

Place in the flow: ``supir-curate verify``; after a copy, before a long run.
The law: no byte can change, go or come unnoticed: the manifest holds the hash of every file, each index
that of every picture. Each file is read once; memory is bounded by one part's index and one picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from supir_shards.captions import captions_from
from supir_shards.layout import (
    CAPTIONS,
    INDEX,
    LEDGER,
    MANIFEST,
    SCORES,
    SHARDS,
    OtherFormatError,
    index_path,
    part_files,
    part_of,
    shard_path,
)
from supir_shards.manifest import FileInfo, Manifest, file_info, load_manifest, manifest_bytes
from supir_shards.part_writer import PartInfo, shard_info
from supir_shards.quarantine import Quarantined, QuarantineReason, RejectedError
from supir_shards.reader import read_rows
from supir_shards.record import DatasetError
from supir_shards.storage import Store, table_from

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 2**20
_NAMED_SAMPLES = 3  # a damaged tar can hold thousands; the first few say where


class ProblemKind(StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"  # named by the manifest or an index, not there
    TRUNCATED = "truncated"  # a shorter file than it was
    SWAPPED = "swapped"  # it has the content of another file of this dataset
    ALTERED = "altered"  # it has other bytes
    ORPHAN = "orphan"  # there, but of an unfinished write or unknown to the manifest
    INCONSISTENT = "inconsistent"  # intact, but contradicts another file


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: with which file, and what is known about it."""

    kind: ProblemKind
    path: str
    detail: str


def verify(url: str | Path | Store) -> list[Problem]:
    """Everything that is wrong with a dataset; an empty list if nothing is.

    Args:
        url: local path, fsspec URL, or a ``Store``.

    Raises:
        DatasetError: there is no dataset at that place, or a newer release wrote it.
    """
    return list(iter_problems(url if isinstance(url, Store) else Store(url)))


def iter_problems(store: Store) -> Iterator[Problem]:
    """The problems one after the other, while the files are read."""
    found = [path for folder in (SHARDS, INDEX, CAPTIONS, LEDGER, SCORES) for path in store.list(folder)]
    present = set(part_files(found))
    has_manifest = store.exists(MANIFEST)
    if not present and not has_manifest:
        raise DatasetError(
            f"{store.url} holds no dataset: neither {MANIFEST} nor {INDEX}/part-*.parquet there; check the path"
        )
    try:
        manifest = load_manifest(store)
    except OtherFormatError:
        raise  # nothing that this release knows about files applies to those of another
    except DatasetError as error:
        manifest = None
        kind = ProblemKind.ALTERED if has_manifest else ProblemKind.MISSING
        yield Problem(kind=kind, path=MANIFEST, detail=str(error))
    if manifest and not _is_as_written(store, manifest):
        detail = "it was edited after it was written; run the command that makes it again"
        yield Problem(kind=ProblemKind.ALTERED, path=MANIFEST, detail=detail)
    check = _Check(store, present, manifest.files if manifest else {})
    for path in sorted({*found} - present):
        yield Problem(kind=ProblemKind.ORPHAN, path=path, detail="not a file of a dataset; delete it")
    yield from _orphans(store, present, check.expected if manifest else present)
    for part in sorted({part_of(path) for path in {*present, *check.expected}}):
        yield from check.part(part)


class _Check:
    """What the checks of one dataset share: its files, and what they should be."""

    def __init__(self, store: Store, present: set[str], expected: dict[str, FileInfo]) -> None:
        self._store = store
        self._present = present
        self._path_of = {info.sha256: path for path, info in expected.items()}
        self._by_part: dict[str, list[str]] = {}
        for path in sorted({*present, *expected}):
            self._by_part.setdefault(part_of(path), []).append(path)
        self.expected = expected

    def part(self, part: str) -> Iterator[Problem]:
        """The problems of all files of one part."""
        index = info = None
        if index_path(part) in self._by_part[part]:
            problem, index = self._table(index_path(part))
            if problem:
                yield problem
        if index is not None:
            try:
                info = shard_info(part, index)
            except DatasetError as error:
                yield Problem(kind=ProblemKind.INCONSISTENT, path=index_path(part), detail=str(error))
        yield from self._shard(part, info, index)
        keys = set(index.column("key").to_pylist()) if info and index is not None else None
        for path in self._by_part[part]:
            if path.startswith((f"{CAPTIONS}/", f"{LEDGER}/", f"{SCORES}/")):
                yield from self._sidecar(path, keys)

    def _table(self, path: str) -> tuple[Problem | None, pa.Table | None]:
        """A Parquet file, None if it is not what it was."""
        if path not in self._present:
            return _missing(path), None
        data = self._store.read(path)
        expected = self.expected.get(path)
        problem = expected and self._difference(path, file_info(data), expected)
        if problem:
            return problem, None
        try:
            return None, table_from(data, path)
        except DatasetError as error:
            return Problem(kind=ProblemKind.ALTERED, path=path, detail=str(error)), None

    def _sidecar(self, path: str, keys: set[str] | None) -> Iterator[Problem]:
        problem, table = self._table(path)
        if problem:
            yield problem
        elif table is not None and keys is not None and path.startswith(f"{CAPTIONS}/"):
            try:
                strange = {caption.key for caption in captions_from(table, path)} - keys
            except DatasetError as error:
                yield Problem(kind=ProblemKind.INCONSISTENT, path=path, detail=str(error))
                return
            if strange:
                detail = f"has captions of {len(strange)} samples that the index lacks, first {min(strange)}"
                yield Problem(kind=ProblemKind.INCONSISTENT, path=path, detail=detail)

    def _shard(self, part: str, info: PartInfo | None, index: pa.Table | None) -> Iterator[Problem]:
        path = shard_path(part)
        by_index = None
        if info and info.num_samples:
            by_index = FileInfo(bytes=info.shard_bytes, sha256=info.shard_sha256)
        expected = self.expected.get(path, by_index)
        if expected is None:
            return
        if by_index and by_index != expected:
            detail = f"states another hash for {path} than {MANIFEST}"
            yield Problem(kind=ProblemKind.INCONSISTENT, path=index_path(part), detail=detail)
        if path not in self._present:
            yield _missing(path)
            return
        found, bad = _read_shard(self._store, path, index if by_index else None)
        problem = self._difference(path, found, expected)
        details = [problem.detail] if problem else []
        if bad:
            details.append(f"{len(bad)} of {info.num_samples if info else 0} samples unreadable")
            details += [quarantined.detail for quarantined in bad[:_NAMED_SAMPLES]]
        if details:
            kind = problem.kind if problem else ProblemKind.INCONSISTENT
            yield Problem(kind=kind, path=path, detail="; ".join(details))

    def _difference(self, path: str, found: FileInfo, expected: FileInfo) -> Problem | None:
        if found == expected:
            return None
        other = self._path_of.get(found.sha256)
        if other:
            return Problem(kind=ProblemKind.SWAPPED, path=path, detail=f"has the content of {other}")
        if found.bytes < expected.bytes:
            detail = f"{found.bytes} bytes long, was {expected.bytes}"
            return Problem(kind=ProblemKind.TRUNCATED, path=path, detail=detail)
        detail = (
            f"sha256 is {found.sha256} ({found.bytes} bytes), was {expected.sha256} ({expected.bytes} bytes)"
        )
        return Problem(kind=ProblemKind.ALTERED, path=path, detail=detail)


class _HashingStream:
    """A stream that goes forward and hashes what it passes: one reading gives the samples and the hash."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._sha256.update(data)
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        if position < self._position:
            raise RejectedError(QuarantineReason.ALTERED, f"the index goes back to byte {position}")
        while self._position < position and self.read(min(_CHUNK, position - self._position)):
            pass

    def finish(self) -> FileInfo:
        while self.read(_CHUNK):
            pass
        return FileInfo(bytes=self._position, sha256=self._sha256.hexdigest())


def _read_shard(store: Store, path: str, index: pa.Table | None) -> tuple[FileInfo, list[Quarantined]]:
    """A tar's size and hash, and those samples of its index that it does not hold; one reading gives both."""
    size = store.size(path)
    with store.open(path) as file:
        stream = _HashingStream(file)
        bad = []
        if index is not None:
            outcomes = read_rows(cast(BinaryIO, stream), path, index, size)
            bad = [outcome for _, outcome in outcomes if isinstance(outcome, Quarantined)]
        return stream.finish(), bad


def _orphans(store: Store, present: set[str], known: set[str] | dict[str, FileInfo]) -> Iterator[Problem]:
    for path in store.leftovers():
        detail = "temporary file of a killed write; run the command again or delete it"
        yield Problem(kind=ProblemKind.ORPHAN, path=path, detail=detail)
    for path in sorted(present):
        if path.startswith(f"{SHARDS}/") and index_path(part_of(path)) not in {*present, *known}:
            detail = "a tar without index, of an unfinished part; run the command again or delete it"
            yield Problem(kind=ProblemKind.ORPHAN, path=path, detail=detail)
        elif path not in known:
            detail = f"not in {MANIFEST}: written after the dataset was finished; run the command to its end"
            yield Problem(kind=ProblemKind.ORPHAN, path=path, detail=detail)


def _is_as_written(store: Store, manifest: Manifest) -> bool:
    unsigned = manifest_bytes(manifest.model_copy(update={"sha256": ""}))
    is_signed = hashlib.sha256(unsigned).hexdigest() == manifest.sha256
    return is_signed and store.read(MANIFEST) == manifest_bytes(manifest)


def _missing(path: str) -> Problem:
    return Problem(kind=ProblemKind.MISSING, path=path, detail="the file is not there")
