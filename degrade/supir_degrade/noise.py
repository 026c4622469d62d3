"""Gaussian and Poisson noise, in colour or gray, from a seed that stands in the trace.

Place in the flow: called by `pipeline`. Images are float32 (H, W, 3) RGB, 0 to 1; so is the result.
Source: Real-ESRGAN §3.2 and BasicSR's noise definitions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
LUMA = np.array([0.2989, 0.587, 0.114], dtype=np.float32)


def add_gaussian_noise(image: Image, *, sigma: float, gray: bool, seed: int) -> Image:
    """Returns the image plus normal noise of standard deviation sigma / 255.

    Args:
        image: float32 (H, W, 3), 0 to 1.
        sigma: standard deviation, of 255.
        gray: the three channels get the same noise.
        seed: of the noise.
    """
    shape = (*image.shape[:2], 1) if gray else image.shape
    noise = np.random.Generator(np.random.SFC64(seed)).standard_normal(shape, dtype=np.float32)
    noise *= np.float32(sigma / 255)
    return _clipped(image + noise)


def add_poisson_noise(image: Image, *, scale: float, gray: bool, seed: int) -> Image:
    """Returns the image plus `scale` times photon noise.

    A pixel of level v counts Poisson(v · n) photons, where n is the number of levels in the picture (rounded
    to 8 bits), raised to a power of two.

    Args:
        image: float32 (H, W, 3), 0 to 1.
        scale: factor on the noise.
        gray: counts come from the luma, and the three channels get the same noise.
        seed: of the noise.
    """
    source = (image @ LUMA)[..., None] if gray else image
    levels = np.clip(np.rint(source * 255), 0, 255).astype(np.uint8)
    num_levels = np.count_nonzero(np.bincount(levels.ravel(), minlength=256))
    photons = 1 << (int(num_levels) - 1).bit_length()
    mean = np.arange(256) * (photons / 255)
    counts = np.random.Generator(np.random.SFC64(seed)).poisson(mean[levels])
    # In place: whole new pictures cost more than the arithmetic.
    noise = counts.astype(np.float32)
    noise /= np.float32(photons)
    noise -= np.divide(levels, np.float32(255), dtype=np.float32)
    noise *= np.float32(scale)
    return _clipped(image + noise)


def _clipped(image: Image) -> Image:
    return np.clip(image, 0, 1, out=image)
