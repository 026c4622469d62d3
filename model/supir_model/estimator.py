"""The degradation estimator: what was done to a picture, told from its pixels, so that a clean one is left alone.

Place in the flow: `train` fits it on the targets of traces (`supir_degrade.targets`) and on the PSNR of the pair;
`infer` asks it how much to restore. It works on pixels and on no latent, so one serves every backbone.
Law: an estimate is a mean over the picture; parts that differ (a sharp face before a blurred wall) are averaged.

Legend: B pictures, (H, W) px, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from supir_model.connectors import zero_module

LOWEST_PSNR_DB, HIGHEST_PSNR_DB = 10.0, 50.0
"""Bounds of `psnr_db`: beyond them pictures are equally ruined, or equally clean."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """What was done to a picture, in the terms of `supir_degrade.targets`; clean is 0, 0, 100, 1 and 50.

    Attributes:
        blur_sigma_px: Gaussian that blurs as much as all blurs and resamplings together.
        noise_sigma: standard deviation of what is left of the noise, of 255.
        jpeg_quality: lowest quality of its JPEG files, 1 to 100.
        scale: side / side before it was last enlarged, from 1.
        psnr_db: of the picture against the photo that it was, 10 to 50.
    """

    blur_sigma_px: float
    noise_sigma: float
    jpeg_quality: float
    scale: float
    psnr_db: float


class DegradationEstimator(ModelMixin, ConfigMixin):
    """A small convolutional network with a mean and a deviation over the picture before its head.

    Args:
        block_out_channels: widths at 1/2, 1/4, 1/8 … of the picture's size.
        hidden_channels: width of the head.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self, block_out_channels: tuple[int, ...] = (32, 48, 64, 96), hidden_channels: int = 96
    ) -> None:
        super().__init__()
        first, *others = block_out_channels
        layers: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(3 * 2**2, first, 3, padding=1)]
        for inputs, outputs in zip(block_out_channels, others, strict=False):
            layers += [_Residual(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)]
        self.features = nn.Sequential(*layers, _Residual(block_out_channels[-1]))
        self.head = nn.Sequential(
            nn.Linear(2 * block_out_channels[-1], hidden_channels),
            nn.SiLU(),
            nn.Linear(hidden_channels, len(Degradation.__slots__)),
        )

    def forward(self, lq: Tensor) -> Tensor:
        """Targets (B, T) as `normalised` has them.

        Args:
            lq: (B, 3, H, W) in [-1, 1], sides even and at least 32 px.
        """
        features = self.features(lq)
        deviation, mean = torch.std_mean(features, dim=(2, 3), correction=0)
        scores: Tensor = self.head(torch.cat([mean, deviation], dim=1))
        return scores

    @torch.no_grad()
    def estimate(self, lq: Tensor) -> list[Degradation]:
        """What was done to each picture of `lq`, see `forward`."""
        return denormalised(self(lq.to(self.dtype)).float())


def normalised(degradations: Sequence[Degradation]) -> Tensor:
    """Targets (B, T), float32, each of about unit deviation over pictures as people have them, and 0 where clean."""
    blur, noise, quality, scale, psnr = torch.tensor([astuple(each) for each in degradations]).float().T
    psnr = psnr.clamp(LOWEST_PSNR_DB, HIGHEST_PSNR_DB)
    columns = [
        torch.log1p(blur),
        torch.log1p(noise) / 2,
        (100 - quality) / 40,
        torch.log2(scale),
        (HIGHEST_PSNR_DB - psnr) / 10,
    ]
    return torch.stack(columns, dim=1)


def denormalised(scores: Tensor) -> list[Degradation]:
    """The inverse of `normalised`, within the bounds of each target."""
    blur, noise, quality, scale, psnr = scores.clamp(min=0).cpu().double().T
    columns = torch.stack(
        [
            torch.expm1(blur),
            torch.expm1(2 * noise),
            (100 - 40 * quality).clamp(min=1),
            torch.exp2(scale),
            (HIGHEST_PSNR_DB - 10 * psnr).clamp(min=LOWEST_PSNR_DB),
        ],
        dim=1,
    )
    return [Degradation(*row) for row in columns.tolist()]


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = zero_module(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, hidden: Tensor) -> Tensor:
        inner: Tensor = self.conv1(functional.silu(hidden))
        return hidden + self.conv2(functional.silu(inner))
