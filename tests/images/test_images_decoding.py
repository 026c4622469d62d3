"""`decode_rgb`: every mode becomes upright sRGB, and whatever the bytes are, only BadImage comes out."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from supir_images import BadImage, Fault, decode_rgb

# Its width is a text and its orientation 6: turning such a photo upright raises struct.error in Pillow.
QUIRKY_EXIF = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\0\0\x02\0\0\0\x06\0\0\0&\x01\x12\0\x03\0\0\0\x01\0\x06"
    b"\0\0\0\0\0\0hello\0"
)
BROKEN_EXIF = b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(range(60))


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def noise(mode: str = "RGB", side: int = 40) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """The PNG with one more chunk, its checksum right, after the header."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def exif_turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


SOUND = [
    encoded(noise(), "JPEG", exif=exif_turned(), quality=95),
    encoded(noise(), "JPEG", progressive=True, exif=BROKEN_EXIF),
    encoded(noise(), "PNG", exif=exif_turned()),
    encoded(noise("P"), "PNG", transparency=3),
    encoded(noise(), "WEBP", exif=exif_turned()),
    encoded(noise("RGBA"), "WEBP", lossless=True, exif=exif_turned()),
    encoded(noise("P"), "GIF"),
]


def test_pixels_stand_upright_and_a_broken_exif_block_turns_nothing() -> None:
    picture = noise(side=24).crop((0, 0, 24, 20))
    turned = np.rot90(np.asarray(picture), -1)
    np.testing.assert_array_equal(decode_rgb(encoded(picture, "PNG", exif=exif_turned())), turned)
    np.testing.assert_array_equal(decode_rgb(encoded(picture, "WEBP", lossless=True)), np.asarray(picture))
    plain = decode_rgb(encoded(picture, "JPEG", quality=95))
    data = encoded(picture, "JPEG", quality=95, exif=exif_turned())
    np.testing.assert_array_equal(decode_rgb(data), np.rot90(plain, -1))
    for exif in (BROKEN_EXIF, b"Exif\0\0"):
        data = encoded(picture, "JPEG", quality=95, exif=exif)
        np.testing.assert_array_equal(decode_rgb(data), plain)
    np.testing.assert_array_equal(
        decode_rgb(encoded(picture, "JPEG", quality=95, exif=QUIRKY_EXIF)), np.rot90(plain, -1)
    )


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (255, 0), (128, 128, 128)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (255, 0, 0, 0), (128, 128, 128)),
        ("I;16", 65_535, (255, 255, 255)),
        ("I;16", 32_896, (128, 128, 128)),
    ],
)
def test_every_mode_becomes_rgb_at_its_own_level(mode: str, colour: Any, expected: tuple[int, ...]) -> None:
    pixels = decode_rgb(encoded(Image.new(mode, (5, 4), colour), "PNG"))
    assert (pixels.shape, pixels.dtype) == ((4, 5, 3), np.uint8)
    assert {tuple(pixel) for pixel in pixels.reshape(-1, 3).tolist()} == {expected}


def test_ink_of_a_cmyk_jpeg_becomes_light() -> None:
    pixels = decode_rgb(encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=100))
    assert np.abs(pixels.astype(int) - (0, 255, 255)).max() <= 3


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = encoded(noise(), "PNG")
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def long_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 20 * 2**20, zip=True)
    return encoded(noise(), "PNG", pnginfo=info)


def nameless_chunk() -> bytes:
    """A PNG whose second chunk of pixels has lost its name."""
    png = encoded(noise(side=200), "PNG")
    second = png.index(b"IDAT", png.index(b"IDAT") + 4)
    return png[:second] + b"\0\0\0\0" + png[second + 4 :]


BAD, LARGE = Fault.UNDECODABLE, Fault.TOO_MANY_PIXELS


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (long_text(), BAD, r"ValueError: Decompressed data too large"),
        (with_chunk(SOUND[2], b"pHYs", b"\0"), BAD, r"png cannot be decoded \(ValueError"),
        (nameless_chunk(), BAD, r"png cannot be decoded \(SyntaxError: broken PNG file"),
        (SOUND[2][:300], BAD, r"png cannot be decoded \(OSError: image file is truncated"),
        (SOUND[0][:-200], BAD, r"jpg cannot be decoded \(OSError: image file is truncated"),
        (SOUND[4][:300], BAD, r"webp cannot be decoded \(OSError"),
        (png_of(15_000, 15_000), LARGE, r"exceeds limit of 178956970 pixels"),
        (png_of(20_000, 20_000), LARGE, r"declares 20000x20000 px, more than 268435456"),
        (b"II*\0" + bytes(60), Fault.NOT_AN_IMAGE, r"header is cut off at 64 bytes"),
    ],
    ids=[
        "long text",
        "short chunk",
        "nameless chunk",
        "cut png",
        "cut jpeg",
        "cut webp",
        "bomb",
        "larger bomb",
        "tiff",
    ],
)
def test_a_damaged_picture_is_refused_with_its_reason(data: bytes, reason: Fault, message: str) -> None:
    with pytest.raises(BadImage, match=message) as caught:
        decode_rgb(data)
    assert caught.value.reason is reason


def pixels_or_reason(data: bytes) -> np.ndarray | str:
    try:
        return decode_rgb(data)
    except BadImage as error:
        return error.detail


@settings(max_examples=600, deadline=None)
@given(
    data=st.sampled_from(SOUND),
    place=st.floats(0, 1, exclude_max=True),
    patch=st.binary(max_size=24),
    cut=st.floats(0.02, 1.2),
)
def test_damaged_pictures_give_pixels_or_a_bad_image(
    data: bytes, place: float, patch: bytes, cut: float
) -> None:
    position = int(place * len(data))
    damaged = (data[:position] + patch + data[position + len(patch) :])[: int(cut * len(data))]
    outcome = pixels_or_reason(damaged)
    if isinstance(outcome, str):
        assert outcome.isprintable()
    else:
        assert (outcome.ndim, outcome.shape[2], outcome.dtype) == (3, 3, np.uint8)


CHUNKS = b"IHDR PLTE tRNS iCCP cHRM gAMA sRGB pHYs tEXt zTXt iTXt eXIf acTL fcTL fdAT IEND".split()


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(CHUNKS), content=st.binary(max_size=40))
def test_any_png_chunk_gives_pixels_or_a_bad_image(kind: bytes, content: bytes) -> None:
    outcome = pixels_or_reason(with_chunk(SOUND[2], kind, content))
    assert isinstance(outcome, np.ndarray) or outcome.isprintable()


@pytest.mark.parametrize("subsampling", [1, 2])
def test_a_tiff_of_uncompressed_ycbcr_has_its_colours(subsampling: int) -> None:
    decoded = decode_rgb(ycbcr_tiff(Image.new("RGB", (8, 6), (200, 90, 40)), subsampling))
    assert decoded.shape == (6, 8, 3)
    assert np.abs(decoded.astype(int) - (200, 90, 40)).max() <= 2


def ycbcr_tiff(picture: Image.Image, subsampling: int) -> bytes:
    """One colour as a TIFF of one strip: for each block its Y, row by row, then its Cb and Cr (TIFF 6.0 §21)."""
    width, height = picture.size
    y, cb, cr = picture.convert("YCbCr").getpixel((0, 0))
    strip = bytes([*[y] * subsampling**2, cb, cr]) * (width // subsampling * height // subsampling)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[256], tags[257], tags[258], tags[259], tags[262] = width, height, (8, 8, 8), 1, 6
    tags[273], tags[277], tags[278], tags[279] = 0, 3, height, len(strip)
    tags[530] = (subsampling, subsampling)
    stream = io.BytesIO()
    tags.save(stream)
    return stream.getvalue() + strip
