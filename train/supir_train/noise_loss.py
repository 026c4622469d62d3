"""The diffusion loss that the prior and the adapter share: predict the noise that was mixed into a clean latent.

Source: eps parametrisation with weight sigma^-2 over uniform timesteps, which is the plain MSE on eps (Ho et al.
2020, equation 14; weighting as in the SDXL trainer).
"""

from __future__ import annotations

import torch

from supir_model import Supir
from supir_model.diffusion import NUM_TIMESTEPS, noised_input


def noise_loss(
    supir: Supir,
    latent: torch.Tensor,
    z_lq: torch.Tensor | None,
    prompts: tuple[str, ...],
    size_px: tuple[int, int],
    generator: torch.Generator,
) -> torch.Tensor:
    """Returns the mean squared error of the predicted noise, a scalar.

    Timesteps are stratified over the batch: each image draws from its own equal slice of 0..999, in random order,
    which leaves every timestep equally likely and makes the loss of a batch less noisy.

    Args:
        latent: (B, C, h, w) clean scaled latent.
        z_lq: (B, C, h, w) scaled LQ latent, or None for the plain UNet.
        prompts: one prompt an image.
        size_px: lowest and highest image side told to the networks, pixels; drawn log-uniformly for the batch.
        generator: CPU generator.
    """
    batch = latent.shape[0]
    slices = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
    timestep = (slices * NUM_TIMESTEPS).long().clamp_max(NUM_TIMESTEPS - 1).to(latent.device)
    noise = torch.randn(latent.shape, generator=generator).to(latent.device)
    lowest, highest = size_px
    side = round(lowest * (highest / lowest) ** float(torch.rand((), generator=generator)))
    predicted = supir.predict_eps(
        noised_input(latent, noise, timestep),
        timestep,
        z_lq,
        supir.encode_prompt(list(prompts)),
        supir.time_ids(side, side, batch),
    )
    return torch.nn.functional.mse_loss(predicted.float(), noise)
