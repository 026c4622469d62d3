"""The pixels of pictures with more than 8 bits a channel, where a library keeps them.

Place in the flow: `decode`, before it takes 8 bits. Pillow has 16-bit grey and no 16-bit colour; OpenCV reads PNG and
TIFF with all they have, pillow-heif HEIC of 10 and 12 bits. None sends `decode` on to 8 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_images.opening import Header, without_stderr

if TYPE_CHECKING:
    from PIL import Image

Deep = tuple[NDArray[np.float32], NDArray[np.float32] | None]
"""Grey (H, W) or RGB (H, W, 3), and alpha (H, W) or None; float32, 0 to 1."""

LOST_BITS = "more than 8 bits a channel: read with 8"
_PNG_GREY = (0, 4)  # colour types
GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of it."""


def read_deep(data: bytes, image: Image.Image, header: Header, notes: list[str]) -> Deep | None:
    """Returns the pixels of a picture of more than 8 bits; None, and a note, where only 8 can be had.

    Args:
        data: the file.
        image: the same as Pillow opened it.
        header: of it.
        notes: gets what a user should know.
    """
    if header.mode in GREY_16:
        image.load()
        return grey_16(image)
    found: Deep | None = None
    if header.format == "png" or (
        header.format == "tiff" and header.bit_depth == 16 and header.mode != "CMYK"
    ):
        found = _through_opencv(data, header)
    elif header.format == "heic":
        found = _through_heif(data)
    if found is None and header.mode not in ("I", "F"):
        notes.append(LOST_BITS)
    return found


def grey_16(image: Image.Image) -> Deep:
    """Returns the pixels of a loaded picture of one of `GREY_16`."""
    values = np.asarray(image).astype(np.uint16)
    clear = image.info.get("transparency")
    alpha = (values != clear).astype(np.float32) if isinstance(clear, int) else None
    return _unit(values), alpha


def _through_opencv(data: bytes, header: Header) -> Deep | None:
    """A TIFF comes out turned as its orientation says, like Pillow's."""
    import cv2

    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    with without_stderr():
        values: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if values is None or values.dtype != np.uint16 or values.shape[:2] != (header.height, header.width):
        return None
    if values.ndim == 2:
        return _unit(values), None
    alpha = _unit(values[..., 3]) if values.shape[2] == 4 else None
    is_grey = header.format == "png" and data[25] in _PNG_GREY
    colours = values[..., 0] if is_grey else values[..., 2::-1]  # OpenCV's order is blue, green, red
    return _unit(np.ascontiguousarray(colours)), alpha


def _through_heif(data: bytes) -> Deep | None:
    import pillow_heif

    opened = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, bgr_mode=False)
    values = np.asarray(opened)
    if values.dtype != np.uint16 or values.ndim != 3:
        return None
    alpha = _unit(values[..., 3]) if values.shape[2] == 4 else None
    return _unit(values[..., :3]), alpha


def _unit(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    return values.astype(np.float32) / np.float32(65535)
