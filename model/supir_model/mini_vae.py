"""The autoencoder of the embedded prior: a fixed block transform at 1/8, and convolutions that add what it lacks.

Place in the flow: takes the place of `AutoencoderKL` in the `mini` and `tiny` presets and has its face
(`encode().latent_dist`, `decode().sample`, `encoder`, `quant_conv`, `config.scaling_factor`).
Both directions add two paths. The fixed one is the cosine transform of 8×8 blocks, its first C coefficients divided
by their usual deviation, so that an untrained model is already a fair codec; the learned one, convolutions at 1/4 and
1/8 (in the decoder also at 1/2, where it sees the fixed path's pixels and takes the block edges out), starts at zero.
The robust encoder is the same network with more blocks, and starts as the encoder's exact copy.
Law: no normalisation and no attention, so an output pixel depends on its neighbourhood only and tiles with
enough overlap give the untiled result exactly.
An encoder's learned path gives each coefficient a factor of 0 to 2 (1 at the start) and an addend: what is noise is
shrunk, as a Wiener filter does, without having to be computed and taken away.
Source: block transform as in JPEG (ITU-T T.81) with orthonormal opponent colours; pixel-(un)shuffle as in Shi et al.
2016; residual blocks without normalisation, the last convolution of each starting at zero (Zhang et al. 2019, "Fixup").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn import functional

from supir_model.connectors import zero_module

BLOCK = 8
"""Pixels a side of the block that a latent pixel stands for."""
START_LOGVAR = -8.0
"""Logarithm of the posterior's variance before training."""
LUMA_DEVIATION, CHROMA_DEVIATION, FALL = 8.0, 2.0, 48.0
"""Usual deviation of a coefficient of pixels in [-1, 1]: one of these over sqrt(1 + FALL · frequency²)."""


@dataclass
class LatentDistribution:
    """Result of `MiniVAE.encode`, named as in diffusers."""

    latent_dist: DiagonalGaussianDistribution


class MiniEncoder(nn.Module):
    """Images (B, 3, H, W) to moments (B, 2 C, H/8, W/8).

    Args:
        latent_channels: C.
        block_out_channels: widths at 1/2 (unused here), 1/4 and 1/8.
        layers_per_block: residual blocks at 1/4 and at 1/8.
    """

    def __init__(
        self,
        latent_channels: int,
        block_out_channels: tuple[int, int, int],
        layers_per_block: tuple[int, int],
    ) -> None:
        super().__init__()
        _, fine, coarse = block_out_channels
        analysis, _ = block_transform(latent_channels)
        self.transform: Tensor
        self.register_buffer("transform", analysis[..., None, None], persistent=False)
        self.conv_in = _conv(3 * 4**2, fine)
        self.at_quarter = nn.Sequential(*(Residual(fine) for _ in range(layers_per_block[0])))
        self.down = _conv(fine, coarse, stride=2)
        self.at_eighth = nn.Sequential(*(Residual(coarse) for _ in range(layers_per_block[1])))
        self.conv_out = zero_module(_conv(coarse, 3 * latent_channels))
        assert self.conv_out.bias is not None, "as _conv makes it"
        with torch.no_grad():
            self.conv_out.bias[2 * latent_channels :] = START_LOGVAR

    def forward(self, image: Tensor) -> Tensor:
        """The moments of `image`."""
        hidden = self.at_quarter(self.conv_in(functional.pixel_unshuffle(image, 4)))
        hidden = self.at_eighth(self.down(hidden))
        blocks = functional.conv2d(functional.pixel_unshuffle(image, BLOCK), self.transform)
        gain, added, logvar = self.conv_out(functional.silu(hidden)).chunk(3, dim=1)
        return torch.cat([blocks * (2 * gain.sigmoid()) + added, logvar], dim=1)

    def copy_from(self, encoder: MiniEncoder) -> None:
        """Makes this the same function as `encoder`, which has the same widths and at most as many blocks."""
        for block in (*self.at_quarter, *self.at_eighth):
            zero_module(block.conv2)
        self.load_state_dict(self.state_dict() | encoder.state_dict())


class MiniDecoder(nn.Module):
    """Latents (B, C, h, w) to images (B, 3, 8 h, 8 w).

    Args:
        latent_channels: C.
        block_out_channels: widths at 1/2, 1/4 and 1/8.
        layers_per_block: residual blocks at 1/2, 1/4 and 1/8.
    """

    def __init__(
        self,
        latent_channels: int,
        block_out_channels: tuple[int, int, int],
        layers_per_block: tuple[int, int, int],
    ) -> None:
        super().__init__()
        half, fine, coarse = block_out_channels
        _, synthesis = block_transform(latent_channels)
        self.transform: Tensor
        self.register_buffer("transform", synthesis[..., None, None], persistent=False)
        self.conv_in = _conv(latent_channels, coarse)
        self.at_eighth = nn.Sequential(*(Residual(coarse) for _ in range(layers_per_block[2])))
        self.up_to_quarter = nn.Conv2d(coarse, 4 * fine, 1)
        self.at_quarter = nn.Sequential(*(Residual(fine) for _ in range(layers_per_block[1])))
        self.up_to_half = nn.Conv2d(fine, 4 * half, 1)
        self.blocks_in = _conv(3 * 2**2, half)
        self.at_half = nn.Sequential(*(Residual(half) for _ in range(layers_per_block[0])))
        self.conv_out = zero_module(_conv(half, 3 * 2**2))

    def forward(self, latent: Tensor) -> Tensor:
        """The image of `latent`."""
        blocks = functional.pixel_shuffle(functional.conv2d(latent, self.transform), BLOCK)
        hidden = self.at_eighth(self.conv_in(latent))
        hidden = self.at_quarter(functional.pixel_shuffle(self.up_to_quarter(hidden), 2))
        hidden = functional.pixel_shuffle(self.up_to_half(hidden), 2)
        hidden = self.at_half(hidden + self.blocks_in(functional.pixel_unshuffle(blocks, 2)))
        return blocks + functional.pixel_shuffle(self.conv_out(functional.silu(hidden)), 2)


class MiniVAE(ModelMixin, ConfigMixin):
    """Variational autoencoder (B, 3, H, W) in [-1, 1] ↔ (B, C, H/8, W/8); H and W multiples of 8.

    Args:
        latent_channels: C, at most 192.
        block_out_channels: widths at 1/2, 1/4 and 1/8.
        encoder_layers: residual blocks of the encoder at 1/4 and 1/8.
        decoder_layers: residual blocks of the decoder at 1/2, 1/4 and 1/8.
        robust_layers: residual blocks of the robust encoder that belongs to it, at 1/4 and 1/8.
        scaling_factor: multiplies a latent to give it unit variance; written by the prior's trainer.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 64,
        block_out_channels: tuple[int, int, int] = (32, 64, 128),
        encoder_layers: tuple[int, int] = (2, 2),
        decoder_layers: tuple[int, int, int] = (3, 2, 2),
        robust_layers: tuple[int, int] = (10, 12),  # noqa: ARG002  read through config
        scaling_factor: float = 1.0,  # noqa: ARG002  read through config, as in AutoencoderKL
    ) -> None:
        super().__init__()
        self.encoder = MiniEncoder(latent_channels, block_out_channels, encoder_layers)
        self.decoder = MiniDecoder(latent_channels, block_out_channels, decoder_layers)
        self.quant_conv = _scale_and_shift(2 * latent_channels)
        self.post_quant_conv = _scale_and_shift(latent_channels)

    def encode(self, image: Tensor) -> LatentDistribution:
        """The posterior over unscaled latents of `image`."""
        return LatentDistribution(DiagonalGaussianDistribution(self.quant_conv(self.encoder(image))))

    def decode(self, latent: Tensor) -> DecoderOutput:
        """The image of an unscaled latent, not clipped."""
        return DecoderOutput(sample=self.decoder(self.post_quant_conv(latent)))

    def new_robust_encoder(self) -> MiniEncoder:
        """A robust encoder of this autoencoder's shape that computes what its encoder does."""
        config = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of what its further blocks start at, behind convolutions that are zero
            robust = MiniEncoder(
                config["latent_channels"], config["block_out_channels"], config["robust_layers"]
            )
        robust.to(self.device, self.dtype).copy_from(self.encoder)
        return robust

    @torch.no_grad()
    def standardize(self, mean: Tensor, deviation: Tensor) -> None:
        """Moves latents of the given statistics to zero mean and unit deviation; what is decoded stays the same.

        Args:
            mean: (C,) of unscaled latents, per channel.
            deviation: (C,) likewise, positive.
        """
        channels = len(mean)
        quant, post = self.quant_conv, self.post_quant_conv
        assert quant.bias is not None, "as _scale_and_shift makes it"
        assert post.bias is not None, "as _scale_and_shift makes it"
        post.bias.add_(post.weight[:, 0, 0, 0] * mean)
        post.weight.mul_(deviation[:, None, None, None])
        quant.weight[:channels].div_(deviation[:, None, None, None])
        quant.bias[:channels].sub_(mean).div_(deviation)
        quant.bias[channels:].sub_(2 * deviation.log())


def block_transform(count: int) -> tuple[Tensor, Tensor]:
    """Analysis (count, 192) of 8×8 RGB blocks to coefficients of about unit deviation, and synthesis (192, count).

    Pixels are in the order of `pixel_unshuffle`; the coefficients kept are those with the largest usual deviation.

    Raises:
        ValueError: `count` is not 1 to 192.
    """
    if not 0 < count <= 3 * BLOCK**2:
        raise ValueError(f"latent_channels={count} is not 1 to {3 * BLOCK**2}, the values of an 8×8 block")
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
    colours = colours / colours.norm(dim=1, keepdim=True)
    place = torch.arange(BLOCK, dtype=torch.float64)
    waves = torch.cos(math.pi * place[:, None] * (2 * place[None] + 1) / (2 * BLOCK))
    waves = waves / waves.norm(dim=1, keepdim=True)
    basis = torch.einsum("kc,ui,vj->kuvcij", colours, waves, waves).reshape(3 * BLOCK**2, 3 * BLOCK**2)
    lowest = torch.tensor([LUMA_DEVIATION, CHROMA_DEVIATION, CHROMA_DEVIATION], dtype=torch.float64)
    deviation = lowest[:, None, None] / (1 + FALL * (place[:, None].square() + place[None].square())).sqrt()
    deviation, order = deviation.flatten().sort(descending=True, stable=True)
    basis, deviation = basis[order[:count]], deviation[:count, None]
    return (basis / deviation).float(), (basis * deviation).T.float().contiguous()


class Residual(nn.Module):
    """Two convolutions beside the identity, which is all that a fresh one is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels)
        self.conv2 = zero_module(_conv(channels, channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        inner = self.conv1(functional.silu(hidden))
        return hidden + self.conv2(functional.silu(inner))


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def _scale_and_shift(channels: int) -> nn.Conv2d:
    """One factor and one shift a channel, starting at 1 and 0."""
    module = nn.Conv2d(channels, channels, 1, groups=channels)
    nn.init.ones_(module.weight)
    assert module.bias is not None, "asked for"
    nn.init.zeros_(module.bias)
    return module
