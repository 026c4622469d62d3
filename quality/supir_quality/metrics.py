"""Metrics of restored pictures, each with its identity: what computed it, with which weights, on which pixels.

Place in the flow: `supir-eval` and the trainer's validation ask for metrics by name and get those that can be had
here, and the reason for each that cannot; nothing is downloaded and nothing is replaced by something similar.
The law it keeps: a number without its identity is not comparable. PSNR and SSIM differ by colour space,
NIQE by parameter file, MUSIQ by weights; all of it is reported, weight files with their SHA-256.
Source: scikit-image (psnr, ssim), lpips with `lpips_weights`, our own NIQE; pyiqa (musiq), which no default asks for.
Limits: MANIQA and CLIPIQA are missing: pyiqa fetches MANIQA's backbone from a hub while it builds it, and
its CLIP dependency does not import beside current setuptools. NIQE needs sides of at least 192 px.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from supir_console import UserError, installed_version
from supir_quality import MeasureMissing, niqe
from supir_quality.lpips_weights import load_lpips
from supir_quality.pyiqa_package import import_pyiqa

BT601_Y = "Y of YCbCr (BT.601, 16..235)"
PSNR_CAP_DB = 100.0  # of two equal pictures, which `evaluate` averages with no others; JSON has no infinity
SSIM_WINDOW_PX = 11
LPIPS_MIN_PX = 32  # AlexNet's poolings leave nothing of less
NIQE_MIN_PX = 2 * niqe.BLOCK_PX  # two of its blocks a side
MUSIQ_MIN_PX = 192

FloatArray = npt.NDArray[np.float64]
Compute = Callable[[torch.Tensor, torch.Tensor | None], float]


class MetricMissing(ValueError):  # noqa: N818 - a state of this installation, handled, never a defect
    """A metric cannot be had here; the message says what is missing and where to put it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a figure means: two figures compare only if these are equal."""

    metric: str
    implementation: str
    weights: tuple[tuple[str, str], ...]
    colour_space: str
    better: Literal["higher", "lower"]
    needs_reference: bool


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric ready to run: (restored, reference) of (1, 3, H, W) in 0..1 to a number."""

    identity: Identity
    compute: Compute
    min_side_px: int = 1


def build_metrics(
    names: Sequence[str], weights: Path | None, device: torch.device, crop_border_px: int
) -> tuple[list[Metric], dict[str, str]]:
    """Returns the metrics that can be had, and the reason for each that cannot.

    Args:
        names: keys of METRICS.
        weights: folder with weight files. NIQE takes its installed parameters where the folder has none; without a
            folder MUSIQ's are looked for where pyiqa keeps them in torch's hub cache.
        device: where they run.
        crop_border_px: px taken off each side of both pictures before measuring.

    Raises:
        UserError: a name is unknown.
        MeasureMissing: a metric of pyiqa is asked for and pyiqa is not installed.
    """
    metrics, missing = [], {}
    for name in names:
        if name not in METRICS:
            raise UserError(f"metric {name!r} is unknown; use {', '.join(METRICS)}")
        try:
            metrics.append(_cropped(METRICS[name](weights), device, crop_border_px))
        except MetricMissing as reason:
            missing[name] = str(reason)
    return metrics, missing


def _cropped(metric: Metric, device: torch.device, border: int) -> Metric:
    def crop(image: torch.Tensor) -> torch.Tensor:
        return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border].to(device)

    def compute(restored: torch.Tensor, reference: torch.Tensor | None) -> float:
        with torch.no_grad():
            return metric.compute(crop(restored), None if reference is None else crop(reference))

    return Metric(metric.identity, compute, metric.min_side_px + 2 * border)


def _psnr(_: Path | None) -> Metric:
    return _pixel_metric("psnr", "peak_signal_noise_ratio, at most 100 dB", "RGB", _psnr_db, 1)


def _psnr_y(_: Path | None) -> Metric:
    return _pixel_metric("psnr_y", "peak_signal_noise_ratio, at most 100 dB", BT601_Y, _psnr_db, 1)


def _ssim(_: Path | None) -> Metric:
    return _pixel_metric(
        "ssim", "structural_similarity, 11x11 Gaussian of 1.5 px", "RGB", _ssim_index, SSIM_WINDOW_PX
    )


def _ssim_y(_: Path | None) -> Metric:
    return _pixel_metric(
        "ssim_y", "structural_similarity, 11x11 Gaussian of 1.5 px", BT601_Y, _ssim_index, SSIM_WINDOW_PX
    )


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
    def pixels(image: torch.Tensor) -> FloatArray:
        from skimage.color import rgb2ycbcr

        rgb = image[0].permute(1, 2, 0).double().cpu().numpy()
        return rgb * 255 if colour_space == "RGB" else rgb2ycbcr(rgb)[..., :1]

    def compute(restored: torch.Tensor, reference: torch.Tensor | None) -> float:
        assert reference is not None, f"{name} needs a reference"
        return measure(pixels(restored), pixels(reference))

    identity = Identity(
        metric=name,
        implementation=f"scikit-image {installed_version('scikit-image')} {function}",
        weights=(),
        colour_space=colour_space,
        better="higher",
        needs_reference=True,
    )
    return Metric(identity, compute, min_side_px)


def _lpips(_: Path | None) -> Metric:
    try:
        module, files = load_lpips()
    except FileNotFoundError as error:
        raise MetricMissing(str(error)) from error
    identity = Identity(
        metric="lpips",
        implementation=f"lpips {installed_version('lpips')}, AlexNet, v0.1",
        weights=tuple((path.name, file_sha256(path)) for path in files),
        colour_space="RGB",
        better="lower",
        needs_reference=True,
    )

    def compute(restored: torch.Tensor, reference: torch.Tensor | None) -> float:
        assert reference is not None, "lpips needs a reference"
        return float(module.to(restored.device)(restored * 2 - 1, reference * 2 - 1))

    return Metric(identity, compute, LPIPS_MIN_PX)


def _niqe(weights: Path | None) -> Metric:
    given = weights / niqe.FILE if weights else None
    try:
        parameters = niqe.NiqeParameters.load(given if given and given.is_file() else None)
    except MeasureMissing as error:
        raise MetricMissing(str(error)) from error
    identity = Identity(
        metric="niqe",
        implementation=f"supir-stack {installed_version('supir-stack')}",
        weights=((parameters.path.name, file_sha256(parameters.path)),),
        colour_space=niqe.COLOUR_SPACE,
        better="lower",
        needs_reference=False,
    )

    def compute(restored: torch.Tensor, _: torch.Tensor | None) -> float:
        rgb = (restored[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy()
        return niqe.niqe(niqe.luma(rgb), parameters)

    return Metric(identity, compute, NIQE_MIN_PX)


def _musiq(weights: Path | None) -> Metric:
    import_pyiqa("metric musiq")
    from pyiqa.archs.musiq_arch import MUSIQ

    path = _find(weights or Path(torch.hub.get_dir()) / "pyiqa", "musiq_koniq_ckpt-e95806b9.pth")
    module = MUSIQ(pretrained=False)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    module.eval()
    identity = Identity(
        metric="musiq",
        implementation=f"pyiqa {installed_version('pyiqa')}",
        weights=((path.name, file_sha256(path)),),
        colour_space="RGB",
        better="higher",
        needs_reference=False,
    )
    return Metric(identity, lambda restored, _: float(module.to(restored.device)(restored)), MUSIQ_MIN_PX)


METRICS: dict[str, Callable[[Path | None], Metric]] = {
    "psnr": _psnr,
    "psnr_y": _psnr_y,
    "ssim": _ssim,
    "ssim_y": _ssim_y,
    "lpips": _lpips,
    "niqe": _niqe,
    "musiq": _musiq,
}


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _find(folder: Path, name: str) -> Path:
    if (folder / name).is_file():
        return folder / name
    raise MetricMissing(f"no {name} in {folder}; put it there, or name its folder with --weights")
