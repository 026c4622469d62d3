from __future__ import annotations

import numpy as np
import pytest

from supir_degrade.noise import add_gaussian_noise, add_poisson_noise

GRAY = np.full((256, 256, 3), 0.5, np.float32)


def _two_levels(levels: tuple[int, int]) -> np.ndarray:
    image = np.empty((256, 512, 3), np.float32)
    image[:, :256], image[:, 256:] = levels[0] / 255, levels[1] / 255
    return image


def test_gaussian_noise_has_its_sigma_and_independent_channels() -> None:
    noise = add_gaussian_noise(GRAY, sigma=12, gray=False, seed=3) - GRAY
    assert noise.dtype == np.float32
    assert noise.std() * 255 == pytest.approx(12, rel=0.01)
    assert noise.mean() * 255 == pytest.approx(0, abs=0.15)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("add", [add_gaussian_noise, add_poisson_noise])
def test_gray_noise_is_equal_in_all_channels_of_a_coloured_picture(add: object) -> None:
    strength = {"sigma": 10} if add is add_gaussian_noise else {"scale": 0.1}
    coloured = np.broadcast_to(np.array([0.3, 0.5, 0.6], np.float32), (64, 64, 3)).copy()
    coloured[:32] *= np.float32(0.9)
    noise = add(coloured, **strength, gray=True, seed=1) - coloured
    assert noise.std() > 0.01
    np.testing.assert_allclose(noise[..., 0], noise[..., 2], atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_poisson_variance_is_level_over_photons_times_scale_squared(scale: float) -> None:
    # Two levels give two photons at full white; 102 / 255 keeps 2.4 sigma of headroom below the clip.
    image = _two_levels((0, 102))
    noise = (add_poisson_noise(image, scale=0.1, gray=False, seed=5) - image)[:, 256:]
    assert noise.var() == pytest.approx(0.1**2 * (102 / 255) / 2, rel=0.02)
    noisy = add_poisson_noise(image, scale=scale, gray=False, seed=5)
    assert noisy.min() == 0
    assert noisy.max() == 1
    np.testing.assert_array_equal(noisy[:, :256], 0)


def test_poisson_photons_follow_the_number_of_levels() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.float32)[:, None, None] / 255, 600, axis=1).repeat(3, axis=2)
    noise = add_poisson_noise(ramp, scale=0.5, gray=False, seed=2) - ramp
    assert noise[128].var() == pytest.approx(0.25 * (128 / 255) / 256, rel=0.1)


def test_noise_is_the_same_for_the_same_seed_only() -> None:
    first = add_poisson_noise(GRAY, scale=1, gray=False, seed=8)
    np.testing.assert_array_equal(first, add_poisson_noise(GRAY, scale=1, gray=False, seed=8))
    assert (first != add_poisson_noise(GRAY, scale=1, gray=False, seed=9)).any()


def test_noise_leaves_its_input_alone() -> None:
    image = GRAY.copy()
    add_gaussian_noise(image, sigma=30, gray=False, seed=0)
    add_poisson_noise(image, scale=3, gray=True, seed=0)
    np.testing.assert_array_equal(image, GRAY)
