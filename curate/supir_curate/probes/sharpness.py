"""Sharpness: the variance of the Laplacian in the sharpest quarter of the picture.

Source: the focus measure of Pech-Pacheco 2000; published limits: 100 (folk), [150, 8000] (LucidFlux), both for a
whole picture at an unstated scale. Ours: at the stated working scale, less what white noise of the measured level
adds, and over the sharpest quarter of cells, so that a sharp subject before a blurred background counts as sharp.
Blind spots: strong single edges count like fine detail; sharpening raises it (see `probes.halo`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from supir_curate.probes.areas import area_weights, cell_moments

CELL_PX = 32
SHARPEST_SHARE = 0.25
LAPLACIAN_NOISE_GAIN = 20.0  # 4² + 4 · 1²


def laplacian_variance(gray: NDArray[np.uint8], noise_sigma: float) -> float:
    """Returns the noise-corrected variance of the Laplacian, in squared grey levels; higher is sharper.

    Args:
        gray: (H, W) uint8 luma at the working scale.
        noise_sigma: noise of `gray` in grey levels, from `probes.noise`.
    """
    rows, columns = (max(1, length // CELL_PX) for length in gray.shape)
    down = area_weights(gray.shape[0], rows, min(gray.shape[0], rows * CELL_PX))
    along = area_weights(gray.shape[1], columns, min(gray.shape[1], columns * CELL_PX))
    mean, square = cell_moments(gray, down, along, _laplacian)
    variance = np.sort((square - mean * mean).reshape(-1))
    sharpest = variance[-max(1, round(SHARPEST_SHARE * variance.size)) :]
    return max(0.0, float(sharpest.mean()) - LAPLACIAN_NOISE_GAIN * noise_sigma**2)


def _laplacian(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    return cv2.Laplacian(lines, cv2.CV_16S, ksize=1).astype(np.float32)
