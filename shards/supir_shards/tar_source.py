"""A tar as a stream of exact amounts: blocks read, data passed over, the place known.

Place in the flow: under ``tar_members``, which says what the blocks mean.
The law: nothing is read beyond what is asked for. Where the stream can seek, what is passed over is not fetched; where
it cannot, an HTTP body for one, it is read in small pieces and dropped.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import Protocol

from supir_shards.quarantine import QuarantineReason, RejectedError

BLOCK = tarfile.BLOCKSIZE
CHUNK = 64 * 1024


class Readable(Protocol):
    """Anything with ``read(size)``: a file, a socket's file, an HTTP body."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        ...


class Source:
    """Reads exact amounts and knows where it is."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._end = _end(stream)
        self.position = 0
        self.block = b""

    def header(self) -> tarfile.TarInfo | None:
        """The header in the next block, None at the archive's end mark.

        Raises:
            tarfile.HeaderError: the block is no header; it stays in ``block``.
            RejectedError: the archive ends here.
        """
        self.block = self.read(BLOCK)
        if self.block.count(0) == BLOCK:
            return None
        header = tarfile.TarInfo.frombuf(self.block, "utf-8", "surrogateescape")
        if header.size < 0:
            raise tarfile.HeaderError(f"a member of {header.size} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            more = self.block[482]
            while more:  # each further block says in its byte 504 whether one more follows
                more = self.read(BLOCK)[504]
        return header

    def next_header(self) -> tarfile.TarInfo | None:
        """The next header after a damaged one, None if none follows; a block of zeros may be data here."""
        while True:
            try:
                header = self.header()
            except tarfile.HeaderError:
                continue
            except RejectedError:
                return None
            if header is not None:
                return header

    def data_after_end(self) -> int | None:
        """Where the first byte after the end mark lies that is not zero; None where only zeros follow."""
        while chunk := self._stream.read(CHUNK):
            rest = chunk.lstrip(b"\0")
            if rest:
                return self.position + len(chunk) - len(rest)
            self.position += len(chunk)
        return None

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes; RejectedError where the archive ends before."""
        buffer = io.BytesIO()  # grows in place and hands its content over without a second copy
        for chunk in self._chunks(size):
            buffer.write(chunk)
        return buffer.getvalue()

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes; RejectedError where the archive ends before."""
        if self._end is None or size < CHUNK or self.position + size > self._end:
            for _ in self._chunks(size):
                pass
            return
        self.position += size
        self._stream.seek(self.position)  # type: ignore[attr-defined]

    def _chunks(self, size: int) -> Iterator[bytes]:
        missing = size
        while missing:
            chunk = self._stream.read(min(missing, CHUNK))
            if not chunk:
                detail = f"the archive ends at byte {self.position}, {missing} of {size} bytes short"
                raise RejectedError(QuarantineReason.TRUNCATED, detail)
            missing -= len(chunk)
            self.position += len(chunk)
            yield chunk


def _end(stream: Readable) -> int | None:
    """Where a stream that stands at its start and can seek ends; None for any other."""
    if not (isinstance(stream, io.IOBase) and stream.seekable() and stream.tell() == 0):
        return None
    end = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return end
