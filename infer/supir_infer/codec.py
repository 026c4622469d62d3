"""Images to latents and back through a Supir's VAE, whole or strip by strip.

Place in the flow: `restore` talks to the VAE through this; `strips` does the memory-saving walk.
Latents are scaled by the VAE's scaling factor, float32; images are (B, 3, H, W) in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from supir_console import UserError
from supir_infer import strips
from supir_model import Supir
from supir_model.sampler import NoiseSource


@dataclass(frozen=True, slots=True)
class Codec:
    """The three VAE passes of a restoration; `strip_px` rows of the image at once, 0 for all of them."""

    supir: Supir
    strip_px: int

    def __post_init__(self) -> None:
        if self.strip_px and not isinstance(self.supir.vae, AutoencoderKL):
            raise UserError(
                f"vae_strip_px={self.strip_px}: this model's {type(self.supir.vae).__name__} has no strips; "
                "leave it 0"
            )

    def encode_lq(self, lq: torch.Tensor) -> torch.Tensor:
        """Returns z_lq (B, C, H/8, W/8): the mode of the robust encoder."""
        if not self.strip_px:
            return self.supir.encode_lq(lq)
        vae = self.supir.vae
        moments = strips.encode_moments(vae, self.supir.robust_encoder, lq.to(vae.dtype), self.strip_px)
        return DiagonalGaussianDistribution(moments).mode().float() * vae.config["scaling_factor"]

    def encode(self, image: torch.Tensor, noise: NoiseSource) -> torch.Tensor:
        """Returns a latent (B, C, H/8, W/8): a sample of the VAE's posterior with the given unit noise."""
        vae = self.supir.vae
        posterior = (
            DiagonalGaussianDistribution(
                strips.encode_moments(vae, vae.encoder, image.to(vae.dtype), self.strip_px)
            )
            if self.strip_px
            else vae.encode(image.to(vae.dtype)).latent_dist
        )
        mean = posterior.mean.float()
        return (mean + posterior.std.float() * noise(mean)) * vae.config["scaling_factor"]

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Returns the image (B, 3, H, W) of a latent, not clipped."""
        if not self.strip_px:
            return self.supir.decode(latent)
        vae = self.supir.vae
        unscaled = (latent / vae.config["scaling_factor"]).to(vae.dtype)
        return strips.decode(vae, unscaled, self.strip_px).float()
