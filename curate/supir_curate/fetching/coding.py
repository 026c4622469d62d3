"""The content codings of a body (gzip, deflate, br, zstd), undone within a cap of bytes.

Place in the flow: `transfer` undoes here what a server did to a body although `Accept-Encoding: identity` was asked.
The law: what comes out is whole and within the cap, or a failure, and never more than the cap is held of it, however
little came in. Other words in Content-Encoding (none, UTF-8, binary, aws-chunked) name no coding and say nothing, as
browsers have it; and a body that lacks its coding's mark was not coded, whatever its header says.

Source: RFC 9110 §8.4; RFC 1950 to 1952; the Fetch Standard's "handle content codings".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from supir_curate.fetching.answer import FetchFailure
from supir_curate.verdict import Reason

CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "brotli", "zstd": "zstd"}
MAX_CODINGS = 4  # one upon the other
GZIP_MARK, ZSTD_MARK = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
GZIP_BITS, ZLIB_BITS, RAW_BITS = 31, 15, -15  # zlib's words for its three containers


def codings_of(headers: Iterable[str]) -> list[str]:
    """Returns the codings that Content-Encoding headers name, in the order in which they were applied."""
    words = (word.strip().strip('"').lower() for header in headers for word in header.split(","))
    return [CODINGS[word] for word in words if word in CODINGS]


def decoded(body: bytes, codings: list[str], max_bytes: int) -> bytes:
    """Returns a body without its codings.

    Args:
        body: as received, whole.
        codings: as `codings_of` names them.
        max_bytes: of what comes out.

    Raises:
        FetchFailure: more would come out, the body is damaged, or it ends early.
    """
    if len(codings) > MAX_CODINGS:
        raise FetchFailure(Reason.HTTP_ERROR, f"{len(codings)} content codings, one upon the other")
    for coding in reversed(codings):
        body = _undone(body, coding, max_bytes)
    return body


def _undone(body: bytes, coding: str, max_bytes: int) -> bytes:
    if coding == "gzip":
        return _inflated(body, GZIP_BITS, coding, max_bytes) if body.startswith(GZIP_MARK) else body
    if coding == "zstd":
        return _read(body, coding, max_bytes) if body.startswith(ZSTD_MARK) else body
    if coding == "deflate" and _has_zlib_mark(body):
        return _inflated(body, ZLIB_BITS, coding, max_bytes)
    # These two have no mark: what cannot be undone was never done.
    try:
        if coding == "deflate":
            return _inflated(body, RAW_BITS, coding, max_bytes)
        return _read(body, coding, max_bytes)
    except FetchFailure as failure:
        if failure.reason is Reason.TOO_MANY_BYTES:
            raise
        return body


def _has_zlib_mark(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _inflated(body: bytes, bits: int, coding: str, max_bytes: int) -> bytes:
    """Returns what zlib makes of a body; a gzip file may have several members, and anything may follow the last."""
    pieces, room = list[bytes](), max_bytes + 1
    while True:
        inflater = zlib.decompressobj(bits)
        try:
            piece = inflater.decompress(body, room)
        except zlib.error as error:
            raise FetchFailure(Reason.HTTP_ERROR, f"Content-Encoding {coding}: {error}") from error
        pieces.append(piece)
        room -= len(piece)
        if room <= 0:
            raise _too_many(coding, max_bytes)
        if not inflater.eof:
            raise _cut(coding)
        body = inflater.unused_data
        if bits != GZIP_BITS or not body.startswith(GZIP_MARK):
            return b"".join(pieces)


def _read(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Returns what Arrow's codecs make of a body."""
    import pyarrow as pa

    try:
        with pa.CompressedInputStream(pa.BufferReader(body), coding) as stream:
            data = bytes(stream.read(max_bytes + 1))
    except OSError as error:
        if "runcated" in str(error) or "EOF" in str(error):
            raise _cut(coding) from error
        raise FetchFailure(Reason.HTTP_ERROR, f"Content-Encoding {coding}: {error}") from error
    if len(data) > max_bytes:
        raise _too_many(coding, max_bytes)
    return data


def _too_many(coding: str, max_bytes: int) -> FetchFailure:
    return FetchFailure(Reason.TOO_MANY_BYTES, f"more than {max_bytes} bytes came out of {coding}")


def _cut(coding: str) -> FetchFailure:
    return FetchFailure(Reason.CONNECTION_FAILED, f"the {coding} body ends early", may_pass=True)
