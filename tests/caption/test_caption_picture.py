"""Decoding: every mode becomes RGB, and damaged bytes are named."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from supir_caption.config import RegionConfig
from supir_caption.picture import PictureError, read_picture

QUADRANTS = RegionConfig(size_px=64)


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
