"""The size of pictures that lie in nested boxes: AVIF and HEIC, JPEG XL, JPEG 2000; and the colours AVIF names.

Place in the flow: `header` asks for sizes, `colour_source` for the colour space. The law: as in `header`: a bounded
number of boxes is looked at, nothing is allocated.
Sources: ISO/IEC 14496-12 §4.2 (boxes), ISO/IEC 23008-12 §6.5.3 (`ispe`), §12.1.5 (`colr`), ISO/IEC 18181-1 §D.2
(JPEG XL's size header), ISO/IEC 15444-1 §A.5.1 (SIZ) and §I.5.3.1 (`ihdr`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from supir_images.errors import BadImage, Fault

_MAX_BOXES = 10_000
_PROPERTIES = (b"meta", b"iprp", b"ipco")
_JXL_RATIOS = (
    (1, 1),
    (12, 10),
    (4, 3),
    (3, 2),
    (16, 9),
    (5, 4),
    (2, 1),
)  # width to height, by its code less one


def iso_size(data: bytes) -> tuple[int, int]:
    """Returns width and height in px of the largest picture that an ISO media file declares.

    Raises:
        BadImage: it declares none.
    """
    sizes = [
        struct.unpack_from(">II", data, start + 4)
        for kind, start, end in properties(data)
        if kind == b"ispe" and end - start >= 12
    ]
    if not sizes:
        raise BadImage(Fault.NOT_AN_IMAGE, "no picture's size in the file's first boxes")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return width, height


def cicp_of(data: bytes) -> tuple[int, int, int, bool] | None:
    """Returns primaries, transfer, matrix and full range that an AVIF or HEIC names by ITU-T H.273; None for none."""
    for kind, start, end in properties(data):
        if kind == b"colr" and data[start : start + 4] == b"nclx" and end - start >= 11:
            primaries, transfer, matrix, flags = struct.unpack_from(">HHHB", data, start + 4)
            return primaries, transfer, matrix, bool(flags & 0x80)
    return None


def properties(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the properties of the items of an ISO media file: name, first and last byte of the content."""
    spans = [(0, len(data))]
    for wanted in _PROPERTIES:
        inside = [
            (start + (4 if wanted == b"meta" else 0), end)  # `meta` has a version before its boxes
            for span in spans
            for kind, start, end in boxes(data, *span)
            if kind == wanted
        ]
        spans = inside
    for span in spans:
        yield from boxes(data, *span)


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields the boxes of a stretch: name, first byte of the content, byte after it; stops at one that is none."""
    for _ in range(_MAX_BOXES):
        if start + 8 > min(end, len(data)):
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            if start + 16 > len(data):
                return
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        stop = end if size == 0 else start + size
        if stop < start + header:
            return
        yield kind, start + header, min(stop, end)
        start = stop


def jp2_size(data: bytes) -> tuple[int, int]:
    """Returns width and height in px of a JPEG 2000 file or codestream.

    Raises:
        BadImage: it declares none.
    """
    if data.startswith(b"\xff\x4f\xff\x51"):
        right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
        return right - left, bottom - top
    for kind, start, end in boxes(data, 0, len(data)):
        if kind != b"jp2h":
            continue
        for inner, content, _ in boxes(data, start, end):
            if inner == b"ihdr":
                height, width = struct.unpack_from(">II", data, content)
                return width, height
    raise BadImage(Fault.NOT_AN_IMAGE, "JPEG 2000: no image header box")


def jxl_size(data: bytes) -> tuple[int, int]:
    """Returns width and height in px of a JPEG XL file or codestream, before the turn that it asks for.

    Raises:
        BadImage: it holds no codestream.
    """
    if data.startswith(b"\xff\x0a"):
        return _jxl_size_header(data[2:12])
    for kind, start, _ in boxes(data, 0, len(data)):
        skipped = {b"jxlc": 0, b"jxlp": 4}.get(kind)  # a partial codestream has its number before it
        if skipped is not None:
            return _jxl_size_header(data[start + skipped + 2 : start + skipped + 12])
    raise BadImage(Fault.NOT_AN_IMAGE, "JPEG XL: no codestream box")


def _jxl_size_header(data: bytes) -> tuple[int, int]:
    """Returns width and height; bits are read from each byte's lowest on."""
    if len(data) < 10:
        data = data.ljust(10, b"\0")
    bits = int.from_bytes(data, "little")
    is_small, bits = bits & 1, bits >> 1

    def side() -> int:
        nonlocal bits
        if is_small:
            value, bits = 8 * (1 + (bits & 31)), bits >> 5
            return value
        length = (9, 13, 18, 30)[bits & 3]
        value, bits = 1 + (bits >> 2 & ((1 << length) - 1)), bits >> (2 + length)
        return value

    height = side()
    ratio, bits = bits & 7, bits >> 3
    if not ratio:
        return side(), height
    numerator, denominator = _JXL_RATIOS[ratio - 1]
    return height * numerator // denominator, height
