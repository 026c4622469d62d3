"""A folder of tars as a source: their pictures listed without reading one, and read by range.

Place in the flow: `sources` lists here, `originals` reads. The law: the tar is nobody's friend: it goes through the
guard of `supir_shards`; a picture of which anything is refused is one candidate with its reason, and the next one still
comes; what is no picture is counted. Which sidecar is whose says `pairing`, what it tells `sidecars`. Pictures are
passed over by seeking; a tar on an object store is read in blocks of 4 MiB all the same, a compressed one as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, listed, unreadable
from supir_curate.sources.folder import Folder, escaped
from supir_curate.sources.left_out import Heading, noted, suffix_of
from supir_curate.sources.look_ahead import in_order
from supir_curate.sources.pairing import Pairs, pair
from supir_curate.sources.sidecars import described, refused
from supir_curate.sources.tar_contents import Contents, contents_of
from supir_curate.sources.unpacking import BROKEN, COMPRESSED, Unpacked, is_packed, stream_of
from supir_curate.verdict import Reason
from supir_shards.quarantine import RejectedError
from supir_shards.tar_source import Readable

if TYPE_CHECKING:
    import pyarrow as pa

TAR_SUFFIXES = (".tar", *COMPRESSED)
TARS_AT_ONCE = 8  # listed at the same time: a store answers several requests as fast as one


def list_tars(folder: Folder, paths: Sequence[str], config: SourceConfig) -> Iterator[pa.Table]:
    """Yields the pictures of tars in the tars' order, a listing a tar and one of its notes.

    Args:
        folder: the source folder.
        paths: of the tars, escaped.
        config: names of JSON keys, licence of what names none, score keys.
    """
    for tables in in_order(lambda path: _list_tar(folder, path, config), paths, TARS_AT_ONCE):
        yield from tables


class Members:
    """Pictures of tars read one after the other; a compressed tar stays open, since each is found by unpacking to it.

    Args:
        folder: the source folder.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._path = ""
        self._stream: BinaryIO | None = None
        self._packed: dict[str, bool] = {}

    def __enter__(self) -> Members:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def read(self, candidate: Candidate) -> bytes:
        """Returns the bytes of a picture that `list_tars` listed.

        Raises:
            OSError: the tar is gone, damaged, or shorter than it was.
            DatasetError: it is remote, and its name is refused.
        """
        if candidate.file not in self._packed:
            self._packed[candidate.file] = is_packed(self._folder, candidate.file)
        if self._packed[candidate.file]:
            data = _range(self._unpacked(candidate.file), candidate.offset, candidate.size)
        else:
            data = self._folder.read_range(candidate.file, candidate.offset, candidate.size)
        if len(data) != candidate.size:
            raise OSError(f"{candidate.file} ends {candidate.size - len(data)} bytes before the picture does")
        return data

    def _unpacked(self, path: str) -> BinaryIO:
        if self._stream is None or path != self._path:
            self._open.close()
            self._stream = None
            self._stream = self._open.enter_context(stream_of(self._folder, path))
            self._path = path
        return self._stream


def _list_tar(folder: Folder, path: str, config: SourceConfig) -> list[pa.Table]:
    try:
        with stream_of(folder, path) as stream:
            whole: Readable = Unpacked(stream) if is_packed(folder, path) else stream
            contents = contents_of(whole)
            if isinstance(whole, Unpacked) and whole.fault is not None:
                contents.damage = f"{type(whole.fault).__name__}: {whole.fault}"
            rows = list(_rows(path, contents, stream, config))
        return [listed(rows, config), *noted(contents.notes, config)]
    # Whatever is wrong with one tar, the others are listed.
    except Exception as error:
        return [listed([unreadable(path, error)], config)]


def _rows(path: str, contents: Contents, stream: BinaryIO, config: SourceConfig) -> Iterator[Candidate]:
    """Yields a tar's pictures in its order, then what else of it is refused; its sidecars are counted."""
    pairs = pair(contents.pictures, contents.sidecars)

    def read(name: str) -> bytes:
        if name in contents.faults:
            raise contents.faults[name]
        offset, size, data = contents.sidecars[name]
        return _range(stream, offset, size) if data is None else data

    gap = contents.gap()
    for name, place in contents.pictures.items():
        candidate = described(
            f"{path}/{escaped(name)}",
            pairs.of[name],
            read,
            config,
            contents.notes,
            gap=gap,
            file=path,
            offset=place.offset,
            size=place.size,
        )
        fault = contents.faults.get(name)
        yield refused(candidate, Reason.UNREADABLE, _words(fault)) if fault else candidate
    used = _count(pairs, contents)
    for name, fault in contents.faults.items():
        if name not in contents.pictures and name not in used:
            yield Candidate(
                f"{path}/{escaped(name)}", reason=Reason.UNREADABLE, detail=_words(fault), file=path
            )


def _count(pairs: Pairs, contents: Contents) -> set[str]:
    """Counts a tar's sidecars; returns those that a picture has."""
    used = {name for one in pairs.of.values() for name in one.names.values()}
    for heading, names in ((Heading.SIDECARS_USED, used), (Heading.SIDECARS_UNUSED, pairs.unused)):
        for name in names:
            if name not in contents.faults:
                contents.notes[heading, suffix_of(name)] += 1
    return used


def _words(fault: RejectedError) -> str:
    return f"{fault.reason}: {fault}"


def _range(stream: BinaryIO, offset: int, size: int) -> bytes:
    try:
        stream.seek(offset)
        return stream.read(size)
    except BROKEN as error:
        raise OSError(f"damaged ({error})") from error
