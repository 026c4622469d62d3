"""A small autoencoder for the embedded prior: 8 latent channels at 1/8, convolutions only at 1/4 and 1/8.

Place in the flow: takes the place of `AutoencoderKL` in the `mini` and `tiny` presets and has its face
(`encode().latent_dist`, `decode().sample`, `encoder`, `quant_conv`, `config.scaling_factor`).
Law: no normalisation and no attention, so an output pixel depends on its neighbourhood only and tiles with
enough overlap give the untiled result exactly.
Source: pixel-(un)shuffle stems as in Shi et al. 2016; residual blocks without normalisation, the last
convolution of each starting at zero (Zhang et al. 2019, "Fixup").
"""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from torch import Tensor, nn

from supir_model.connectors import zero_module

STEM = 4
"""Pixels a side folded into channels before the first convolution."""


@dataclass
class LatentDistribution:
    """Result of `MiniVAE.encode`, named as in diffusers."""

    latent_dist: DiagonalGaussianDistribution


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class Residual(nn.Module):
    """Two convolutions beside the identity, which is all that a fresh one is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels)
        self.conv2 = zero_module(_conv(channels, channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        inner = self.conv1(nn.functional.silu(hidden))
        return hidden + self.conv2(nn.functional.silu(inner))


class MiniVAE(ModelMixin, ConfigMixin):
    """Variational autoencoder (B, 3, H, W) in [-1, 1] ↔ (B, C, H/8, W/8); H and W multiples of 8.

    Args:
        latent_channels: C.
        block_out_channels: widths at 1/4 and at 1/8.
        layers_per_block: residual blocks of the encoder at 1/4 and at 1/8; the decoder has one more of each.
        scaling_factor: multiplies a latent to give it unit variance; written by the prior's trainer.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 8,
        block_out_channels: tuple[int, int] = (64, 128),
        layers_per_block: tuple[int, int] = (1, 2),
        scaling_factor: float = 1.0,  # noqa: ARG002  read through config, as in AutoencoderKL
    ) -> None:
        super().__init__()
        fine, coarse = block_out_channels
        pixels = 3 * STEM**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(STEM),
            _conv(pixels, fine),
            *(Residual(fine) for _ in range(layers_per_block[0])),
            _conv(fine, coarse, stride=2),
            *(Residual(coarse) for _ in range(layers_per_block[1])),
            nn.SiLU(),
            _conv(coarse, 2 * latent_channels),
        )
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.decoder = nn.Sequential(
            _conv(latent_channels, coarse),
            *(Residual(coarse) for _ in range(layers_per_block[1] + 1)),
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
            *(Residual(fine) for _ in range(layers_per_block[0] + 1)),
            nn.SiLU(),
            _conv(fine, pixels),
            nn.PixelShuffle(STEM),
        )

    def encode(self, image: Tensor) -> LatentDistribution:
        """The posterior over unscaled latents of `image`."""
        return LatentDistribution(DiagonalGaussianDistribution(self.quant_conv(self.encoder(image))))

    def decode(self, latent: Tensor) -> DecoderOutput:
        """The image of an unscaled latent, not clipped."""
        return DecoderOutput(sample=self.decoder(self.post_quant_conv(latent)))
