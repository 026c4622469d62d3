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
_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
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
    used = gray[: rows * CELL_PX, : columns * CELL_PX]
    response = np.abs(cv2.filter2D(used, cv2.CV_32F, _KERNEL))
    size = (columns, rows)
    level = cv2.resize(response, size, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(used, size, interpolation=cv2.INTER_AREA)
    unclipped = level[(mean > 2) & (mean < 253)]
    if unclipped.size == 0:
        return 0.0
    return float(np.quantile(unclipped, FLATTEST_SHARE)) * _MEAN_ABS_TO_SIGMA / _FLATTEST_TO_MEAN
