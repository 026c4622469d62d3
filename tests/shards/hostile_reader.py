"""Reads a tar that asks for more memory than this process may have, reports the rows; not a test itself.

Address space is capped before the first byte is read. The tar is made on the fly, it is nowhere whole.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
import tarfile
import zlib
from collections.abc import Iterator

from supir_shards import Limits, TarSample, iter_tar

MEBIBYTE = 2**20
HEADROOM = 48 * MEBIBYTE  # above what the process has when it starts
LIMITS = Limits(max_member_bytes=8 * MEBIBYTE)


class Made:
    """A stream over generated pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        self._rest = self._rest or next(self._pieces, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def entry(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def whole(name: str, data: bytes) -> bytes:
    return entry(name, len(data)) + data + bytes(-len(data) % 512)


def zeros(size: int) -> Iterator[bytes]:
    yield from (bytes(MEBIBYTE) for _ in range(size // MEBIBYTE))


def png(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = zlib.compress(bytes(20 * MEBIBYTE), 9)
    body = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + body


def tar() -> Iterator[bytes]:
    yield whole("good.txt", b"before")
    yield entry("large.bin", 96 * MEBIBYTE)
    yield from zeros(96 * MEBIBYTE)
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
        yield entry("header", 64 * MEBIBYTE, kind)
        yield from zeros(64 * MEBIBYTE)
        yield whole(f"after{ord(kind)}.txt", b"")
    yield whole("bomb.png", png(3_000_000, 2_000_000))
    yield whole("deep.json", b"[" * (MEBIBYTE - 1))
    yield whole("wide.json", b"[" + b"[]," * 340_000 + b"[]]")
    yield whole("numbers.json", b'{"a":' + b"9" * (MEBIBYTE - 10) + b"}")
    for number in range(6):
        yield whole(f"many.{number}", bytes(2 * MEBIBYTE))
    for number in range(4):
        yield whole(f"full{number}.bin", bytes(8 * MEBIBYTE))
    yield whole("last.txt", b"after")
    yield entry("absurd.bin", 2**63)
    yield from zeros(96 * MEBIBYTE)


def main() -> None:
    for item in iter_tar(Made(iter([whole("warm.json", b"{}"), bytes(1024)]))):
        assert isinstance(item, TarSample)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, used + HEADROOM))
    try:
        bytearray(HEADROOM + MEBIBYTE)
    except MemoryError:
        pass
    else:
        sys.exit("the cap does not hold")
    rows = [
        [item.key, "", ""] if isinstance(item, TarSample) else [item.name, item.reason, item.detail]
        for item in iter_tar(Made(tar()), LIMITS)
    ]
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
