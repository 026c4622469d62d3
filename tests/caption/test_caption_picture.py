"""Decoding: every mode becomes RGB, and damaged bytes are named."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
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
    picture = read_picture("k", buffer.getvalue(), QUADRANTS)
    assert (picture.rgb.shape, picture.rgb.dtype) == ((30, 40, 3), np.uint8)
    assert (picture.crop((5, 6, 9, 16)).mode, picture.crop((5, 6, 9, 16)).size) == ("RGB", (4, 10))


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
    assert np.array_equal(broken.rgb, sound.rgb)
    assert broken.boxes == sound.boxes


def test_a_photo_that_exif_turns_stands_upright_whatever_else_its_block_says(
    photo: Callable[[str], Image.Image], as_jpeg: Callable[..., bytes]
):
    stored = read_picture("k", as_jpeg(photo("chelsea")), QUADRANTS)
    turned = read_picture("k", as_jpeg(photo("chelsea"), exif=QUIRKY_EXIF), QUADRANTS)
    whole = Image.fromarray(stored.rgb).transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(turned.rgb, np.asarray(whole))
    box = (20, 30, 90, 170)
    assert turned.crop(box).tobytes() == whole.crop(box).tobytes()
