"""Rounds through real image files: JPEG, WebP and AVIF, as the libraries behind the web write them.

Place in the flow: called by `pipeline`. Images are float32 (H, W, 3) RGB; they are clipped to 0..1 and
rounded to 8 bits, as any file does, before the encoder sees them.
Source: Pillow with libjpeg-turbo, libwebp and libavif.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from supir_console import UserError
from supir_degrade.trace import Subsampling
from supir_images import decode_rgb

Image = NDArray[np.float32]
MAX_SIDE_PX = {"JPEG": 65500, "WEBP": 16383, "AVIF": 32768}
"""The longest side that each library writes and reads again, px."""


def jpeg(image: Image, *, quality: int, subsampling: Subsampling, progressive: bool) -> Image:
    """Returns the image after one JPEG file of that quality (1..100), chroma layout and scan order."""
    return _through_file(image, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)


def webp(image: Image, *, quality: int, method: int) -> Image:
    """Returns the image after one lossy WebP file of that quality (1..100) and effort (0..6)."""
    return _through_file(image, "WEBP", quality=quality, method=method)


def avif(image: Image, *, quality: int, speed: int) -> Image:
    """Returns the image after one AVIF file of that quality (1..100) and speed (0..10), 4:2:0."""
    # One thread: the encoder splits its work by thread, and the bytes would follow the machine.
    return _through_file(image, "AVIF", quality=quality, speed=speed, max_threads=1)


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Returns the image clipped to 0..1 and rounded to 0..255."""
    levels = np.clip(image, 0, 1)
    levels *= 255
    return np.rint(levels, out=levels).astype(np.uint8)


def check_sides(image: Image, codec: str, limit_px: int) -> None:
    """Refuses a picture that is too long for its codec.

    Raises:
        UserError: a side is longer than `limit_px`.
    """
    longest = max(image.shape[:2])
    if longest > limit_px:
        raise UserError(
            f"{codec} takes sides up to {limit_px} px, this step of the recipe got one of {longest} px; "
            "degrade smaller crops, or enlarge less before it"
        )


def _through_file(image: Image, file_format: str, **options: Any) -> Image:
    check_sides(image, file_format, MAX_SIDE_PX[file_format])
    buffer = io.BytesIO()
    PillowImage.fromarray(to_uint8(image)).save(buffer, file_format, **options)
    return np.divide(decode_rgb(buffer.getvalue()), np.float32(255), dtype=np.float32)
