"""The discrete diffusion of SDXL as SUPIR uses it: 1000 sigmas, eps scaling, snapping.

Place in the flow: `Supir.denoise` and the trainer share these functions; `sampler.py` gets its sigmas here.
Law: a sigma handed to the network is always an entry of the table; the timestep is that entry's index.
Source: facts of LDM's "linear" schedule (betas linear in their square root); Karras et al. 2022, equation 7
and table 1, for the scaling; checked against stored numbers in tests/model/test_model_parity.py.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

NUM_TIMESTEPS: Final = 1000
BETA_START: Final = 0.00085
BETA_END: Final = 0.012
SIGMA_MAX: Final = 14.6146
"""Largest sigma, rounded as the linear guidance and control ramps use it."""


@cache
def sigma_table() -> Tensor:
    """The 1000 noise levels in ascending order, (1000,) float32 on the CPU; do not write into it.

    sigma_t = sqrt((1 - abar_t) / abar_t), abar_t = prod_{i<=t} (1 - beta_i), computed in float64.
    """
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, NUM_TIMESTEPS, dtype=torch.float64) ** 2
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
    return ((1.0 - alphas_cumprod) / alphas_cumprod).sqrt().float()


def sampling_timesteps(steps: int, start: int = NUM_TIMESTEPS - 1) -> Tensor:
    """The descending table indices of a sampling run, (steps,) int64: floor of `steps` points from `start` to 0.

    Args:
        steps: network calls, 1 to start + 1.
        start: table index of the first call; 999 begins at noise.

    Raises:
        ValueError: `steps` outside 1 to start + 1.
    """
    if not 1 <= steps <= start + 1:
        usual = (
            "20 to 50 is usual" if start == NUM_TIMESTEPS - 1 else f"so many levels lie below index {start}"
        )
        raise ValueError(f"steps={steps} is outside 1..{start + 1}; {usual}")
    # numpy's own rounding decides on which side of an integer a point falls, as in the released schedule
    points = np.linspace(start, 0, steps, endpoint=False)
    return torch.from_numpy(np.floor(points)).long()


def sampling_sigmas(steps: int, start_sigma: float = SIGMA_MAX) -> Tensor:
    """The descending sigmas of a sampling run with a final 0, (steps + 1,) float32.

    Args:
        steps: network calls.
        start_sigma: noise level of the first, snapped to the table; the largest begins at noise.

    Raises:
        ValueError: more steps than levels from there on.
    """
    start = int(nearest_timestep(torch.tensor(start_sigma)))
    return torch.cat([sigma_table()[sampling_timesteps(steps, start)], torch.zeros(1)])


def karras_sigmas(steps: int, rho: float = 7.0, start_sigma: float = SIGMA_MAX) -> Tensor:
    """Karras-spaced sigmas between the ends of `sampling_sigmas(steps, start_sigma)`, then 0; (steps + 1,) float32.

    Source: Karras et al. 2022, equation 5; used by the DPM++ 2M sampler.
    """
    ends = sampling_sigmas(steps, start_sigma).double()
    sigma_max, sigma_min = ends[0] ** (1 / rho), ends[-2] ** (1 / rho)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    sigmas = (sigma_max + ramp * (sigma_min - sigma_max)) ** rho
    return torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)]).float()


def nearest_timestep(sigma: Tensor) -> Tensor:
    """The index of the table entry nearest to each sigma (absolute difference), int64, shape of `sigma`."""
    table = sigma_table().to(sigma.device)
    return (sigma.float().unsqueeze(-1) - table).abs().argmin(dim=-1)


def sigma_at(timestep: Tensor, ndim: int) -> Tensor:
    """The table's sigma at each timestep, float32, shaped (B, 1, ...) to broadcast over `ndim` dimensions."""
    sigma = sigma_table().to(timestep.device)[timestep]
    return sigma.reshape(-1, *([1] * (ndim - 1)))


def scale_input(x: Tensor, sigma: Tensor) -> Tensor:
    """What the network receives for a noisy latent: x / sqrt(sigma^2 + 1), unit variance for unit data."""
    return x / (sigma**2 + 1).sqrt()


def eps_of_velocity(velocity: Tensor, x_in: Tensor, sigma: Tensor) -> Tensor:
    """The noise, of the velocity v = (eps - sigma · latent) / sqrt(sigma^2 + 1), which some priors predict.

    Args:
        velocity: (B, C, h, w) the network's output.
        x_in: (B, C, h, w) its input, of `scale_input`.
        sigma: the noise level, to broadcast with them.

    Source: Salimans and Ho 2022 (2202.00512), appendix D, with alpha = 1 / sqrt(sigma^2 + 1).
    """
    return (velocity + sigma * x_in) / (sigma**2 + 1).sqrt()


def eps_of_sample(sample: Tensor, x_in: Tensor, sigma: Tensor) -> Tensor:
    """The noise, of the clean latent, which some priors predict; arguments as in `eps_of_velocity`."""
    return ((sigma**2 + 1).sqrt() * x_in - sample) / sigma


def noised_input(latent: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    """The network input of a training step: (latent + sigma_t * noise) / sqrt(sigma_t^2 + 1).

    Args:
        latent: (B, C, h, w) clean scaled latent.
        noise: (B, C, h, w) unit normal; it is also the target of the eps loss.
        timestep: (B,) int64, 0 to 999.
    """
    sigma = sigma_at(timestep, latent.ndim)
    return scale_input(latent + sigma * noise, sigma)
