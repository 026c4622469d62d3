"""The diffusion loss that the prior and the adapter share: predict the noise that was mixed into a clean latent.

Source: eps parametrisation with weight sigma^-2 over uniform timesteps, which is the plain MSE on eps (Ho et al.
2020, equation 14; weighting as in the SDXL trainer); min-SNR weights: Hang et al. 2023, for eps min(snr, gamma) / snr;
velocity: Salimans and Ho 2022, appendix D; logit-normal timesteps: Esser et al. 2024, equation 19; offset noise:
Guttenberg 2023.
"""

from __future__ import annotations

import torch

from supir_model import Supir
from supir_model.diffusion import noised_input, sigma_at
from supir_model.presets import PredictionType
from supir_train.image_noise import ImageNoise
from supir_train.loss_config import NoiseLossConfig
from supir_train.phase import Losses

BIN_TIMESTEPS = 200
"""Timesteps whose losses are logged together; five such bins cover all."""


def noise_loss(
    supir: Supir,
    latent: torch.Tensor,
    z_lq: torch.Tensor | None,
    prompts: tuple[str, ...],
    size_px: tuple[int, int],
    config: NoiseLossConfig,
    noise: ImageNoise,
) -> Losses:
    """Returns the weighted mean squared error of the predicted noise, and beside it each image's by bin of timesteps.

    Args:
        latent: (B, C, h, w) clean scaled latent.
        z_lq: (B, C, h, w) scaled LQ latent, or None for the plain UNet.
        prompts: one prompt an image.
        size_px: lowest and highest image side told to the networks, pixels; drawn log-uniformly for each image.
        config: which timesteps, noise and weights.
        noise: of these images.
    """
    drawn = timesteps_at(noise.stratified(), config)
    timestep = drawn.to(latent.device)
    eps = noise.normal(latent)
    if config.offset:
        eps = eps + config.offset * noise.normal(latent[..., :1, :1])
    predicted = supir.predict_eps(
        noised_input(latent, eps, timestep),
        timestep,
        z_lq,
        supir.encode_prompt(list(prompts)),
        drawn_sizes(supir, size_px, noise),
    )
    errors = (predicted.float() - eps).square().mean(dim=(1, 2, 3))
    errors = errors * timestep_weights(timestep, config, supir.prediction_type)
    return {"loss": errors.mean(), **_by_bin(errors.detach(), drawn)}


def drawn_sizes(supir: Supir, size_px: tuple[int, int], noise: ImageNoise) -> torch.Tensor:
    """Returns the size vectors (B, 6) that the images are told with, drawn log-uniformly from `size_px`, pixels."""
    lowest, highest = size_px
    sides = [round(lowest * (highest / lowest) ** share) for share in noise.uniform().tolist()]
    # one question for the device: it takes a walk through the network
    of_sides = supir.time_ids(1, 1, 1)
    return of_sides * torch.tensor(sides, device=of_sides.device)[:, None]


def timesteps_at(share: torch.Tensor, config: NoiseLossConfig) -> torch.Tensor:
    """Returns the timesteps, int64, below which `share` of the config's distribution lies; (B,) in [0, 1).

    Shares that are stratified over a step leave every timestep as likely as it is, and the loss of a step less noisy.
    """
    if config.timesteps == "logit_normal":
        share = torch.sigmoid(config.logit_mean + config.logit_deviation * torch.special.ndtri(share))
    lowest, highest = config.timestep_range
    count = highest - lowest + 1
    return lowest + (share * count).long().clamp_max(count - 1)


def timestep_weights(
    timestep: torch.Tensor, config: NoiseLossConfig, predicted: PredictionType
) -> torch.Tensor:
    """Returns the weight of each timestep's squared error of the noise.

    With snr = sigma^-2 it is min(snr, gamma) / snr. Without a gamma it makes the loss the squared error of what the
    prior predicts: 1 of the noise, 1 + 1 / snr of the velocity, 1 / snr of the clean latent.
    """
    variance = sigma_at(timestep, 1).square()
    if config.min_snr_gamma is not None:
        return (config.min_snr_gamma * variance).clamp_max(1.0)
    own = {"epsilon": torch.ones_like(variance), "v_prediction": 1.0 + variance, "sample": variance}
    return own[predicted]


def _by_bin(errors: torch.Tensor, timestep: torch.Tensor) -> Losses:
    """The errors (B,) of the images of each bin, none of them twice; `timestep` is (B,) on the CPU."""
    bins = (timestep // BIN_TIMESTEPS).tolist()
    images = {
        chosen: [image for image, own in enumerate(bins) if own == chosen] for chosen in sorted(set(bins))
    }
    return {
        f"loss_t{chosen * BIN_TIMESTEPS:03d}_{(chosen + 1) * BIN_TIMESTEPS - 1}": errors[listed]
        for chosen, listed in images.items()
    }
