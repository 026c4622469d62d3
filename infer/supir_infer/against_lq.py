"""What a restoration owes the picture it was given: degraded again it gives that picture, in its colours.

Place in the flow: `own_measures` offers both to `supir-eval`; neither needs a clean picture, so they hold for real
photos.
Limits: the LQ's noise and blocks are in it and in no good restoration, so even the clean original stays below 20
log10(255 / noise) dB; compare restorations of one LQ, not sets. A picture that changed nothing is the most
consistent of all: consistency says that nothing was invented, not that something was restored.
"""

from __future__ import annotations

import numpy as np

from supir_infer.images import FloatImage, ImageError, resize

BLURS_PX = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)
"""Deviations of the Gaussians that are tried, px of the LQ."""
CAP_DB = 100.0
CELLS = 8  # a side, of the coarse picture whose colours are compared
SHAPE_TOLERANCE_PX = 8  # restorers round sides to multiples of up to 16 px


def consistency_db(restored: FloatImage, lq: FloatImage) -> float:
    """Returns the PSNR in dB, over RGB, between the LQ and the restoration degraded to it; higher is more consistent.

    The restoration is resized to the LQ's size (antialiased bicubic) and blurred by the Gaussian, of `BLURS_PX`, that
    brings it nearest: how blurred the LQ is nobody knows.

    Args:
        restored: (H, W, 3) in 0..1.
        lq: (h, w, 3) in 0..1, of the same proportions.

    Raises:
        ImageError: the proportions differ.
    """
    require_same_shape(restored, lq)
    small = resize(restored, (lq.shape[1], lq.shape[0]))
    error = min(_mean_square(_blurred(small, sigma), lq) for sigma in BLURS_PX)
    return CAP_DB if error <= 10 ** (-CAP_DB / 10) else float(-10 * np.log10(error))


def colour_shift_levels(restored: FloatImage, lq: FloatImage) -> float:
    """Returns how far the coarse colours moved from the LQ's: RMS over 8 x 8 cells and RGB, levels of 255; 0 is none.

    Args:
        restored: (H, W, 3) in 0..1.
        lq: (h, w, 3) in 0..1, of the same proportions.

    Raises:
        ImageError: the proportions differ.
    """
    require_same_shape(restored, lq)
    return float(255 * np.sqrt(_mean_square(_coarse(restored), _coarse(lq))))


def require_same_shape(restored: FloatImage, lq: FloatImage) -> None:
    """Raises ImageError unless the restoration has the proportions of the LQ, up to the rounding of its sides."""
    (height, width), (small_height, small_width) = restored.shape[:2], lq.shape[:2]
    if abs(width - height * small_width / small_height) > SHAPE_TOLERANCE_PX * max(1, width / height):
        raise ImageError(
            f"restored is {width}x{height} px, the LQ {small_width}x{small_height}: of other proportions; give the LQ "
            "that it was made from"
        )


def _blurred(image: FloatImage, sigma: float) -> FloatImage:
    import cv2

    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma)) if sigma else image


def _coarse(image: FloatImage) -> FloatImage:
    import cv2

    return np.asarray(cv2.resize(image, (CELLS, CELLS), interpolation=cv2.INTER_AREA))


def _mean_square(one: FloatImage, other: FloatImage) -> float:
    return float(np.mean((one.astype(np.float64) - other) ** 2))
