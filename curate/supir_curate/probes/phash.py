"""Perceptual hash: 64 bits that stay nearly the same when a picture is resized, recompressed or slightly edited.

Source: the DCT hash described by Zauner 2010, "Implementation and benchmarking of perceptual image hash functions";
here over the 64 lowest frequencies in zigzag order without the mean, against their median.
Blind spots: mirrored, cropped or strongly recoloured copies hash differently; pictures with little structure (a sky, a
blank page) may collide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 32
NUM_BITS = 64


def perceptual_hash(gray: NDArray[np.uint8]) -> int:
    """Returns the hash, 0 to 2^64 − 1; two pictures are near when few bits differ.

    Args:
        gray: (H, W) uint8 luma at any scale.
    """
    import cv2

    # First by a whole factor, which is many times faster; what is cut is under 1/256 of the side.
    factor = max(1, min(gray.shape) // (8 * SIDE))
    height, width = (length // factor for length in gray.shape)
    whole = gray[: height * factor, : width * factor]
    coarse = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    spectrum = cv2.dct(small)
    rows, columns = _zigzag()
    lowest = spectrum[rows, columns]
    bits = lowest > np.median(lowest)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _zigzag() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    row, column = np.indices((SIDE, SIDE)).reshape(2, -1)
    order = np.lexsort((row, row + column))[1 : NUM_BITS + 1]
    return row[order], column[order]
