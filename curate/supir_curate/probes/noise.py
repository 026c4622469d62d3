"""Noise level: the standard deviation of white noise, read where the picture is flattest.

Source: Immerkaer 1996, "Fast noise variance estimation" (the 3×3 difference of two Laplacians, blind to planes
and to most edges). Ours: it is read on the flattest tenth of 16 px cells, so that texture is not counted.
Blind spots: fine texture that leaves no flat cell reads as noise; noise that JPEG or a denoiser smoothed in the
flat parts is missed; clipped (pure white or black) cells are left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELL_PX = 16
FLATTEST_SHARE = 0.10
MAX_PIXELS = 500_000  # rows of cells are left out evenly, so that no more is looked at
_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])  # down and along: together the difference of two Laplacians
_MEAN_ABS_TO_SIGMA = float(np.sqrt(np.pi / 2) / 6)  # the kernel's norm is 6; E|N(0,1)| is sqrt(2/pi)
_FLATTEST_TO_MEAN = 0.893  # by simulation: where the flattest tenth of cells of white noise lies


def noise_sigma(gray: NDArray[np.uint8]) -> float:
    """Returns the noise standard deviation in grey levels (0 to 255); higher is noisier.

    Args:
        gray: (H, W) uint8 luma.

    0 for a picture under 16 px a side or without any unclipped cell.
    """
    import cv2

    rows, columns = gray.shape[0] // CELL_PX, gray.shape[1] // CELL_PX
    if rows == 0 or columns == 0:
        return 0.0
    stride = -(-gray.size // MAX_PIXELS)
    size = (columns, 1)
    levels, means = [], []
    for top in range(0, rows * CELL_PX, stride * CELL_PX):
        band = gray[top : top + CELL_PX, : columns * CELL_PX]
        first = max(0, top - 1)  # with a row above and below, or the kernel would see mirrored noise there
        wider = gray[first : top + CELL_PX + 1, : columns * CELL_PX]
        difference = cv2.sepFilter2D(wider, cv2.CV_16S, _SECOND_DIFFERENCE, _SECOND_DIFFERENCE)
        response = np.abs(difference[top - first : top - first + CELL_PX]).astype(np.float32)
        levels.append(cv2.resize(response, size, interpolation=cv2.INTER_AREA))
        means.append(cv2.resize(band, size, interpolation=cv2.INTER_AREA))
    level, mean = np.vstack(levels), np.vstack(means)
    unclipped = level[(mean > 2) & (mean < 253)]
    if unclipped.size == 0:
        return 0.0
    return float(np.quantile(unclipped, FLATTEST_SHARE)) * _MEAN_ABS_TO_SIGMA / _FLATTEST_TO_MEAN
