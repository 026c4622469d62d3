"""A picture turned the way its EXIF orientation says.

Place in the flow: `pack`, before a picture is stored: the dataset holds no picture that only stands upright for
readers that know EXIF; `jpeg_crop` turns coefficients by the same tables. Source: EXIF 2.32, tag 0x0112.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from supir_shards import Box

QUARTER_TURNS = (5, 6, 7, 8)  # orientations whose upright picture swaps width and height
UPSIDE_DOWN = (3, 4, 7, 8)  # orientations whose rows are then in reverse
MIRRORED = (2, 3, 6, 7)  # orientations whose columns are then in reverse


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Returns the width and height in px of the upright picture."""
    return (height, width) if orientation in QUARTER_TURNS else (width, height)


def upright(stored: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Returns the upright picture, contiguous.

    Args:
        stored: (H, W) or (H, W, C) as stored.
        orientation: EXIF orientation, 1 to 8.

    Example:
        >>> upright(np.array([[1, 2], [3, 4]], np.uint8), 6).tolist()  # stored lying on its left side
        [[3, 1], [4, 2]]
    """
    turned = np.swapaxes(stored, 0, 1) if orientation in QUARTER_TURNS else stored
    if orientation in UPSIDE_DOWN:
        turned = turned[::-1]
    if orientation in MIRRORED:
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def upright_box(box: Box, width: int, height: int, orientation: int) -> Box:
    """Returns where a box lies in the upright picture.

    Args:
        box: in px of the picture as stored.
        width: of the picture as stored, in px.
        height: likewise.
        orientation: EXIF orientation, 1 to 8.

    Example:
        >>> upright_box((0, 0, 10, 20), 100, 60, 6)  # the upper left corner of a picture stored on its left side
        (40, 0, 60, 10)
    """
    x0, y0, x1, y1 = box
    if orientation in QUARTER_TURNS:
        x0, y0, x1, y1, width, height = y0, x0, y1, x1, height, width
    if orientation in UPSIDE_DOWN:
        y0, y1 = height - y1, height - y0
    if orientation in MIRRORED:
        x0, x1 = width - x1, width - x0
    return x0, y0, x1, y1
