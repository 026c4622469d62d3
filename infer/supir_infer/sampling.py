"""From noise, or from the LQ latent, to a restored latent: the sampler that the settings name, on their noise levels.

Place in the flow: `restore` calls `sample` with the batch's `Denoise`; the samplers themselves are `supir_model`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from supir_infer.noise import Noise
from supir_infer.settings import RestoreSettings
from supir_model.diffusion import SIGMA_MAX, karras_sigmas, nearest_timestep, sampling_sigmas
from supir_model.sampler import (
    Denoise,
    OnStep,
    sample_dpmpp_2m_sde,
    sample_edm,
    sample_lcm,
    start_latent,
)

Sampling = Callable[
    [RestoreSettings, Denoise, torch.Tensor, Noise, torch.Tensor | None, OnStep | None], torch.Tensor
]
"""What `sample` is: the steps of a batch, by whatever takes them."""


def noise_levels(settings: RestoreSettings) -> torch.Tensor:
    """Returns the levels of a restoration: `steps` of them, fewer where the table has fewer from `start_sigma` on."""
    start = SIGMA_MAX if settings.start_sigma is None else settings.start_sigma
    steps = min(settings.steps, int(nearest_timestep(torch.tensor(start))) + 1)
    if settings.sampler == "dpmpp_2m_sde":
        return karras_sigmas(steps, start_sigma=start)
    return sampling_sigmas(steps, start)


def sample(
    settings: RestoreSettings,
    denoise: Denoise,
    z_lq: torch.Tensor,
    noise: Noise,
    centre: torch.Tensor | None,
    on_step: OnStep | None,
) -> torch.Tensor:
    """Returns the restored latent (B, C, h, w).

    Args:
        settings: sampler, levels and strengths.
        denoise: of the batch.
        z_lq: (B, C, h, w) where a run with `start_sigma` starts.
        noise: where start and steps draw from.
        centre: (B, C, h, w) latent that restoration guidance pulls to; None where it is off.
        on_step: called after every step.
    """
    sigmas = noise_levels(settings)
    shared: dict[str, Any] = {
        "noise": noise.steps,
        "s_noise": settings.s_noise,
        "restore_guidance": settings.restore_guidance,
        "x_center": centre,
        "on_step": on_step,
    }
    x = start_latent(noise.start(z_lq), sigmas, None if settings.start_sigma is None else z_lq)
    if settings.sampler == "edm":
        return sample_edm(denoise, x, sigmas, s_churn=settings.s_churn, **shared)
    if settings.sampler == "lcm":
        return sample_lcm(denoise, x, sigmas, **shared)
    return sample_dpmpp_2m_sde(denoise, x, sigmas, **shared)
