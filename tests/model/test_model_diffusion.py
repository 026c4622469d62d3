"""The sigma table and its uses against the formula, written out again with numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from supir_model.diffusion import (
    karras_sigmas,
    nearest_timestep,
    noised_input,
    sampling_sigmas,
    sampling_timesteps,
    scale_input,
    sigma_at,
    sigma_table,
)


def table_by_formula() -> np.ndarray:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    abar = np.cumprod(1 - betas)
    return np.sqrt((1 - abar) / abar)


def test_table_is_the_formula():
    np.testing.assert_allclose(sigma_table().numpy(), table_by_formula(), rtol=1e-6)
    assert round(float(sigma_table()[0]), 4) == 0.0292
    assert round(float(sigma_table()[999]), 4) == 14.6146


def test_fifty_steps_start_and_end_at_the_documented_sigmas():
    sigmas = [round(value, 4) for value in sampling_sigmas(50).tolist()]
    assert sigmas[:4] == [14.6146, 12.9663, 11.5428, 10.3094]
    assert sigmas[-3:] == [0.1963, 0.1345, 0.0]
    assert sampling_timesteps(50).tolist() == list(range(999, 0, -20))


@pytest.mark.parametrize(("steps", "last"), [(8, 0.3977), (100, 0.0936)])
def test_last_sigma_of_other_step_counts(steps, last):
    assert round(float(sampling_sigmas(steps)[-2]), 4) == last


@pytest.mark.parametrize("steps", [0, 1001, -3])
def test_step_counts_outside_the_table_are_refused(steps):
    with pytest.raises(ValueError, match=f"steps={steps} is outside 1..1000"):
        sampling_sigmas(steps)


def test_a_run_from_an_estimate_starts_at_the_sigma_asked_for():
    index = int(nearest_timestep(torch.tensor(0.5)))
    sigmas = sampling_sigmas(4, start_sigma=0.5)
    assert sampling_timesteps(4, index).tolist() == [index * left // 4 for left in (4, 3, 2, 1)]
    torch.testing.assert_close(sigmas[:-1], sigma_table()[sampling_timesteps(4, index)])
    assert float(sigmas[0]) == pytest.approx(0.5, rel=0.01)
    assert float(sigmas[-1]) == 0
    assert torch.equal(sampling_sigmas(7), sampling_sigmas(7, start_sigma=100.0))
    karras = karras_sigmas(4, start_sigma=0.5)
    torch.testing.assert_close(karras[[0, -2]], sigmas[[0, -2]])


def test_more_steps_than_there_are_levels_are_refused():
    with pytest.raises(ValueError, match=r"steps=3 is outside 1..2; so many levels lie below index 1"):
        sampling_sigmas(3, start_sigma=float(sigma_table()[1]))


def test_karras_sigmas_are_evenly_spaced_in_the_seventh_root():
    sigmas = karras_sigmas(8)
    assert float(sigmas[0]) == pytest.approx(14.6146, rel=1e-5)
    assert float(sigmas[-2]) == pytest.approx(0.3977, rel=1e-3)
    assert float(sigmas[-1]) == 0
    gaps = np.diff(sigmas[:-1].double().numpy() ** (1 / 7))
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=1e-4)


def test_a_sigma_snaps_to_the_nearest_entry():
    table = sigma_table()
    between = table[500] * 0.4 + table[501] * 0.6
    asked = torch.tensor([0.0, float(table[500]), float(between), 16.08])
    assert nearest_timestep(asked).tolist() == [0, 500, 501, 999]


def test_noised_input_is_the_variance_preserving_mixture():
    abar = 1 / (1 + table_by_formula() ** 2)
    latent, noise = torch.full((2, 1, 2, 2), 0.7), torch.full((2, 1, 2, 2), -1.3)
    timestep = torch.tensor([3, 900])
    expected = np.sqrt(abar[[3, 900]]) * 0.7 - np.sqrt(1 - abar[[3, 900]]) * 1.3
    np.testing.assert_allclose(noised_input(latent, noise, timestep)[:, 0, 0, 0].numpy(), expected, rtol=1e-5)


def test_sigma_at_broadcasts_over_the_batch():
    sigma = sigma_at(torch.tensor([0, 999]), ndim=4)
    assert sigma.shape == (2, 1, 1, 1)
    scaled = scale_input(torch.ones(2, 3, 1, 1), sigma)
    assert scaled[1, 2, 0, 0].item() == pytest.approx(1 / (14.6146**2 + 1) ** 0.5, rel=1e-5)
