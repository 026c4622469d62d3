"""The size of a picture from its header alone: nothing is decoded and no memory is asked for.

Place in the flow: the tar guard, the fetcher and every decode call it before any decoder sees the bytes.
The law: the work is bounded by the header's length, whatever sizes it declares; of a JPEG in several scans they are
counted too, one search through its bytes. Pillow's lazy open does not keep this law: its WebP reader allocates the
declared canvas, its PNG reader inflates text chunks. It is no stricter than the decoders: libjpeg skips stray bytes
before a marker, and so does this.
Sources: ITU-T T.81 annex B (JPEG), W3C PNG third edition §11.2, GIF89a §18, RFC 9649 (WebP), RFC 6386
§9.1 (VP8), TIFF 6.0 §2. The other kinds are read by `boxes`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from supir_images.boxes import iso_size, jp2_size, jxl_size
from supir_images.errors import BadImage, Fault
from supir_images.formats import EXPORT_FIRST, kind_of

MAX_PIXELS = 2**28
"""16384 x 16384 px: more than any camera makes, 0.8 GB once decoded."""

MAX_SCANS = 100
"""Of a JPEG. Encoders write 1 to 12; decoding each is a pass over the whole picture, were it of ten bytes."""

_MAX_JPEG_SEGMENTS = 10_000  # 64 KiB each: far above the largest profile, low enough to answer at once
_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD9)}  # no length follows
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SEQUENTIAL = (0xC0, 0xC1)
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)  # a zero is no code, and 0xFF before a code fills
_JPEG_SCAN = b"\xff\xda\0"  # compressed data cannot hold it; a scan's header is always shorter than 256 bytes
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
_MAX_TIFF_TAGS = 4096
_TIFF_NUMBERS = {3: "H", 4: "I", 16: "Q"}  # field types that a size has
_WIDTH, _HEIGHT, _SUBFILE, _DNG_VERSION = 0x0100, 0x0101, 0x00FE, 0xC612


class ImageHeader(NamedTuple):
    """Kind by `formats` (``jpg``, ``png``, …) and the stored size in px, before any EXIF orientation."""

    format: str
    width: int
    height: int


def _as_seen(data: bytes) -> str:
    """The first bytes in hex digits, and what they say where they are text."""
    if not data:
        return "the file is empty"
    letters = data[:16].decode("latin-1")
    is_text = all(" " <= letter <= "~" or letter in "\t\r\n" for letter in letters)
    return f"the bytes begin {data[:8].hex()}" + (f": it is text, {letters!r}" if is_text else "")


def image_size(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """The kind and size in px that a picture's header declares.

    Args:
        data: the file, or a beginning that reaches past the header.
        max_pixels: the largest width times height that is accepted.

    Raises:
        BadImage: unknown kind, a damaged header, more pixels than ``max_pixels``, or more than ``MAX_SCANS`` scans.

    Limits: says nothing about the picture's data; a file cut after its header passes. Of HEIC and AVIF it is the
    largest picture inside, before a crop or turn that the file asks for.
    """
    kind = kind_of(data)
    if kind is None:
        raise _bad(f"no kind of picture that is known; {_as_seen(data)}")
    try:
        width, height = _SIZES[kind](data)
    except (struct.error, IndexError) as error:
        raise _bad(f"the picture's header is cut off at {len(data)} bytes") from error
    declared = f"the {kind} header declares {width}x{height} px"
    if width < 1 or height < 1:
        raise _bad(declared)
    if width * height > max_pixels:
        raise BadImage(Fault.TOO_MANY_PIXELS, f"{declared}, more than {max_pixels} px in all")
    return ImageHeader(kind, width, height)


def _bad(detail: str) -> BadImage:
    return BadImage(Fault.NOT_AN_IMAGE, detail)


def next_marker(data: bytes, position: int) -> int:
    """Returns where the next JPEG marker's code is, past stray and fill bytes, as libjpeg looks for it.

    Raises:
        IndexError: there is none.
    """
    found = _MARKER.search(data, position)
    if found is None:
        raise IndexError
    return found.start() + 1


def _jpeg(data: bytes) -> tuple[int, int]:
    position = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        position = next_marker(data, position)
        marker = data[position]
        if marker in _JPEG_STANDALONE:
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width, num_components = struct.unpack_from(">HHB", data, position + 4)
            if marker not in _JPEG_SEQUENTIAL or not _is_one_scan(data, position - 1, num_components):
                _require_few_scans(data)
            return width, height
        if marker in (0xD9, 0xDA):
            raise _bad("JPEG: the picture's data begin before its size")
        (length,) = struct.unpack_from(">H", data, position + 1)
        if length < 2:
            raise _bad(f"JPEG: a segment of {length} bytes at byte {position - 1}")
        position += 1 + length
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


def _png(data: bytes) -> tuple[int, int]:
    length, kind, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    (checksum,) = struct.unpack_from(">I", data, 29)
    if length != 13 or kind != b"IHDR" or zlib.crc32(data[12:29]) != checksum:
        raise _bad("PNG: the first chunk is not an intact IHDR")
    if depth not in _PNG_DEPTHS.get(colour, ()):
        raise _bad(f"PNG: bit depth {depth} with colour type {colour} does not exist")
    return width, height


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16)
    if kind == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, 20)
        if signature == 0x2F:
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        start_code, width, height = struct.unpack_from("<3sHH", data, 23)
        if start_code == b"\x9d\x01\x2a":
            return width & 0x3FFF, height & 0x3FFF
    raise _bad(f"WebP: no picture in the first chunk {kind!a}")


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    if data[14] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)  # negative: its rows go down


def _tiff(data: bytes) -> tuple[int, int]:
    order = "<" if data[:1] == b"I" else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    entry, count_type, offset_at, inline = ("HHQ", "Q", 8, 8) if version == 43 else ("HHI", "H", 4, 4)
    (start,) = struct.unpack_from(order + ("Q" if version == 43 else "I"), data, offset_at)
    (count,) = struct.unpack_from(order + count_type, data, start)
    at = start + struct.calcsize(order + count_type)
    tags: dict[int, int] = {}
    for _ in range(min(count, _MAX_TIFF_TAGS)):
        tag, field_type, _ = struct.unpack_from(order + entry, data, at)
        at += struct.calcsize(order + entry)
        number = _TIFF_NUMBERS.get(field_type, "B")
        (tags[tag],) = struct.unpack_from(order + number, data, at)
        at += inline
    if _DNG_VERSION in tags or tags.get(_SUBFILE, 0) & 1:
        detail = f"the TIFF's first picture is the preview of a camera raw; {EXPORT_FIRST}"
        raise BadImage(Fault.NO_READER, detail)
    if not {_WIDTH, _HEIGHT} <= tags.keys():
        raise _bad("TIFF: the first directory declares no size")
    return tags[_WIDTH], tags[_HEIGHT]


_SIZES: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "jpg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "bmp": _bmp,
    "tiff": _tiff,
    "avif": iso_size,
    "heic": iso_size,
    "jxl": jxl_size,
    "jp2": jp2_size,
}
