"""Colour repair: the sample keeps its detail and takes its colours from the pre-cleaned LQ image.

Place in the flow: last step of `restore` at working size. All tensors are (B, 3, H, W) float in about [-1,
1]; nothing is clipped here. Plain functions of (content, style); style is the stage-one image.
Source: AdaIN (Huang and Belongie, 2017) per channel; wavelet: 5-level a-trous decomposition with the 3x3
binomial kernel, as documented for SUPIR's default colour fix. Checked against recorded outputs in
tests/infer.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from supir_infer.settings import ColourFix

WAVELET_LEVELS = 5
VARIANCE_FLOOR = 1e-5


def fix_colour(content: torch.Tensor, style: torch.Tensor, method: ColourFix) -> torch.Tensor:
    """Returns `content` with the colours of `style`, (B, 3, H, W).

    Args:
        content: the decoded sample, (B, 3, H, W).
        style: where the colours come from, same shape.
        method: wavelet (low frequencies from style), adain (mean and deviation from style), mean (mean from style) or
            none.
    """
    if method == "wavelet":
        return wavelet(content, style)
    if method == "adain":
        return adain(content, style)
    if method == "mean":
        return content + (style - content).mean(dim=(2, 3), keepdim=True)
    return content


def adain(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Returns `content` with each channel's mean and standard deviation of `style`, (B, 3, H, W)."""
    content_mean, content_deviation = _moments(content)
    style_mean, style_deviation = _moments(style)
    return (content - content_mean) / content_deviation * style_deviation + style_mean


def wavelet(content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Returns the high frequencies of `content` plus the low frequencies of `style`, (B, 3, H, W).

    Limits: details of `style` wider than about 2**5 = 32 px replace those of `content`.
    """
    return content - _low_frequencies(content) + _low_frequencies(style)


def _moments(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    variance = image.var(dim=(2, 3), keepdim=True) + VARIANCE_FLOOR
    return image.mean(dim=(2, 3), keepdim=True), variance.sqrt()


def _low_frequencies(image: torch.Tensor) -> torch.Tensor:
    for level in range(WAVELET_LEVELS):
        image = _blur(image, dilation=2**level)
    return image


def _blur(image: torch.Tensor, dilation: int) -> torch.Tensor:
    channels = image.shape[1]
    line = torch.tensor([0.25, 0.5, 0.25], dtype=image.dtype, device=image.device)
    kernel = torch.outer(line, line).expand(channels, 1, 3, 3)
    padded = functional.pad(image, [dilation] * 4, mode="replicate")
    return functional.conv2d(padded, kernel, dilation=dilation, groups=channels)
