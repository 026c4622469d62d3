"""Decoding: every mode becomes RGB, and damaged bytes are named."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from supir_caption.config import RegionConfig
from supir_caption.picture import read_picture
from supir_images import BadImage

# Its width is a text and its orientation 6: turning such a photo upright raises struct.error in Pillow's own function.
QUIRKY_EXIF = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\0\0\x02\0\0\0\x06\0\0\0&\x01\x12\0\x03\0\0\0\x01\0\x06"
    b"\0\0\0\0\0\0hello\0"
)
QUADRANTS = RegionConfig(size_px=64)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_every_mode_becomes_rgb(mode: str):
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, "PNG")
    assert read_picture("k", buffer.getvalue(), QUADRANTS).image.mode == "RGB"


def test_damaged_bytes_are_named(photo: Callable[[str], Image.Image], as_jpeg: Callable[..., bytes]):
    data = as_jpeg(photo("chelsea"))
    with pytest.raises(BadImage, match="truncated"):
        read_picture("k", data[: len(data) // 2], QUADRANTS)
    with pytest.raises(BadImage, match="gif header declares 55551x57599 px"):
        read_picture("k", b"GIF89a" + data, QUADRANTS)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(range(60))])
def test_a_photo_with_a_broken_exif_block_is_the_photo(
    photo: Callable[[str], Image.Image], as_jpeg: Callable[..., bytes], exif: bytes
):
    sound = read_picture("k", as_jpeg(photo("chelsea")), QUADRANTS)
    broken = read_picture("k", as_jpeg(photo("chelsea"), exif=exif), QUADRANTS)
    assert broken.image.tobytes() == sound.image.tobytes()
    assert broken.boxes == sound.boxes


def test_a_photo_that_exif_turns_stands_upright_whatever_else_its_block_says(
    photo: Callable[[str], Image.Image], as_jpeg: Callable[..., bytes]
):
    stored = read_picture("k", as_jpeg(photo("chelsea")), QUADRANTS)
    turned = read_picture("k", as_jpeg(photo("chelsea"), exif=QUIRKY_EXIF), QUADRANTS)
    assert turned.image.tobytes() == stored.image.transpose(Image.Transpose.ROTATE_270).tobytes()
