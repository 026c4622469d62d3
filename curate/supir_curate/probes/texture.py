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

import numpy as np
from numpy.typing import NDArray

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
    import cv2

    rows, columns = max(1, round(gray.shape[0] / CELL_PX)), max(1, round(gray.shape[1] / CELL_PX))
    across = cv2.Sobel(gray, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    magnitude = cv2.magnitude(across, down)
    # Area resampling of a field is its mean over each cell, for cells that share border pixels too.
    mean = cv2.resize(magnitude, (columns, rows), interpolation=cv2.INTER_AREA)
    square = cv2.resize(magnitude * magnitude, (columns, rows), interpolation=cv2.INTER_AREA)
    variance = np.maximum(square - mean * mean - SOBEL_NOISE_GAIN * noise_sigma**2, 0.0)
    cells = np.clip(np.rint(LEVELS_PER_DOUBLING * np.log2(1.0 + variance)), 0, 255).astype(np.uint8)
    return Texture(
        cells=cells,
        flat_share=float((variance < FLAT_VARIANCE).mean()),
        entropy_bits=_mean_cell_entropy(gray),
        glcm_bits=_cooccurrence_entropy(gray),
    )


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
    stride = -(-gray.size // MAX_PIXELS)
    upper, lower = (
        rows.astype(np.int16) // (256 // GLCM_LEVELS) for rows in (gray[:-1:stride], gray[1::stride])
    )
    upper = upper[: len(lower)]
    pairs = (upper[:, :-1] * GLCM_LEVELS + upper[:, 1:], upper * GLCM_LEVELS + lower)
    counts = sum(np.bincount(pair.reshape(-1), minlength=GLCM_LEVELS**2) for pair in pairs)
    return _entropy(np.asarray(counts)[None])


def _entropy(counts: NDArray[np.int64]) -> float:
    """Returns the mean entropy in bits of histograms, one a row."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    terms = np.where(share > 0, share * np.log2(np.where(share > 0, share, 1.0)), 0.0)
    return float(-terms.sum(axis=1).mean()) + 0.0
