"""Compression history: the JPEG quality that the file declares and the blocks that its pixels show.

Quality: the file's luma quantisation table against the reference table of ITU-T T.81 annex K.1, scaled as libjpeg
scales it; the quality whose table is nearest is the answer. Blockiness: differences across one column or row in
eight, against the others, at the worst of the eight phases, so that a crop or a file saved again as PNG shows it.

Source: ITU-T T.81 K.1; libjpeg `jpeg_quality_scaling`; boundary differences as in Wang, Bovik and Evan 2000.
Blind spots: an earlier, stronger compression than the last one shows in blockiness alone; a resized JPEG loses its
eight-pixel grid; WebP and AVIF declare no comparable quality (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK_PX = 8
MAX_PIXELS = 1_000_000  # lines are left out evenly, so that no more is looked at
STRIP_PX = 32
DIFFERENCE_CAP = 24  # grey levels: an edge of the scene must not outweigh the grid

# ITU-T T.81 table K.1, row by row.
LUMA_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
).reshape(-1)


def jpeg_quality(luma_table: Sequence[int]) -> float:
    """Returns the libjpeg quality, 1 to 100, whose luma table is nearest; higher is better. NaN without a table.

    Args:
        luma_table: 64 steps row by row, 1 to 255 (baseline); empty when the file is no JPEG.
    """
    if len(luma_table) != BLOCK_PX**2:
        return float("nan")
    table = np.asarray(luma_table, dtype=np.float64)
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    candidates = np.clip((LUMA_TABLE[None] * scale[:, None] + 50) // 100, 1, 255)
    # In logarithms: a step of 2 instead of 1 is as far off as 200 instead of 100.
    distance = np.abs(np.log(candidates) - np.log(table)).sum(axis=1)
    return float(quality[int(np.argmin(distance))])


def blockiness(gray: NDArray[np.uint8]) -> float:
    """Returns by how much differences across the block grid exceed the others: 0 none, 1 twice as large.

    Args:
        gray: (H, W) uint8 luma at native scale.

    0 for a picture under 32 px a side or without any differences. The mean of both axes.
    """
    if min(gray.shape) < 4 * BLOCK_PX:
        return 0.0
    return (_grid_excess(_steps_along_rows(gray)) + _grid_excess(_steps_along_columns(gray))) / 2


def _steps_along_rows(gray: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the sum of the steps between each column and the next."""
    rows = gray[:: -(-gray.size // MAX_PIXELS)]
    return _summed_steps(rows[:, 1:], rows[:, :-1], axis=0)


def _steps_along_columns(gray: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Returns the sum of the steps between each row and the next, in strips: single columns lie far apart in memory."""
    num_strips = max(1, min(MAX_PIXELS, gray.size) // (gray.shape[0] * STRIP_PX))
    lefts = np.linspace(0, gray.shape[1] - STRIP_PX, num_strips).astype(int)
    strips = [gray[:, left : left + STRIP_PX] for left in lefts]
    return np.sum([_summed_steps(strip[1:], strip[:-1], axis=1) for strip in strips], axis=0)


def _summed_steps(after: NDArray[np.uint8], before: NDArray[np.uint8], axis: int) -> NDArray[np.float64]:
    import cv2

    step = cv2.min(cv2.absdiff(after, before), float(DIFFERENCE_CAP))
    return cv2.reduce(step, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).reshape(-1).astype(np.float64)


def _grid_excess(steps: NDArray[np.float64]) -> float:
    """Returns the excess of one line in eight; `steps` are sums across each line."""
    used = steps[: len(steps) // BLOCK_PX * BLOCK_PX].reshape(-1, BLOCK_PX).mean(axis=0)
    worst = int(np.argmax(used))
    # Neighbours of the line alone: a slow change of content over the picture cancels.
    beside = (used[worst - 1] + used[(worst + 1) % BLOCK_PX]) / 2
    others = float(np.median(np.delete(used, worst)))
    reference = max(float(beside), others)
    return max(0.0, float(used[worst]) / reference - 1.0) if reference > 0 else 0.0
