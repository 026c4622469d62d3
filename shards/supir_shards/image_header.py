"""The size of a picture from its header alone: nothing is decoded and no memory is asked for.

Place in the flow: the tar guard and the fetcher call it before any decoder sees the bytes.
The law: the work is bounded by the header's length, whatever sizes it declares; of a JPEG in several scans they are
counted too, one search through its bytes. Pillow's lazy open does not keep this law: its WebP reader allocates the
declared canvas, its PNG reader inflates text chunks.
Sources: ITU-T T.81 annex B (JPEG), W3C PNG third edition §11.2, GIF89a §18, RFC 9649 (WebP), RFC 6386
§9.1 (VP8).
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from supir_shards.quarantine import QuarantineReason, RejectedError

MAX_PIXELS = 2**28
"""16384 x 16384 px: more than any camera makes, 0.8 GB once decoded."""

MAX_SCANS = 100
"""Of a JPEG. Encoders write 1 to 12; decoding each is a pass over the whole picture, were it of ten bytes."""

_MAX_JPEG_SEGMENTS = 10_000  # 64 KiB each: far above the largest profile, low enough to answer at once
_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD9), 0xFF}  # no length follows; 0xFF is a fill byte
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SEQUENTIAL = (0xC0, 0xC1)
_JPEG_SCAN = b"\xff\xda\0"  # compressed data cannot hold it; a scan's header is always shorter than 256 bytes
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type


class BadImage(RejectedError):  # noqa: N818 - the picture is bad, the code is not
    """The bytes are not the start of a picture that can be used; ``reason`` and ``detail`` say why."""


class ImageHeader(NamedTuple):
    """Format (``jpg``, ``png``, ``webp``, ``gif``) and the stored size in px, before any EXIF orientation."""

    format: str
    width: int
    height: int


def image_size(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """The format and size in px that a picture's header declares.

    Args:
        data: the file, or a beginning that reaches past the header.
        max_pixels: the largest width times height that is accepted.

    Raises:
        BadImage: unknown format, a damaged header, more pixels than ``max_pixels``, or more than ``MAX_SCANS`` scans.

    Limits: says nothing about the picture's data; a file cut after its header passes.
    """
    try:
        header = _parse(data)
    except (struct.error, IndexError) as error:
        raise _bad(f"the picture's header is cut off at {len(data)} bytes") from error
    declared = f"the {header.format} header declares {header.width}x{header.height} px"
    if header.width < 1 or header.height < 1:
        raise _bad(declared)
    if header.width * header.height > max_pixels:
        raise BadImage(QuarantineReason.IMAGE_TOO_LARGE, f"{declared}, more than {max_pixels} px in all")
    return header


def _bad(detail: str) -> BadImage:
    return BadImage(QuarantineReason.BAD_IMAGE, detail)


def _parse(data: bytes) -> ImageHeader:
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return ImageHeader("gif", *struct.unpack_from("<HH", data, 6))
    raise _bad(f"not JPEG, PNG, WebP or GIF; the bytes begin {data[:8].hex() or '(none)'}")


def _jpeg(data: bytes) -> ImageHeader:
    position = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        if data[position] != 0xFF:
            raise _bad(f"JPEG: no marker at byte {position}")
        marker = data[position + 1]
        if marker in _JPEG_STANDALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_FRAMES:
            height, width, num_components = struct.unpack_from(">HHB", data, position + 5)
            if marker not in _JPEG_SEQUENTIAL or not _is_one_scan(data, position, num_components):
                _require_few_scans(data)
            return ImageHeader("jpg", width, height)
        if marker in (0xD9, 0xDA):
            raise _bad("JPEG: the picture's data begin before its size")
        (length,) = struct.unpack_from(">H", data, position + 2)
        if length < 2:
            raise _bad(f"JPEG: a segment of {length} bytes at byte {position}")
        position += 2 + length
    raise _bad(f"JPEG: no size in the first {_MAX_JPEG_SEGMENTS} segments")


def _is_one_scan(data: bytes, position: int, num_components: int) -> bool:
    """Whether the scan that follows a frame's header holds every component, so that no other is decoded."""
    while data[position : position + 1] == b"\xff" and data[position : position + 3] != _JPEG_SCAN:
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return data[position + 4 : position + 5] == bytes([num_components])


def _require_few_scans(data: bytes) -> None:
    num_scans = data.count(_JPEG_SCAN)
    if num_scans > MAX_SCANS:
        raise _bad(f"JPEG: {num_scans} scans, more than {MAX_SCANS}")


def _png(data: bytes) -> ImageHeader:
    length, kind, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    (checksum,) = struct.unpack_from(">I", data, 29)
    if length != 13 or kind != b"IHDR" or zlib.crc32(data[12:29]) != checksum:
        raise _bad("PNG: the first chunk is not an intact IHDR")
    if depth not in _PNG_DEPTHS.get(colour, ()):
        raise _bad(f"PNG: bit depth {depth} with colour type {colour} does not exist")
    return ImageHeader("png", width, height)


def _webp(data: bytes) -> ImageHeader:
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return ImageHeader("webp", 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16))
    if kind == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, 20)
        if signature == 0x2F:
            return ImageHeader("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        start_code, width, height = struct.unpack_from("<3sHH", data, 23)
        if start_code == b"\x9d\x01\x2a":
            return ImageHeader("webp", width & 0x3FFF, height & 0x3FFF)
    raise _bad(f"WebP: no picture in the first chunk {kind!a}")
