"""Three samplers as plain functions: restoration-guided EDM, DPM++ 2M SDE, and LCM for distilled priors.

Place in the flow: `infer` builds a `denoise` with `guidance.guided`, scales its noise with `start_latent` and
calls one of these.
Law: all randomness comes from `noise`; guidance reads the sigma the network is evaluated at, control and
restoration read the schedule's own sigma, the restoration gate reads the next one.
Source: paper algorithm 1 (EDM); Karras et al. 2022, algorithm 2 (churn); Lu et al. 2022, DPM-Solver++
(2M, SDE form); Luo et al. 2023, algorithm 3 (LCM). Checked against stored trajectories in
tests/model/test_model_parity.py, LCM against diffusers' scheduler. Differs: with eta = 0 the last DPM++ step is the
denoised latent (the reference divides 0 by 0), and batches of any size work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from supir_model.diffusion import SIGMA_MAX

Denoise = Callable[[Tensor, float, float], Tensor]
"""(x, sigma_hat, sigma) → estimate of the clean latent, guidance included. `x` (B, C, h, w) has noise level
`sigma_hat`; `sigma` is the schedule's level before churn (equal without churn)."""
NoiseSource = Callable[[Tensor], Tensor]
"""x → unit normal noise of the shape, device and dtype of x; fresh at every call."""


@dataclass(frozen=True)
class Step:
    """What a sampler reports after each step, for progress, previews and checks."""

    index: int
    sigma: float
    sigma_hat: float
    sigma_next: float
    denoised: Tensor
    """(B, C, h, w) the guided estimate of the network, before restoration guidance."""
    restored: Tensor
    """(B, C, h, w) the estimate the step used."""
    x: Tensor
    """(B, C, h, w) the latent after the step."""


OnStep = Callable[[Step], None]


def generator_noise(generators: Sequence[torch.Generator]) -> NoiseSource:
    """A noise source with one CPU generator an image, so that batch size and device do not change an image.

    Args:
        generators: one a batch row; they advance at every call.
    """

    def draw(x: Tensor) -> Tensor:
        if len(generators) != len(x):
            raise ValueError(f"{len(generators)} generators for {len(x)} images; give one to each")
        rows = [torch.randn(x.shape[1:], generator=generator) for generator in generators]
        return torch.stack(rows).to(x)

    return draw


def start_latent(unit_noise: Tensor, sigmas: Tensor, estimate: Tensor | None = None) -> Tensor:
    """The start of a sampling run: noise of the variance of a noisy latent, or an estimate of the latent plus noise.

    Args:
        unit_noise: (B, C, h, w).
        sigmas: the run's noise levels.
        estimate: (B, C, h, w) latent to start from, such as the robust encoder's; None starts from noise alone,
            sqrt(1 + sigma_0^2) times `unit_noise`.
    """
    sigma = float(sigmas[0])
    if estimate is None:
        return unit_noise * math.sqrt(1.0 + sigma**2)
    return estimate + sigma * unit_noise


def restore_toward(denoised: Tensor, x_center: Tensor, sigma: float, restore_guidance: float) -> Tensor:
    """The estimate pulled to `x_center` by (sigma / sigma_max) ** restore_guidance (paper equation 4)."""
    weight = (sigma / SIGMA_MAX) ** restore_guidance
    return denoised - (denoised - x_center) * weight


@torch.no_grad()
def sample_edm(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,
    s_churn: float = 5.0,
    s_noise: float = 1.003,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    restore_guidance: float = 0.0,
    x_center: Tensor | None = None,
    restore_sigma_min: float = 0.05,
    on_step: OnStep | None = None,
) -> Tensor:
    """The sampled latent (B, C, h, w): Euler steps with churn and a pull toward the LQ image.

    Args:
        denoise: see `Denoise`; called once a step.
        x: (B, C, h, w) float32 from `start_latent`.
        sigmas: (n + 1,) descending, the last one 0.
        noise: drawn from only at steps that churn.
        s_churn: gamma = min(s_churn / n, sqrt(2) - 1) at the steps with s_tmin <= sigma <= s_tmax.
        s_noise: factor on the churn noise, about 1.
        restore_guidance: tau of the paper, larger pulls less; 0 switches it off.
        x_center: (B, C, h, w) latent of the robust encoder's image; needed when `restore_guidance` > 0.
        restore_sigma_min: the pull stops when the next sigma is not above it.
        on_step: called after every step.

    Raises:
        ValueError: fewer than two sigmas, or `restore_guidance` > 0 without `x_center`.
    """
    levels = _levels(sigmas)
    restore = _restoration(restore_guidance, x_center, restore_sigma_min)
    churn = min(s_churn / (len(levels) - 1), math.sqrt(2.0) - 1.0)
    for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
        gamma = churn if s_tmin <= sigma <= s_tmax else 0.0
        sigma_hat = sigma * (1.0 + gamma)
        if gamma > 0:
            x = x + s_noise * noise(x) * math.sqrt(sigma_hat**2 - sigma**2)
        denoised = denoise(x, sigma_hat, sigma)
        restored = restore(denoised, sigma, sigma_next)
        x = x + (sigma_next - sigma_hat) * (x - restored) / sigma_hat
        if on_step is not None:
            on_step(Step(index, sigma, sigma_hat, sigma_next, denoised, restored, x))
    return x


@torch.no_grad()
def sample_dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,
    eta: float = 1.0,
    s_noise: float = 1.003,
    restore_guidance: float = 0.0,
    x_center: Tensor | None = None,
    restore_sigma_min: float = 0.05,
    on_step: OnStep | None = None,
) -> Tensor:
    """The sampled latent (B, C, h, w): second-order multistep solver, for few steps (`karras_sigmas`).

    Args:
        denoise, x, sigmas, restore_guidance, x_center, restore_sigma_min, on_step: as in `sample_edm`.
        noise: drawn from at the middle steps only, and only when `eta` > 0.
        eta: 1 is the SDE, 0 the ODE.
        s_noise: factor on the noise.

    Raises:
        ValueError: fewer than two sigmas, or `restore_guidance` > 0 without `x_center`.
    """
    levels = _levels(sigmas)
    restore = _restoration(restore_guidance, x_center, restore_sigma_min)
    previous: Tensor | None = None
    h_previous = 0.0
    for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
        denoised = denoise(x, sigma, sigma)
        restored = restore(denoised, sigma, sigma_next)
        if sigma_next == 0.0:
            x = restored
        else:
            h = math.log(sigma / sigma_next)
            target = restored
            if previous is not None:
                target = restored + (restored - previous) * (h / (2.0 * h_previous))
            x = (sigma_next / sigma) * math.exp(-eta * h) * x - math.expm1(-h - eta * h) * target
            if previous is not None and eta > 0:
                x = x + noise(x) * sigma_next * math.sqrt(-math.expm1(-2.0 * eta * h)) * s_noise
            previous, h_previous = restored, h
        if on_step is not None:
            on_step(Step(index, sigma, sigma, sigma_next, denoised, restored, x))
    return x


@torch.no_grad()
def sample_lcm(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: NoiseSource,
    s_noise: float = 1.0,
    restore_guidance: float = 0.0,
    x_center: Tensor | None = None,
    restore_sigma_min: float = 0.05,
    on_step: OnStep | None = None,
) -> Tensor:
    """The sampled latent (B, C, h, w) of a prior that goes from any level to the end at once: LCM, DMD2, their LoRAs.

    Every step takes the network's estimate and puts fresh noise of the next level onto it.

    Args:
        denoise, x, sigmas, restore_guidance, x_center, restore_sigma_min, on_step: as in `sample_edm`.
        noise: drawn from before every step but the first.
        s_noise: factor on the noise.

    Raises:
        ValueError: fewer than two sigmas, or `restore_guidance` > 0 without `x_center`.
    """
    levels = _levels(sigmas)
    restore = _restoration(restore_guidance, x_center, restore_sigma_min)
    for index, (sigma, sigma_next) in enumerate(pairwise(levels)):
        denoised = denoise(x, sigma, sigma)
        restored = restore(denoised, sigma, sigma_next)
        x = restored if sigma_next == 0.0 else restored + sigma_next * s_noise * noise(restored)
        if on_step is not None:
            on_step(Step(index, sigma, sigma, sigma_next, denoised, restored, x))
    return x


def _levels(sigmas: Tensor) -> list[float]:
    if len(sigmas) < 2:
        raise ValueError(f"{len(sigmas)} sigmas make no step; give two or more, the last one 0")
    levels: list[float] = sigmas.tolist()
    return levels


def _restoration(
    restore_guidance: float, x_center: Tensor | None, restore_sigma_min: float
) -> Callable[[Tensor, float, float], Tensor]:
    """What both samplers do to an estimate: (denoised, sigma, sigma_next) → the estimate that the step uses."""
    if restore_guidance <= 0:
        return lambda denoised, _sigma, _sigma_next: denoised
    if x_center is None:
        raise ValueError(f"restore_guidance={restore_guidance} needs x_center; give it, or use 0 (off)")

    def restored(denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
        if sigma_next <= restore_sigma_min:
            return denoised
        return restore_toward(denoised, x_center, sigma, restore_guidance)

    return restored
