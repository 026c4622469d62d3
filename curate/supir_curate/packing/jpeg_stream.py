"""The segments of a JPEG file: what it says about its picture, and its bytes without anything but the picture.

Place in the flow: `jpeg_crop` reads coefficients from what this hands it. The law: only a stream whose every segment
is understood passes; all others are refused with a reason, for the C library behind `jpeg_crop` does not survive a
header that libjpeg refuses. Of the metadata only the colour profile is kept: EXIF, with its place and its thumbnail of
the whole photo, XMP and comments are not.

Source: ITU-T T.81, annex B; ICC.1 annex B.4; the colour space is told as libjpeg tells it (JFIF, Adobe, identifiers).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

BLOCK_PX = 8
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_SOF_HUFFMAN = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_DHT, _SOS, _DQT, _DRI = 0xC4, 0xDA, 0xDB, 0xDD
_APP0, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE2, 0xEE, 0xEF, 0xFE
_ICC = b"ICC_PROFILE\0"
_MARKER = re.compile(
    rb"\xff[^\x00\xd0-\xd7\xff]"
)  # in entropy-coded data: neither a stuffed byte nor a restart
_NUM_TABLES = 4  # of a kind
_MAX_SIDE_PX = 65_500  # libjpeg's
_RGB_IDS = (ord("R"), ord("G"), ord("B"))


class NotLosslessError(ValueError):
    """A JPEG cannot be cut without decoding; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegStream:
    """A JPEG's picture.

    Args:
        data: a complete JPEG file of the same coefficients, without metadata.
        width: in px.
        height: in px.
        sampling: vertical and horizontal sampling factor of each component: one is grey, three are YCbCr.
        icc_segments: contents of the APP2 segments that hold the colour profile, in their order.
    """

    data: bytes
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    icc_segments: tuple[bytes, ...]


class _Frame(NamedTuple):
    """A frame header: size in px, component identifiers, sampling factors (vertical, horizontal)."""

    width: int
    height: int
    ids: tuple[int, ...]
    sampling: tuple[tuple[int, int], ...]


def parse_jpeg(data: bytes) -> JpegStream:
    """Returns the picture of a JPEG file.

    Args:
        data: the file; what follows its end marker (a phone's second picture) is left out.

    Raises:
        NotLosslessError: it is not a whole Huffman-coded 8-bit JPEG, grey or YCbCr, or holds a segment that only a
            decoder should judge.
    """
    frame: _Frame | None = None
    has_scan = has_jfif = False
    adobe_transform: int | None = None
    icc: list[bytes] = []
    kept = [SOI]
    for marker, content, whole in _segments(data):
        if _APP0 <= marker <= _APP15 or marker == _COM:
            has_jfif |= marker == _APP0 and content.startswith(b"JFIF\0")
            if marker == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
                adobe_transform = content[11]
            if marker == _APP2 and content.startswith(_ICC):
                icc.append(content)
            continue
        if marker in _SOF_HUFFMAN and frame is None:
            frame = _read_frame(content)
        elif marker == _SOS and frame is not None:
            _check_scan(content, frame)
            has_scan = True
        elif marker == _DHT:
            _check_huffman_tables(content)
        elif marker == _DQT and not has_scan:
            _check_quantisation_tables(content)
        elif marker != _DRI or len(content) != 2:
            raise NotLosslessError(f"segment {marker:#04x} is not cut without decoding")
        kept.append(whole)
    if frame is None or not has_scan:
        raise NotLosslessError("no picture before the end marker")
    is_rgb = adobe_transform == 0 or (adobe_transform is None and frame.ids == _RGB_IDS)
    if len(frame.ids) == 3 and is_rgb and not has_jfif:
        raise NotLosslessError("its components are RGB, not YCbCr")
    return JpegStream(
        data=b"".join([*kept, EOI]),
        width=frame.width,
        height=frame.height,
        sampling=frame.sampling,
        icc_segments=tuple(icc),
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields each segment up to the end marker: its marker, its content, and its bytes with the scan that follows."""
    if not data.startswith(SOI):
        raise NotLosslessError("no start marker")
    place = len(SOI)
    while True:
        while data[place : place + 2] == b"\xff\xff":  # fill bytes
            place += 1
        if data[place : place + 2] == EOI:
            return
        if (
            place + 4 > len(data)
            or data[place] != 0xFF
            or data[place + 1] in (0x00, 0x01, *range(0xD0, 0xD9))
        ):
            raise NotLosslessError(f"no segment at byte {place} of {len(data)}")
        (length,) = struct.unpack_from(">H", data, place + 2)
        content_end = end = place + 2 + length
        if length < 2 or end > len(data):
            raise NotLosslessError(f"the segment at byte {place} runs past the end")
        if data[place + 1] == _SOS:
            found = _MARKER.search(data, end)
            if found is None:
                raise NotLosslessError("no end marker")
            end = found.start()
        yield data[place + 1], data[place + 4 : content_end], data[place:end]
        place = end


def _read_frame(content: bytes) -> _Frame:
    if len(content) < 6 or len(content) != 6 + 3 * content[5]:
        raise NotLosslessError("damaged frame header")
    precision, height, width, count = struct.unpack_from(">BHHB", content)
    ids, factors, tables = content[6::3], content[7::3], content[8::3]
    if (
        precision != 8
        or count not in (1, 3)
        or not 0 < width <= _MAX_SIDE_PX
        or not 0 < height <= _MAX_SIDE_PX
    ):
        raise NotLosslessError(f"{count} components of {precision} bits, {width}x{height} px")
    if len(set(ids)) != count or max(tables) >= _NUM_TABLES:
        raise NotLosslessError("damaged frame header")
    sampling = tuple((byte & 15, byte >> 4) for byte in factors)
    largest = tuple(max(axis) for axis in zip(*sampling, strict=True))
    if any(factor not in (1, 2, 4) for pair in sampling for factor in pair) or sampling[0] != largest:
        raise NotLosslessError(f"sampling factors {sampling}")
    if count == 1:
        sampling = ((1, 1),)  # it has blocks of its own, whatever factor is written
    return _Frame(width, height, tuple(ids), sampling)


def _check_scan(content: bytes, frame: _Frame) -> None:
    ids = [*content[1:-3:2]]
    if len(content) < 6 or len(content) != 4 + 2 * content[0] or any(one not in frame.ids for one in ids):
        raise NotLosslessError("damaged scan header")
    places = [frame.ids.index(one) for one in ids]
    if places != sorted(set(places)):
        raise NotLosslessError("damaged scan header")


def _check_huffman_tables(content: bytes) -> None:
    place = 0
    while place + 17 <= len(content):
        count = sum(content[place + 1 : place + 17])
        if content[place] & ~0x10 >= _NUM_TABLES or count > 256:
            break
        place += 17 + count
    if place != len(content):
        raise NotLosslessError("damaged Huffman table")


def _check_quantisation_tables(content: bytes) -> None:
    place = 0
    while place < len(content) and content[place] & 15 < _NUM_TABLES and content[place] >> 4 <= 1:
        place += 1 + BLOCK_PX**2 * (1 + (content[place] >> 4))
    if place != len(content):
        raise NotLosslessError("damaged quantisation table")
