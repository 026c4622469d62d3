"""The samplers on a model whose answer is known: data N(0, s²), denoised = x s² / (s² + sigma²)."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from supir_model.diffusion import karras_sigmas, sampling_sigmas
from supir_model.guidance import LinearScale
from supir_model.sampler import (
    generator_noise,
    restore_toward,
    sample_dpmpp_2m_sde,
    sample_edm,
    sample_lcm,
    start_latent,
)

DATA_STD = 0.5


def gaussian(x: torch.Tensor, sigma_hat: float, sigma: float) -> torch.Tensor:
    return x * DATA_STD**2 / (DATA_STD**2 + sigma_hat**2)


def no_noise(x: torch.Tensor) -> torch.Tensor:
    raise AssertionError("drew noise where none is due")


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_edm_without_churn_converges_to_the_exact_flow():
    sigmas = sampling_sigmas(1000)
    x = start_latent(unit(1, 2, 4, 4), sigmas)
    result = sample_edm(gaussian, x, sigmas, noise=no_noise, s_churn=0.0)
    exact = x * DATA_STD / math.sqrt(DATA_STD**2 + float(sigmas[0]) ** 2)
    torch.testing.assert_close(result, exact, rtol=0.02, atol=0)


def test_dpmpp_ode_is_ten_times_nearer_to_the_exact_flow_than_euler():
    sigmas = karras_sigmas(20)
    x = start_latent(unit(1, 2, 4, 4), sigmas)
    exact = x * math.sqrt((DATA_STD**2 + float(sigmas[-2]) ** 2) / (DATA_STD**2 + float(sigmas[0]) ** 2))
    second = sample_dpmpp_2m_sde(gaussian, x, sigmas[:-1], noise=no_noise, eta=0.0)
    first = sample_edm(gaussian, x, sigmas[:-1], noise=no_noise, s_churn=0.0)
    errors = [float((result / exact - 1).abs().max()) for result in (second, first)]
    assert errors[0] < 2e-3
    assert errors[1] > 10 * errors[0]


def test_edm_with_churn_has_the_variance_of_its_recursion():
    sigmas = sampling_sigmas(50)
    noise = generator_noise([torch.Generator().manual_seed(1)])
    x = start_latent(unit(1, 1, 200, 200), sigmas)
    result = sample_edm(gaussian, x, sigmas, noise=noise, s_churn=5.0, s_noise=1.0)
    variance = 1 + float(sigmas[0]) ** 2
    levels = sigmas.double().numpy()
    for sigma, sigma_next in pairwise(levels):
        hat = sigma * 1.1
        variance += hat**2 - sigma**2
        slope = (1 - DATA_STD**2 / (DATA_STD**2 + hat**2)) / hat
        variance *= (1 + (sigma_next - hat) * slope) ** 2
    assert math.sqrt(variance) == pytest.approx(0.4537, abs=1e-4)
    assert float(result.std()) == pytest.approx(math.sqrt(variance), rel=0.015)


def test_dpmpp_sde_reaches_the_data_variance():
    noise = generator_noise([torch.Generator().manual_seed(1)])
    sigmas = karras_sigmas(60)
    x = start_latent(unit(1, 1, 200, 200), sigmas)
    result = sample_dpmpp_2m_sde(gaussian, x, sigmas[:-1], noise=noise, eta=1.0, s_noise=1.0)
    expected = math.sqrt(DATA_STD**2 + float(sigmas[-2]) ** 2)
    assert float(result.std()) == pytest.approx(expected, rel=0.03)


def test_noise_is_drawn_only_where_it_is_due():
    draws = []

    def noise(x: torch.Tensor) -> torch.Tensor:
        draws.append(1)
        return torch.zeros_like(x)

    x = unit(1, 1, 2, 2)
    sample_dpmpp_2m_sde(gaussian, x, karras_sigmas(6), noise=noise)
    assert len(draws) == 4  # neither at the first step nor at the last
    sample_edm(gaussian, x, sampling_sigmas(6), noise=noise, s_tmin=1.0, s_tmax=14.0)
    churned = [sigma for sigma in sampling_sigmas(6).tolist() if 1.0 <= sigma <= 14.0]
    assert 0 < len(churned) == len(draws) - 4


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_dpmpp_ends_at_its_last_estimate(eta):
    steps = []
    sigmas = karras_sigmas(6)
    noise = generator_noise([torch.Generator().manual_seed(1)] * 2)
    x = start_latent(unit(2, 3, 4, 4), sigmas)
    result = sample_dpmpp_2m_sde(gaussian, x, sigmas, noise=noise, eta=eta, on_step=steps.append)
    assert len(steps) == 6
    assert torch.equal(result, steps[-1].denoised)


def test_edm_equals_a_replay_in_numpy():
    sigmas = sampling_sigmas(7)
    noises = [unit(2, 1, 3, 3, seed=10 + step) for step in range(7)]
    center = unit(2, 1, 3, 3, seed=5)
    stream = iter(noises)
    options = {"s_churn": 3.0, "s_noise": 1.02, "s_tmin": 0.5, "s_tmax": 9.0, "restore_guidance": 2.0}
    x = start_latent(unit(2, 1, 3, 3), sigmas)
    ours = sample_edm(gaussian, x, sigmas, noise=lambda x: next(stream), x_center=center, **options)

    state, level, drawn = x.double().numpy(), sigmas.double().numpy(), 0
    for step in range(7):
        now, after = level[step], level[step + 1]
        gamma = min(3 / 7, math.sqrt(2) - 1) if 0.5 <= now <= 9 else 0.0
        hat = now * (1 + gamma)
        if gamma:
            state = state + 1.02 * noises[drawn].numpy() * math.sqrt(hat**2 - now**2)
            drawn += 1
        estimate = state * 0.25 / (0.25 + hat**2)
        if after > 0.05:
            estimate = estimate - (estimate - center.numpy()) * (now / 14.6146) ** 2
        state = state + (after - hat) * (state - estimate) / hat
    assert 0 < drawn < 7
    np.testing.assert_allclose(ours.numpy(), state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("step", "weight"), [(0, 1.0), (1, 0.62), (2, 0.39), (5, 0.104), (10, 0.015)])
def test_restoration_weights_of_the_paper_setting(step, weight):
    sigma = float(sampling_sigmas(50)[step])
    pulled = restore_toward(torch.zeros(1), torch.ones(1), sigma, restore_guidance=4.0)
    assert float(pulled) == pytest.approx(weight, abs=0.005)


def test_restoration_stops_at_the_gate_on_the_next_sigma():
    steps = []
    sigmas = torch.tensor([10.0, 1.0, 0.06, 0.04, 0.0])
    options = {"noise": no_noise, "s_churn": 0.0, "restore_guidance": 1.0, "x_center": torch.ones(1, 1, 2, 2)}
    sample_edm(gaussian, unit(1, 1, 2, 2), sigmas, on_step=steps.append, **options)
    pulled = [not torch.equal(step.denoised, step.restored) for step in steps]
    assert pulled == [True, True, False, False]


@pytest.mark.parametrize("sampler", [sample_edm, sample_dpmpp_2m_sde])
def test_restoration_without_a_center_is_refused(sampler):
    with pytest.raises(ValueError, match=r"restore_guidance=4\.0 needs x_center"):
        sampler(gaussian, unit(1, 1, 2, 2), sampling_sigmas(4), noise=no_noise, restore_guidance=4.0)


@pytest.mark.parametrize("sampler", [sample_edm, sample_dpmpp_2m_sde])
def test_a_schedule_without_a_step_and_noise_for_other_images_are_refused(sampler):
    with pytest.raises(ValueError, match="1 sigmas make no step; give two or more"):
        sampler(gaussian, unit(1, 1, 2, 2), torch.tensor([0.0]), noise=no_noise)
    with pytest.raises(ValueError, match="1 generators for 2 images; give one to each"):
        generator_noise([torch.Generator()])(unit(2, 1, 2, 2))


def test_an_image_does_not_depend_on_its_batch():
    sigmas = sampling_sigmas(6)
    start = unit(3, 2, 4, 4)

    def run(rows: list[int]) -> torch.Tensor:
        noise = generator_noise([torch.Generator().manual_seed(100 + row) for row in rows])
        return sample_edm(gaussian, start_latent(start[rows], sigmas), sigmas, noise=noise)

    together = run([0, 1, 2])
    assert torch.equal(run([2]), together[2:])
    assert not torch.equal(run([0]), together[2:])


def test_linear_scale_runs_from_start_to_end_and_beyond():
    scale = LinearScale(start=1.0, end=4.0)
    assert scale.at(14.6146) == pytest.approx(1.0)
    assert scale.at(0.0) == 4.0
    # churned first sigma of 50 steps: the documented 0.70
    assert scale.at(14.6146 * 1.1) == pytest.approx(0.70, abs=1e-6)


def test_lcm_takes_the_steps_of_diffusers_scheduler():
    from diffusers import LCMScheduler

    scheduler = LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.set_timesteps(timesteps=[999, 749, 499, 249])
    sigmas = sampling_sigmas(4)
    x = start_latent(unit(1, 2, 8, 8), sigmas)
    noise = generator_noise([torch.Generator().manual_seed(3)])
    result = sample_lcm(gaussian, x, sigmas, noise=noise)
    # the same run in the scheduler's variance-preserving scale, with the same noise
    state = x / (1 + float(sigmas[0]) ** 2) ** 0.5
    generator = torch.Generator().manual_seed(3)
    for timestep, sigma in zip(scheduler.timesteps, sigmas.tolist(), strict=False):
        latent = state * (1 + sigma**2) ** 0.5
        eps = (latent - gaussian(latent, sigma, sigma)) / sigma
        state = scheduler.step(eps, timestep, state, generator=generator).prev_sample
    torch.testing.assert_close(result, state, rtol=1e-3, atol=1e-3)
