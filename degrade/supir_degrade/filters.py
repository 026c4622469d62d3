"""Blur, unsharp mask and resampling of float images.

Place in the flow: called by `pipeline` with numbers from the trace. Images are float32 (H, W, 3) RGB, 0 to 1;
filters may overshoot that range, the operations that need it clip.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from supir_degrade.trace import Interpolation

Image = NDArray[np.float32]
INTERPOLATIONS: dict[Interpolation, int] = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
NEGLIGIBLE_WEIGHT = 2.0**-22


def convolve(image: Image, kernel: NDArray[np.float32]) -> Image:
    """Returns the correlation of each channel with `kernel`, the border mirrored without repeating its edge.

    Empty rims are cut off and products of two lines are applied as two passes, ten times as fast at 21 px; the
    weights then differ by less than 2^-22 in sum, as much as any other order of the float32 additions.

    Args:
        image: float32 (H, W, 3).
        kernel: float32 (k, k), k odd.
    """
    kernel = without_empty_rims(kernel)
    lines = as_lines(kernel)
    if lines:
        column, row = lines
        return cv2.sepFilter2D(image, -1, row, column, borderType=cv2.BORDER_REFLECT_101)
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def resize(image: Image, height: int, width: int, interpolation: Interpolation) -> Image:
    """Returns the image at (height, width) px, sampled at pixel centres; only "area" averages first.

    Args:
        image: float32 (H, W, 3).
        height: new height, px.
        width: new width, px.
        interpolation: "area", "bilinear", "bicubic" (a = -0.75) or "lanczos" (4 lobes).
    """
    return cv2.resize(image, (width, height), interpolation=INTERPOLATIONS[interpolation])


def unsharp_mask(image: Image, *, weight: float, radius_px: int, threshold: float) -> Image:
    """Returns the image with `weight` times its high frequencies added where they exceed the threshold.

    Args:
        image: float32 (H, W, 3), 0 to 1.
        weight: share of (image - blurred) that is added.
        radius_px: half the side of the Gaussian, px; its sigma follows OpenCV's rule 0.3 (radius - 1) + 0.8.
        threshold: weakest difference that is sharpened, of 255; the mask is blurred so that it has no edge.

    Source: the USM of Real-ESRGAN (weight 0.5, radius 25 each way, threshold 10), computed separably.
    """
    side = 2 * radius_px + 1
    blurred = _gaussian(image, side)
    # Whole pictures in place from here on: new ones cost more than the arithmetic.
    mask = cv2.absdiff(image, blurred)
    mask *= np.float32(255)
    mask = _gaussian(cv2.threshold(mask, threshold, 1, cv2.THRESH_BINARY, dst=mask)[1], side)
    sharp = np.subtract(image, blurred, out=blurred)
    sharp *= np.float32(weight)
    sharp += image
    np.clip(sharp, 0, 1, out=sharp)
    sharp -= image
    sharp *= mask
    sharp += image
    return sharp


def as_lines(kernel: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Returns the column and the row, float64 (k,), whose product the kernel is; None where it is no product."""
    column, row = kernel.sum(axis=1, dtype=np.float64), kernel.sum(axis=0, dtype=np.float64)
    return (column, row) if np.abs(np.outer(column, row) - kernel).sum() < NEGLIGIBLE_WEIGHT else None


def without_empty_rims(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the kernel without the outer rings that together weigh next to nothing."""
    side = len(kernel)
    axis = np.abs(np.arange(side) - side // 2)
    rings = np.bincount(np.maximum.outer(axis, axis).ravel(), weights=np.abs(kernel).ravel())
    rim = np.count_nonzero(np.cumsum(rings[:0:-1]) < NEGLIGIBLE_WEIGHT / 4)
    return kernel[rim : side - rim, rim : side - rim]


def _gaussian(image: Image, side: int) -> Image:
    return cv2.GaussianBlur(image, (side, side), 0, borderType=cv2.BORDER_REFLECT_101)
