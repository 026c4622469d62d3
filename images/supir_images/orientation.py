"""A picture turned the way its EXIF orientation says, and back.

Place in the flow: `decode` turns every picture; curation turns coefficients, texture maps and boxes by the same
tables. Source: EXIF 2.32, tag 0x0112.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
Scalar = TypeVar("Scalar", bound=np.generic)

QUARTER_TURNS = (5, 6, 7, 8)  # orientations whose upright picture swaps width and height
UPSIDE_DOWN = (3, 4, 7, 8)  # orientations whose rows are then in reverse
MIRRORED = (2, 3, 6, 7)  # orientations whose columns are then in reverse


_ROTATIONS = {3: "ROTATE_180", 6: "ROTATE_90_CLOCKWISE", 8: "ROTATE_90_COUNTERCLOCKWISE"}
_LARGE = 2**16


def upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    """Returns the width and height in px of the upright picture."""
    return (height, width) if orientation in QUARTER_TURNS else (width, height)


def upright(stored: NDArray[Scalar], orientation: int) -> NDArray[Scalar]:
    """Returns the upright picture, contiguous.

    Args:
        stored: (H, W) or (H, W, C) as stored.
        orientation: EXIF orientation, 1 to 8.

    Example:
        >>> upright(np.array([[1, 2], [3, 4]], np.uint8), 6).tolist()  # stored lying on its left side
        [[3, 1], [4, 2]]
    """
    if orientation in _ROTATIONS and stored.dtype == np.uint8 and stored.size > _LARGE:
        import cv2

        rotated: Any = cv2.rotate(
            stored, getattr(cv2, _ROTATIONS[orientation])
        )  # in a quarter of numpy's time
        return np.asarray(rotated)
    return np.ascontiguousarray(turned(stored, orientation))


def turned(stored: NDArray[Scalar], orientation: int) -> NDArray[Scalar]:
    """Returns a view of the same picture upright, to take parts of; `upright` has its pixels in order."""
    view = np.swapaxes(stored, 0, 1) if orientation in QUARTER_TURNS else stored
    if orientation in UPSIDE_DOWN:
        view = view[::-1]
    if orientation in MIRRORED:
        view = view[:, ::-1]
    return view


def stored_again(picture: NDArray[Scalar], orientation: int) -> NDArray[Scalar]:
    """Returns an upright picture as it is stored: the inverse of `upright`.

    Example:
        >>> stored_again(upright(np.array([[1, 2], [3, 4]], np.uint8), 6), 6).tolist()
        [[1, 2], [3, 4]]
    """
    inverse = {6: 8, 8: 6}.get(orientation, orientation)  # the others undo themselves
    return upright(picture, inverse)


def grid_phase(width: int, height: int, orientation: int, step_px: int) -> tuple[int, int]:
    """Returns the row and column of the upright picture where the stored picture's grid begins, each below `step_px`.

    Args:
        width: of the picture as stored, in px.
        height: likewise.
        orientation: EXIF orientation, 1 to 8.
        step_px: of the grid, such as the 8 px of JPEG blocks, whose origin is the stored upper left corner.

    Example:
        >>> grid_phase(100, 64, 6, 8), grid_phase(100, 64, 3, 8)
        ((0, 0), (0, 4))
    """
    width, height = upright_size(width, height, orientation)
    row = height % step_px if orientation in UPSIDE_DOWN else 0
    column = width % step_px if orientation in MIRRORED else 0
    return row, column


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
