"""Sizes from headers: equal to Pillow's on real pictures, refused on bombs and rubbish, bounded in work."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data as photos

from supir_images import BadImage, Fault, image_size
from supir_images.header import MAX_SCANS


def encoded(image_format: str, width: int, height: int, **options: object) -> bytes:
    picture = Image.fromarray(photos.astronaut()).resize((width, height))
    buffer = io.BytesIO()
    picture.save(buffer, image_format, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6  # a quarter turn, which must not swap the stored size
EXIF[0x010E] = "x" * 30_000


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "quality": 30}),
        ("JPEG", {"exif": EXIF, "icc_profile": b"p" * 100_000, "comment": b"c" * 60_000}),
        ("PNG", {}),
        ("PNG", {"exif": EXIF}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": EXIF, "icc_profile": b"p" * 500}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (301, 77), (77, 301)])
def test_the_size_is_the_one_that_pillow_reads(
    image_format: str, options: dict, size: tuple[int, int]
) -> None:
    data = encoded(image_format, *size, **options)
    with Image.open(io.BytesIO(data)) as picture:
        expected = (image_format.lower().replace("jpeg", "jpg"), *picture.size)
    assert image_size(data) == expected


def jpeg_header(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03" + bytes(9)


def webp_header(width: int, height: int) -> bytes:
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + canvas


@pytest.mark.parametrize(
    ("data", "pixels"),
    [(jpeg_header(65_535, 65_535), "65535x65535"), (webp_header(2**24, 2**24), "16777216x16777216")],
)
def test_a_header_that_declares_too_many_pixels_is_refused_with_both_numbers(
    data: bytes, pixels: str
) -> None:
    with pytest.raises(BadImage, match=f"declares {pixels} px, more than 268435456 px in all") as caught:
        image_size(data.ljust(24_000, b"\0"))
    assert caught.value.reason is Fault.TOO_MANY_PIXELS


def test_the_limit_on_pixels_is_inclusive() -> None:
    assert image_size(jpeg_header(100, 50), max_pixels=5000)[1:] == (100, 50)
    with pytest.raises(BadImage, match="100x50 px, more than 4999 px"):
        image_size(jpeg_header(100, 50), max_pixels=4999)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no kind of picture that is known; the file is empty$"),
        (b"II*\0\x08\0\0\0tiff", "cut off at 12 bytes"),
        (b"tiff", "no kind of picture that is known; the bytes begin 74696666: it is text, 'tiff'"),
        (b"\xff\xd8\xff", "cut off at 3 bytes"),
        (b"\xff\xd8\xff\xe0\x00\x01", "a segment of 1 bytes at byte 2"),
        (b"\xff\xd8\x00\x00", "the bytes begin ffd80000$"),
        (b"\xff\xd8\xff\xda\x00\x08", "begin before its size"),
        (jpeg_header(0, 10), "declares 0x10 px"),
        (encoded("PNG", 5, 5).replace(b"IHDR\0\0\0\x05", b"IHDR\0\0\0\x06"), "not an intact IHDR"),
        (encoded("WEBP", 5, 5).replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b"), "no picture in the first chunk"),
        (encoded("WEBP", 5, 5, lossless=True).replace(b"VP8L", b"ALPH"), "first chunk b'ALPH'"),
    ],
)
def test_rubbish_is_refused_with_what_was_seen(data: bytes, message: str) -> None:
    with pytest.raises(BadImage, match=message) as caught:
        image_size(data)
    assert caught.value.reason is Fault.NOT_AN_IMAGE


@pytest.mark.parametrize(
    ("filler", "message"),
    [
        (b"\xff", "cut off at 8000002 bytes"),
        (b"\xff\xe0\x00\x02", "no size in the first 10000 segments"),
        (b"\xff\x01", "no size in the first 10000 segments"),
    ],
)
def test_a_header_of_endless_segments_is_given_up_on(filler: bytes, message: str) -> None:
    data = b"\xff\xd8" + filler * (8_000_000 // len(filler))
    with pytest.raises(BadImage, match=message):
        image_size(data)


@pytest.mark.parametrize("stray", [b"\0", b"ab", b"\xff", b"\xff\xff", b"\xff\0", b"\0\xff\0\xff"])
def test_stray_and_fill_bytes_before_a_marker_are_passed_over_as_libjpeg_does(stray: bytes) -> None:
    photo = encoded("JPEG", 90, 50, exif=EXIF)
    for marker in (b"\xff\xe1", b"\xff\xdb", b"\xff\xc0", b"\xff\xc4"):
        at = photo.index(marker)
        assert image_size(photo[:at] + stray + photo[at:]) == ("jpg", 90, 50)


SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"  # of one component; to libjpeg an empty one is a scan too


@pytest.mark.parametrize("frame", [b"\xff\xc0", b"\xff\xc2"])
def test_a_jpeg_of_endless_scans_is_refused(frame: bytes) -> None:
    start = jpeg_header(90, 50).replace(b"\xff\xc0", frame)
    assert image_size(start + SCAN * MAX_SCANS)[1:] == (90, 50)
    hidden = b"\xff\xfe\x00\x0c\xff\xda\x00\x0c\x03" + bytes(5)  # a comment that looks like a whole scan
    with pytest.raises(BadImage, match="JPEG: 102 scans, more than 100"):
        image_size(start + hidden + SCAN * (MAX_SCANS + 1))


def test_what_follows_a_jpeg_of_one_scan_is_not_counted() -> None:
    photo = encoded("JPEG", 90, 50)  # such as a film behind a photo, whose bytes may be anything
    assert image_size(photo + SCAN * 1000)[1:] == (90, 50)


@settings(max_examples=300, deadline=None)
@given(
    data=st.sampled_from([encoded(f, 9, 7) for f in ("JPEG", "PNG", "WEBP", "GIF")]),
    position=st.integers(0, 300),
    noise=st.binary(max_size=12),
    length=st.integers(0, 400),
)
def test_damaged_headers_give_a_size_or_a_bad_image(
    data: bytes, position: int, noise: bytes, length: int
) -> None:
    damaged = (data[:position] + noise + data[position + len(noise) :])[:length]
    try:
        found = image_size(damaged)
    except BadImage:
        return
    assert found.width >= 1
    assert found.height >= 1
