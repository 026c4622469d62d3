"""The diffusion loss that the prior and the adapter share: predict the noise that was mixed into a clean latent.

Source: eps parametrisation with weight sigma^-2 over uniform timesteps, which is the plain MSE on eps (Ho et al.
2020, equation 14; weighting as in the SDXL trainer).
"""

from __future__ import annotations

import torch

from supir_model import Supir
from supir_model.diffusion import NUM_TIMESTEPS, noised_input
from supir_train.image_noise import ImageNoise


def noise_loss(
    supir: Supir,
    latent: torch.Tensor,
    z_lq: torch.Tensor | None,
    prompts: tuple[str, ...],
    size_px: tuple[int, int],
    noise: ImageNoise,
) -> torch.Tensor:
    """Returns the mean squared error of the predicted noise, a scalar.

    Timesteps are stratified over the step: each image draws from its own equal slice of 0..999.

    Args:
        latent: (B, C, h, w) clean scaled latent.
        z_lq: (B, C, h, w) scaled LQ latent, or None for the plain UNet.
        prompts: one prompt an image.
        size_px: lowest and highest image side told to the networks, pixels; drawn log-uniformly for each image.
        noise: of these images.
    """
    timestep = (noise.stratified() * NUM_TIMESTEPS).long().to(latent.device)
    eps = noise.normal(latent)
    lowest, highest = size_px
    sides = [round(lowest * (highest / lowest) ** share) for share in noise.uniform().tolist()]
    predicted = supir.predict_eps(
        noised_input(latent, eps, timestep),
        timestep,
        z_lq,
        supir.encode_prompt(list(prompts)),
        torch.cat([supir.time_ids(side, side, 1) for side in sides]),
    )
    return torch.nn.functional.mse_loss(predicted.float(), eps)
