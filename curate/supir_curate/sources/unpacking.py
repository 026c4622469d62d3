"""Compressed files as streams of what is in them: `.gz`, `.bz2`, `.xz`, by first bytes sooner than by names.

Place in the flow: `tars` and `text_rows` open files here. The law: a name is not believed, since tools on the way take
a compression off and leave the name, or the other way round; what begins like neither is what its name says, and then
damaged.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from supir_curate.sources.folder import Folder
from supir_curate.sources.texts import decoded

Unpack = Callable[[BinaryIO, str], Any]
UNPACK: dict[str, Unpack] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
COMPRESSED: dict[str, Unpack] = {
    ".tgz": gzip.open,
    **{f".tar{suffix}": unpack for suffix, unpack in UNPACK.items()},
}
BROKEN = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError)
START_BYTES = 512  # a tar's first header
_MARKS = {
    re.compile(rb"\x1f\x8b\x08"): gzip.open,
    re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"): bz2.open,
    re.compile(rb"\xfd7zXZ\0"): lzma.open,
}
_TAR_MARK = slice(257, 262)


def unpacker(start: bytes, path: str) -> Unpack | None:
    """Returns what opens a file's contents, None where they are not compressed.

    Args:
        start: its first `START_BYTES`.
        path: its name.
    """
    for mark, unpack in _MARKS.items():
        if mark.match(start):
            return cast(Unpack, unpack)
    named = (unpack for suffix, unpack in {**COMPRESSED, **UNPACK}.items() if path.lower().endswith(suffix))
    is_plain = start[_TAR_MARK] == b"ustar" or (bool(start) and decoded(start) is not None)
    return None if is_plain else next(named, None)


def is_packed(folder: Folder, path: str) -> bool:
    """Returns whether a file is compressed.

    Raises:
        OSError: it cannot be had.
        DatasetError: it is remote, and its name is refused.
    """
    return unpacker(folder.read_range(path, 0, START_BYTES), path) is not None


@contextmanager
def stream_of(folder: Folder, path: str) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked: a stream that can seek, of a compressed file forward sooner than back.

    Args:
        folder: the source folder.
        path: of the file, escaped.

    Raises:
        OSError: it cannot be had.
        DatasetError: it is remote, and its name is refused.
    """
    with folder.open(path) as stream:
        unpack = unpacker(stream.read(START_BYTES), path)
        stream.seek(0)
        if unpack is None:
            yield stream
            return
        with unpack(stream, "rb") as unpacked:
            yield cast(BinaryIO, unpacked)


class Unpacked:
    """What can be read of a compressed stream: where it is damaged, it ends.

    Args:
        stream: the unpacked stream, at its start.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.fault: Exception | None = None

    def read(self, size: int, /) -> bytes:
        """Returns up to `size` bytes; none where the stream ends or is damaged."""
        try:
            return self._stream.read(size)
        except BROKEN as error:
            self.fault = error
            return b""
