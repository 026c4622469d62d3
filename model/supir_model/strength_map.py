"""How much of a restoration is best taken, place by place, told from the picture and what was made of it.

Place in the flow: `train` fits it on restorations beside the photos that they should be (`stage: strength`); `infer`
mixes by it. Each place is judged by what the restoration changes there, since an estimate of the whole picture cannot
tell a wall that lost its grain from fur that went with it. It belongs to one restorer, whose faults it has learned.
Law: it sees no more than both pictures, at the output's size, and the estimate of what was done to the given one.

Legend: B pictures, (H, W) px, C inner channels, T targets of the estimate.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from supir_model.estimator import Degradation, coefficient_energy
from supir_model.mini_vae import BLOCK, block_transform

STRIP_BLOCKS = 64
"""Rows of blocks looked at together: the statistics of all at once would take ten times the picture's memory."""


class StrengthMap(ModelMixin, ConfigMixin):
    """Convolutions over 8×8 blocks, on the logarithms of the cosine coefficients' energy.

    Of each block it sees the energies in the picture, in the restoration, and in what was taken away; and of the whole
    picture their mean and deviation, which tell one full of noise from one with grain in places, and the estimate.

    Args:
        num_coefficients: coefficients of a block that are looked at, at most 192.
        channels: C.
        dilations: of the 3×3 convolutions, in blocks.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self, num_coefficients: int = 64, channels: int = 20, dilations: tuple[int, ...] = (1, 2, 1)
    ) -> None:
        super().__init__()
        analysis, _ = block_transform(num_coefficients)
        self.transform: Tensor
        self.register_buffer("transform", analysis[..., None, None], persistent=False)
        self.blocks = nn.Conv2d(3 * num_coefficients, channels, 1)
        self.whole = nn.Linear(2 * channels + len(Degradation.__slots__), channels)
        self.nearby = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )
        self.share = nn.Conv2d(channels, 1, 1)

    def forward(self, given: Tensor, restored: Tensor, estimate: Tensor) -> Tensor:
        """The share of `restored` to take, (B, 1, H, W) in 0..1, smooth over a block.

        Args:
            given: (B, 3, H, W) in [-1, 1], of any size.
            restored: the same.
            estimate: (B, T) of `given`, as `DegradationEstimator` puts them out.
        """
        side = STRIP_BLOCKS * BLOCK
        strips = zip(given.split(side, dim=2), restored.split(side, dim=2), strict=True)
        features = torch.cat([self._of_blocks(*strip) for strip in strips], dim=2)
        mean, deviation = features.mean(dim=(2, 3)), features.std(dim=(2, 3), correction=0)
        summary = torch.cat([mean, deviation, estimate.to(mean)], dim=1)
        features = features + self.whole(summary)[..., None, None]
        for convolution in self.nearby:
            features = features + functional.silu(convolution(features))
        share = functional.interpolate(self.share(features), scale_factor=float(BLOCK), mode="bilinear")
        return share[..., : given.shape[-2], : given.shape[-1]].sigmoid()

    def _of_blocks(self, given: Tensor, restored: Tensor) -> Tensor:
        """(B, C, blocks down, blocks across) of one strip, whose border is repeated to whole blocks."""
        missing = (0, -given.shape[-1] % BLOCK, 0, -given.shape[-2] % BLOCK)
        given, restored = (
            functional.pad(picture, missing, mode="replicate") for picture in (given, restored)
        )
        views = (given, restored, given - restored)
        energy = torch.cat([coefficient_energy(view, self.transform) for view in views], dim=1)
        return functional.silu(self.blocks(energy.log() / 4 + 1))
