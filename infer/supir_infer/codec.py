"""Images to latents and back through a Supir's VAE, whole or strip by strip.

Place in the flow: `restore` talks to the VAE through this; `kl_strips` and `mini_strips` do the memory-saving walk.
Latents are scaled by the VAE's scaling factor, float32; images are (B, 3, H, W) in [-1, 1].
The law it keeps: strips change rounding only, so memory may decide about them: where it does not suffice a pass is
done again in strips, and in strips of half the rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from supir_console import UserError
from supir_infer import kl_strips, mini_strips
from supir_infer.row_maps import GIB, Maps
from supir_model import Supir
from supir_model.out_of_memory import is_out_of_memory
from supir_model.sampler import NoiseSource

LEAST_ROWS = 8
FIRST_ROWS = 256
"""Of the strips that a pass is done in which did not fit whole."""


class Codec:
    """The three VAE passes of a restoration.

    Args:
        supir: whose VAE and robust encoder.
        strip_px: rows of the image at once, 0 for all of them; goes down where memory does not suffice.
        maps_gib: of main memory for an `AutoencoderKL`'s maps between two strips; None for all that they take.
    """

    def __init__(self, supir: Supir, strip_px: int, maps_gib: float | None = None) -> None:
        self.supir, self.strip_px = supir, strip_px
        self._maps = Maps(None if maps_gib is None else int(maps_gib * GIB))

    def encode_lq(self, lq: Tensor) -> Tensor:
        """Returns z_lq (B, C, H/8, W/8): the mode of the robust encoder."""
        mode = DiagonalGaussianDistribution(self._moments(self.supir.robust_encoder, lq)).mode()
        return mode.float() * self.supir.vae.config["scaling_factor"]

    def encode(self, image: Tensor, noise: NoiseSource) -> Tensor:
        """Returns a latent (B, C, H/8, W/8): a sample of the VAE's posterior with the given unit noise."""
        posterior = DiagonalGaussianDistribution(self._moments(self.supir.vae.encoder, image))
        mean = posterior.mean.float()
        return (mean + posterior.std.float() * noise(mean)) * self.supir.vae.config["scaling_factor"]

    def decode(self, latent: Tensor) -> Tensor:
        """Returns the image (B, 3, H, W) of a latent, not clipped."""
        vae = self.supir.vae

        def decoded(rows: int) -> Tensor:
            if not rows:
                return self.supir.decode(latent)
            unscaled = (latent / vae.config["scaling_factor"]).to(vae.dtype)
            if isinstance(vae, AutoencoderKL):
                return _each(unscaled, lambda one: kl_strips.decode(vae, one, rows, self._maps)).float()
            return _each(unscaled, lambda one: mini_strips.decode(vae, one, rows)).float()

        return self._fitting(decoded)

    def _moments(self, encoder: Any, image: Tensor) -> Tensor:
        vae = self.supir.vae

        def encoded(rows: int) -> Tensor:
            pixels = image.to(vae.dtype)
            if not rows:
                moments: Tensor = encoder(pixels)
                return moments if vae.quant_conv is None else vae.quant_conv(moments)
            if isinstance(vae, AutoencoderKL):
                return _each(
                    pixels, lambda one: kl_strips.encode_moments(vae, encoder, one, rows, self._maps)
                )
            return _each(pixels, lambda one: mini_strips.encode_moments(vae, encoder, one, rows))

        return self._fitting(encoded)

    @torch.no_grad()
    def _fitting(self, work: Callable[[int], Tensor]) -> Tensor:
        """What `work` makes with as many rows as memory has room for.

        Raises:
            UserError: it has none for `LEAST_ROWS`.
        """
        while True:
            try:
                return work(self.strip_px)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if 0 < self.strip_px <= LEAST_ROWS:
                    raise UserError(
                        f"out of memory: the VAE does not fit in strips of {self.strip_px} rows; use "
                        "--dtype bfloat16, a smaller --upscale or --min-size, or --set vae_maps_gib=0"
                    ) from error
            self.strip_px = max(LEAST_ROWS, self.strip_px // 2) if self.strip_px else FIRST_ROWS
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            sys.stderr.write(f"out of memory: the VAE goes on in strips of {self.strip_px} rows\n")


def _each(batch: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """One picture after the other: no more of them are worked on than memory was asked for."""
    return work(batch) if len(batch) == 1 else torch.cat([work(one) for one in batch.split(1)])
