"""The tiles at native scale that the costly probes look at: the sixteen busiest, however large the picture is.

Place in the flow: `measure` chooses them once; resolution, resampling and compression history read them. The law:
every tile begins at a multiple of 8 px, so that what has a period of 8 or a divisor of it has one phase in all of
them; the choice depends on the pixels alone.

Blind spots: what is done to the calm part of a picture alone is not seen. Cost: activity reads an eighth of the
rows and columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILE_PX = 256
MIN_TILE_PX = 64
NUM_TILES = 16
ALIGNMENT_PX = 8
SAMPLED = 8  # activity is read on every so manieth line


def busiest_tiles(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the busiest tiles, (N, T, T), N at most 16, T 256 px or the largest power of two that fits.

    Args:
        gray: (H, W) uint8 luma at native scale.

    N is 0 for a side under 64 px. Tiles at the right and lower edge overlap their neighbours.
    """
    short_side = min(gray.shape)
    if short_side < MIN_TILE_PX:
        return np.empty((0, MIN_TILE_PX, MIN_TILE_PX), np.uint8)
    side = min(TILE_PX, 1 << (short_side.bit_length() - 1))
    tops, lefts = _starts(gray.shape[0], side), _starts(gray.shape[1], side)
    activity = _activity(gray, tops, lefts, side).reshape(-1)
    chosen = np.argsort(-activity, kind="stable")[:NUM_TILES]
    rows, columns = np.unravel_index(chosen, (len(tops), len(lefts)))
    return np.stack(
        [
            gray[top : top + side, left : left + side]
            for top, left in zip(tops[rows], lefts[columns], strict=True)
        ]
    )


def _starts(length: int, side: int) -> NDArray[np.intp]:
    starts = np.linspace(0, length - side, -(-length // side)).astype(np.intp)
    return starts // ALIGNMENT_PX * ALIGNMENT_PX


def _activity(
    gray: NDArray[np.uint8], tops: NDArray[np.intp], lefts: NDArray[np.intp], side: int
) -> NDArray[np.float64]:
    """Returns the mean step between neighbours of each tile, (rows, columns)."""
    import cv2

    across = gray[::SAMPLED]
    # Rows are lines in memory and columns are not: pairs of neighbouring rows stand for the other direction.
    pairs = (gray.shape[0] - 1) // SAMPLED
    upper, lower = gray[: pairs * SAMPLED : SAMPLED], gray[1 : pairs * SAMPLED + 1 : SAMPLED]
    along = cv2.absdiff(across[: len(upper), 1:], across[: len(upper), :-1])
    down = cv2.absdiff(lower[:, :-1], upper[:, :-1])
    top = np.minimum(tops // SAMPLED, len(upper))
    bottom = np.minimum((tops + side) // SAMPLED, len(upper))
    right = np.minimum(lefts + side, gray.shape[1] - 1)
    # Sums over a row of tiles, column by column, then from the left edge to each column.
    sums = np.zeros((len(tops), gray.shape[1]), np.int64)
    for row, (first, last) in enumerate(zip(top, bottom, strict=True)):
        for steps in (along[first:last], down[first:last]):
            if len(steps):
                sums[row, 1:] += cv2.reduce(steps, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    total = np.cumsum(sums, axis=1)
    area = np.maximum((bottom - top)[:, None] * (right - lefts)[None], 1)
    return np.asarray((total[:, right] - total[:, lefts]) / area)
