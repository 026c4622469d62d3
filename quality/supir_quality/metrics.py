"""Metrics of restored pictures by name, each with its identity: what computed it, with which weights, on which pixels.

Place in the flow: `supir-eval` and the trainer's validation ask for metrics by name and get those that can be had
here, and the reason for each that cannot; nothing is downloaded and nothing is replaced by something similar.
The law it keeps: a number without its identity is not comparable. PSNR and SSIM differ by colour space,
NIQE by parameter file, LPIPS by backbone; all of it is reported, weight files with their SHA-256.
Limits: MANIQA and CLIPIQA are missing: pyiqa fetches MANIQA's backbone from a hub while it builds it, and
its CLIP dependency does not import beside current setuptools. NIQE needs sides of at least 192 px.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from supir_console import UserError
from supir_quality import natural_metrics, network_metrics, pixel_metrics
from supir_quality.metric import Identity, Metric, MetricMissing

__all__ = ["METRICS", "Identity", "Metric", "MetricMissing", "build_metrics"]

METRICS: dict[str, Callable[[Path | None], Metric]] = {
    "psnr": pixel_metrics.psnr,
    "psnr_y": pixel_metrics.psnr_y,
    "psnr_y_full": pixel_metrics.psnr_y_full,
    "ssim": pixel_metrics.ssim,
    "ssim_y": pixel_metrics.ssim_y,
    "ssim_y_full": pixel_metrics.ssim_y_full,
    "lpips": network_metrics.lpips,
    "lpips_vgg": network_metrics.lpips_vgg,
    "dists": network_metrics.dists,
    "niqe": natural_metrics.niqe,
    "brisque": natural_metrics.brisque,
    "musiq": network_metrics.musiq,
}


def build_metrics(
    names: Sequence[str], weights: Path | None, device: torch.device, crop_border_px: int
) -> tuple[list[Metric], dict[str, str]]:
    """Returns the metrics that can be had, and the reason for each that cannot.

    Args:
        names: keys of METRICS.
        weights: folder with weight files. NIQE and BRISQUE take what is installed where the folder has none; without a
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
