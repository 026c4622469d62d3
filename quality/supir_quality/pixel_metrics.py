"""PSNR and SSIM, of RGB and of two kinds of Y, each of which says which it is.

Place in the flow: `metrics` lists them. The trap: papers on super-resolution measure the Y of MATLAB's `rgb2ycbcr`,
which is BT.601 squeezed into 16..235; pyiqa's `psnry` measures the Y of YIQ, the same weights over 0..255. The same
pair has 20 log10(255 / 219) = 1.32 dB less there.
Source: scikit-image; Wang et al. 2004 for the window of SSIM.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from supir_console import installed_version
from supir_quality.metric import RGB, Identity, Metric

STUDIO_Y = "Y of YCbCr (BT.601, 16..235)"
FULL_Y = "Y of YIQ (BT.601's weights, 0..255; pyiqa's default)"
PSNR_CAP_DB = 100.0  # of two equal pictures, which `supir-eval` averages with no others; JSON has no infinity
SSIM_WINDOW_PX = 11

FloatArray = npt.NDArray[np.float64]


def psnr(_: Path | None) -> Metric:
    """Returns PSNR over the three channels, dB."""
    return _psnr("psnr", RGB)


def psnr_y(_: Path | None) -> Metric:
    """Returns PSNR of the Y of the super-resolution papers, dB."""
    return _psnr("psnr_y", STUDIO_Y)


def psnr_y_full(_: Path | None) -> Metric:
    """Returns PSNR of the Y of pyiqa's default, dB."""
    return _psnr("psnr_y_full", FULL_Y)


def ssim(_: Path | None) -> Metric:
    """Returns SSIM, the mean over the three channels."""
    return _ssim("ssim", RGB)


def ssim_y(_: Path | None) -> Metric:
    """Returns SSIM of the Y of the super-resolution papers."""
    return _ssim("ssim_y", STUDIO_Y)


def ssim_y_full(_: Path | None) -> Metric:
    """Returns SSIM of the Y of pyiqa's default."""
    return _ssim("ssim_y_full", FULL_Y)


def pixels(image: torch.Tensor, colour_space: str) -> FloatArray:
    """Returns the levels that are measured, (H, W, 3) or (H, W, 1) float64, white 255 (235 for `STUDIO_Y`).

    Args:
        image: (1, 3, H, W), RGB in 0..1.
        colour_space: RGB, STUDIO_Y or FULL_Y.
    """
    from skimage.color import rgb2ycbcr, rgb2yiq

    rgb = image[0].permute(1, 2, 0).double().cpu().numpy()
    if colour_space == STUDIO_Y:
        return np.asarray(rgb2ycbcr(rgb)[..., :1])
    return np.asarray((rgb2yiq(rgb)[..., :1] if colour_space == FULL_Y else rgb) * 255)


def _psnr(name: str, colour_space: str) -> Metric:
    return _pixel_metric(name, "peak_signal_noise_ratio, at most 100 dB", colour_space, _psnr_db, 1)


def _ssim(name: str, colour_space: str) -> Metric:
    function = "structural_similarity, 11x11 Gaussian of 1.5 px"
    return _pixel_metric(name, function, colour_space, _ssim_index, SSIM_WINDOW_PX)


def _psnr_db(restored: FloatArray, reference: FloatArray) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        return min(PSNR_CAP_DB, float(peak_signal_noise_ratio(reference, restored, data_range=255)))


def _ssim_index(restored: FloatArray, reference: FloatArray) -> float:
    from skimage.metrics import structural_similarity

    wang_2004: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(reference, restored, data_range=255, channel_axis=2, **wang_2004))


def _pixel_metric(
    name: str,
    function: str,
    colour_space: str,
    measure: Callable[[FloatArray, FloatArray], float],
    min_side_px: int,
) -> Metric:
    def compute(restored: torch.Tensor, reference: torch.Tensor | None) -> float:
        assert reference is not None, f"{name} needs a reference"
        return measure(pixels(restored, colour_space), pixels(reference, colour_space))

    identity = Identity(
        metric=name,
        implementation=f"scikit-image {installed_version('scikit-image')} {function}",
        weights=(),
        colour_space=colour_space,
        better="higher",
        needs_reference=True,
    )
    return Metric(identity, compute, min_side_px)
