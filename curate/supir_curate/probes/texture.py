"""Texture: how much fine structure each cell of a picture holds, as a map and as three numbers.

The map lets a trainer crop where texture is, so that a portrait before a blurred background stays useful. It is
the variance of the Sobel magnitude a cell, the statistic behind the published flat-region rules (240 px patches,
limit 800 or 100), less what white noise of the measured level adds, on a logarithmic scale of a byte.

Source: flat-region rule as in LucidFlux (arXiv 2509.22414) and 4KLSDB (arXiv 2605.24762); co-occurrence from
Haralick 1973; as a rating of fine detail it follows human votes best in Diffusion-4K (arXiv 2503.18352).
Blind spots: strong single edges (text, graphics) count as texture; JPEG blocks raise it in flat parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.probes.areas import area_weights, cell_moments

CELL_PX = 32
FLAT_VARIANCE = 100.0  # of the Sobel magnitude of 0..255 luma
LEVELS_PER_DOUBLING = 16.0  # byte = 16 · log2(1 + variance), full at 2^15.9
SOBEL_NOISE_GAIN = (2 - np.pi / 2) * 12  # variance of the magnitude per variance of white noise
GLCM_LEVELS = 32
MAX_PIXELS = 250_000  # rows of cells are left out evenly, so that the entropies look at no more


@dataclass(frozen=True, slots=True)
class Texture:
    """Texture of one picture.

    Args:
        cells: (rows, columns) uint8, 16 · log2(1 + noise-corrected variance of the Sobel magnitude).
        flat_share: share of cells with a variance under 100, 0 to 1; lower is richer.
        entropy_bits: mean Shannon entropy of the luma histogram of a cell, 0 to 8; higher is richer.
        glcm_bits: entropy of the co-occurrence of neighbouring pixels in 32 levels, 0 to 10; higher is richer.
    """

    cells: NDArray[np.uint8]
    flat_share: float
    entropy_bits: float
    glcm_bits: float


def measure_texture(gray: NDArray[np.uint8], noise_sigma: float) -> Texture:
    """Returns the texture map and its summaries.

    Args:
        gray: (H, W) uint8 luma at the working scale; cells at the right and lower edge may be up to half larger.
        noise_sigma: noise of `gray` in grey levels, from `probes.noise`.
    """
    height, width = gray.shape
    down = area_weights(height, max(1, round(height / CELL_PX)), height)
    along = area_weights(width, max(1, round(width / CELL_PX)), width)
    mean, square = cell_moments(gray, down, along, _sobel_magnitude)
    variance = np.maximum(square - mean * mean - SOBEL_NOISE_GAIN * noise_sigma**2, 0.0)
    cells = np.clip(np.rint(LEVELS_PER_DOUBLING * np.log2(1.0 + variance)), 0, 255).astype(np.uint8)
    return Texture(
        cells=cells,
        flat_share=float((variance < FLAT_VARIANCE).mean()),
        entropy_bits=_mean_cell_entropy(gray),
        glcm_bits=_cooccurrence_entropy(gray),
    )


def _sobel_magnitude(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    across, down = cv2.spatialGradient(lines)
    return np.asarray(cv2.magnitude(across.astype(np.float32), down.astype(np.float32)), np.float32)


def _mean_cell_entropy(gray: NDArray[np.uint8]) -> float:
    rows, columns = gray.shape[0] // CELL_PX, gray.shape[1] // CELL_PX
    if rows == 0 or columns == 0:
        return _entropy(np.bincount(gray.reshape(-1), minlength=256)[None])
    used = gray[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX)
    used = used[:: -(-gray.size // MAX_PIXELS)]
    num_cells = len(used) * columns
    number = np.arange(num_cells, dtype=np.int32).reshape(len(used), 1, columns, 1)
    counts = np.bincount((used + 256 * number).reshape(-1), minlength=256 * num_cells)
    return _entropy(counts.reshape(-1, 256))


def _cooccurrence_entropy(gray: NDArray[np.uint8]) -> float:
    import cv2

    stride = -(-gray.size // MAX_PIXELS)
    upper, lower = gray[:-1:stride], gray[1::stride]
    upper = upper[: len(lower)]
    bins, full = [GLCM_LEVELS, GLCM_LEVELS], [0, 256, 0, 256]
    counts = np.zeros((GLCM_LEVELS, GLCM_LEVELS))
    for one, other in ((upper[:, :-1], upper[:, 1:]), (upper, lower)):
        if one.size:
            counts += cv2.calcHist([one, other], [0, 1], None, bins, full)
    return _entropy(counts.reshape(1, -1))


def _entropy(counts: NDArray[Any]) -> float:
    """Returns the mean entropy in bits of histograms, one a row."""
    total = np.maximum(counts.sum(axis=1), 1)
    terms = (counts * np.log2(np.maximum(counts, 1))).sum(axis=1) / total
    return max(0.0, float((np.log2(total) - terms).mean()))
