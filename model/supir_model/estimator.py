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

from supir_model.mini_vae import BLOCK, block_transform

LOWEST_PSNR_DB, HIGHEST_PSNR_DB = 10.0, 50.0
"""Bounds of `psnr_db`: beyond them pictures are equally ruined, or equally clean."""
ENLARGED_BLUR_PX = 2.2
"""Estimated blur below which a picture is best worked on at twice its side."""
CLEAN_DB, SUSPECT_DB = 40.0, 34.0
"""Estimated PSNR from which on a picture is clean, and up to which it is doubtless not."""
SMALLEST_ENERGY = 1e-6
"""Added to a squared coefficient: that of a tenth of a grey level, about."""


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

    @property
    def gains_by_enlarging(self) -> bool:
        """Whether `mini` restores a picture of it best at a larger side than the output's.

        A latent pixel then stands for fewer px of it: what is there is kept better. A very blurred picture is restored
        better at its own size, at which the network sees more of it.
        """
        return self.blur_sigma_px < ENLARGED_BLUR_PX

    @property
    def doubt(self) -> float:
        """How doubtful it is that a picture of it is clean, 0 to 1: no larger share of a restoration is taken."""
        return min(1.0, max(0.0, (CLEAN_DB - self.psnr_db) / (CLEAN_DB - SUSPECT_DB)))


class DegradationEstimator(ModelMixin, ConfigMixin):
    """A perceptron on the statistics of cosine coefficients, in the manner of no-reference quality measures.

    Noise, blur, enlargement and quantisation each move the energy of coefficients, or how it is spread over the
    picture; so each coefficient of 8×8 blocks gives the logarithm of its mean square and the mean of its squares'
    logarithms. Blocks are taken on JPEG's grid, half a block off it, and on the picture at half its size.

    Args:
        num_coefficients: coefficients of a block that are looked at, at most 192.
        hidden_channels: widths of the perceptron's two inner layers.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, num_coefficients: int = 128, hidden_channels: tuple[int, int] = (64, 64)) -> None:
        super().__init__()
        analysis, _ = block_transform(num_coefficients)
        self.transform: Tensor
        self.register_buffer("transform", analysis[..., None, None], persistent=False)
        first, second = hidden_channels
        self.head = nn.Sequential(
            nn.Linear(2 * len(self._views(torch.zeros(1, 3, 32, 32))) * num_coefficients, first),
            nn.SiLU(),
            nn.Linear(first, second),
            nn.SiLU(),
            nn.Linear(second, len(Degradation.__slots__)),
        )

    def forward(self, lq: Tensor) -> Tensor:
        """Targets (B, T) as `normalised` has them, in the precision of the weights whatever the caller's autocast.

        Args:
            lq: (B, 3, H, W) in [-1, 1], at least 32 px a side.
        """
        with torch.autocast(lq.device.type, enabled=False):
            scores: Tensor = self.head(torch.cat([self._statistics(view) for view in self._views(lq)], dim=1))
        return scores

    @torch.no_grad()
    def estimate(self, lq: Tensor) -> list[Degradation]:
        """What was done to each picture of `lq`, see `forward`."""
        return denormalised(self(lq.to(self.dtype)).float())

    @staticmethod
    def _views(lq: Tensor) -> list[Tensor]:
        return [lq, lq[..., BLOCK // 2 :, BLOCK // 2 :], functional.avg_pool2d(lq, 2)]

    def _statistics(self, view: Tensor) -> Tensor:
        """(B, 2 · coefficients) of all whole blocks of a view, each about 0 and of about unit deviation."""
        energy = coefficient_energy(view, self.transform)
        spread = energy.log().mean(dim=(2, 3))
        return torch.cat([energy.mean(dim=(2, 3)).log(), spread], dim=1) / 4 + 1


def coefficient_energy(picture: Tensor, transform: Tensor) -> Tensor:
    """Squares of the coefficients of all whole 8×8 blocks, (B, coefficients, blocks down, blocks across), above 0.

    Args:
        picture: (B, 3, H, W) in [-1, 1], at least 8 px a side.
        transform: (coefficients, 192, 1, 1), see `block_transform`.
    """
    height, width = (side // BLOCK * BLOCK for side in picture.shape[-2:])
    blocks = functional.pixel_unshuffle(picture[..., :height, :width], BLOCK)
    return functional.conv2d(blocks, transform).square() + SMALLEST_ENERGY


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
