"""Means over the cells of a grid, which need not fall on whole pixels, of what a filter makes of a picture.

Place in the flow: below the probes that divide a picture into cells. The law: every pixel counts in each cell by the
share of it that lies there, as OpenCV's INTER_AREA counts, which takes several times as long.

Source: an area mean is separable: weights of the rows, times the field, times weights of the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=8)  # pictures of one size come in rows, and every working view has one side in common
def area_weights(length_px: int, cells: int, covered_px: int) -> NDArray[np.float32]:
    """Returns by how much each pixel of a line counts in the mean of each cell, (cells, length_px), not to be changed.

    Args:
        length_px: pixels of the line.
        cells: that divide it, of one length.
        covered_px: length of all cells together; pixels beyond count nowhere.

    Example:
        >>> area_weights(4, 2, 3).round(3).tolist()
        [[0.667, 0.333, 0.0, 0.0], [0.0, 0.333, 0.667, 0.0]]
    """
    ends = np.linspace(0.0, covered_px, cells + 1)[:, None]
    pixel = np.arange(length_px)
    inside = np.minimum(ends[1:], pixel + 1) - np.maximum(ends[:-1], pixel)
    weights = np.asarray(np.maximum(inside, 0.0) * (cells / covered_px), dtype=np.float32)
    weights.flags.writeable = False
    return weights


def cell_moments(
    gray: NDArray[np.uint8],
    down: NDArray[np.float32],
    along: NDArray[np.float32],
    response: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the mean of a filter's response in each cell, and the mean of its square, (rows, columns) each.

    Args:
        gray: (H, W) uint8.
        down: (rows, H) from `area_weights`.
        along: (columns, W) from `area_weights`.
        response: of lines, as float32 of their shape; it may look one line up and one down.
    """
    means, squares = np.empty((2, len(down), gray.shape[1]), np.float32)
    # One row of cells at a time: what lies between the picture and the cells stays in the cache.
    for row, weights in enumerate(down):
        used = np.flatnonzero(weights)
        top, bottom = int(used[0]), int(used[-1]) + 1
        above = max(0, top - 1)  # a line more on both sides, or the filter would mirror the cells there
        values = response(gray[above : bottom + 1])[top - above : bottom - above]
        np.matmul(weights[top:bottom], values, out=means[row])
        np.matmul(weights[top:bottom], values * values, out=squares[row])
    return means @ along.T, squares @ along.T
