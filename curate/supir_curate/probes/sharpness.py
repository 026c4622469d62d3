"""Sharpness: the variance of the Laplacian in the sharpest quarter of the picture.

Source: the focus measure of Pech-Pacheco 2000; published limits: 100 (folk), [150, 8000] (LucidFlux), both for a
whole picture at an unstated scale. Ours: at the stated working scale, less what white noise of the measured level
adds, and over the sharpest quarter of cells, so that a sharp subject before a blurred background counts as sharp.
Blind spots: strong single edges count like fine detail; sharpening raises it (see `probes.halo`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELL_PX = 32
SHARPEST_SHARE = 0.25
LAPLACIAN_NOISE_GAIN = 20.0  # 4² + 4 · 1²


def laplacian_variance(gray: NDArray[np.uint8], noise_sigma: float) -> float:
    """Returns the noise-corrected variance of the Laplacian, in squared grey levels; higher is sharper.

    Args:
        gray: (H, W) uint8 luma at the working scale.
        noise_sigma: noise of `gray` in grey levels, from `probes.noise`.
    """
    import cv2

    size = (max(1, gray.shape[1] // CELL_PX), max(1, gray.shape[0] // CELL_PX))
    # Whole cells alone: area resampling by a whole factor is several times faster.
    response = cv2.Laplacian(gray, cv2.CV_32F, ksize=1)[: size[1] * CELL_PX, : size[0] * CELL_PX]
    mean = cv2.resize(response, size, interpolation=cv2.INTER_AREA)
    square = cv2.resize(response * response, size, interpolation=cv2.INTER_AREA)
    variance = np.sort((square - mean * mean).reshape(-1))
    sharpest = variance[-max(1, round(SHARPEST_SHARE * variance.size)) :]
    return max(0.0, float(sharpest.mean()) - LAPLACIAN_NOISE_GAIN * noise_sigma**2)
