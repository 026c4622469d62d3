"""Decoding: damaged bytes are named, and regions follow the picture when EXIF turns it upright."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from PIL.ImageOps import exif_transpose

from supir_caption.config import RegionConfig
from supir_caption.picture import PictureError, read_picture

QUADRANTS = RegionConfig(size_px=64)


def oriented_png(orientation: int) -> tuple[bytes, Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return buffer.getvalue(), image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_view_shows_the_pixels_of_its_box_upright(orientation: int):
    data, stored = oriented_png(orientation)
    picture = read_picture("k", data, QUADRANTS)
    assert len(picture.boxes) == 5
    assert picture.boxes[1] == (0, 0, 96, 64)
    for box, view in zip(picture.boxes, picture.views, strict=True):
        crop = stored.crop(box)
        exif = Image.Exif()
        exif[0x0112] = orientation
        crop.info["exif"] = exif.tobytes()
        assert picture.image.crop(view).tobytes() == exif_transpose(crop).tobytes()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_every_mode_becomes_rgb(mode: str):
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, "PNG")
    assert read_picture("k", buffer.getvalue(), QUADRANTS).image.mode == "RGB"


def test_damaged_bytes_are_named(photo: Callable[[str], Image.Image], as_jpeg: Callable[..., bytes]):
    data = as_jpeg(photo("chelsea"))
    with pytest.raises(PictureError, match="truncated"):
        read_picture("k", data[: len(data) // 2], QUADRANTS)
    with pytest.raises(PictureError, match="BadImage"):
        read_picture("k", b"GIF89a" + data, QUADRANTS)
