"""A picture turned the way its EXIF orientation says.

Place in the flow: `pack`, before a picture is stored: the dataset holds no picture that only stands upright for
readers that know EXIF. Source: EXIF 2.32, tag 0x0112.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUARTER_TURNS = (5, 6, 7, 8)  # orientations whose upright picture swaps width and height


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
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
