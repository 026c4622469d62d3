from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from supir_degrade.filters import convolve, resize, unsharp_mask
from supir_degrade.kernels import gaussian_kernel


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random((48, 60, 3), dtype=np.float32)


@pytest.mark.parametrize("size", [7, 21])
def test_convolve_is_scipys_mirrored_correlation(image: np.ndarray, size: int) -> None:
    kernel = gaussian_kernel("aniso", size, sigma_x=2.5, sigma_y=0.8, rotation=0.9, beta=1)
    expected = np.stack([ndimage.correlate(image[..., c], kernel, mode="mirror") for c in range(3)], axis=-1)
    np.testing.assert_allclose(convolve(image, kernel), expected, atol=2e-6)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(31, 22), (97, 75)])
def test_resize_is_the_one_that_restorers_are_trained_with(
    image: np.ndarray, interpolation: str, height: int, width: int
) -> None:
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    expected = functional.interpolate(tensor, size=(height, width), mode=interpolation, align_corners=False)
    got = resize(image, height, width, interpolation)
    np.testing.assert_allclose(got, expected[0].permute(1, 2, 0).numpy(), atol=2e-5)


def test_area_resize_averages_the_cells_it_covers(image: np.ndarray) -> None:
    expected = image.reshape(12, 4, 15, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, 12, 15, "area"), expected, atol=1e-6)


def test_unsharp_mask_equals_the_dense_51_px_filter(image: np.ndarray) -> None:
    sigma = 0.3 * (25 - 1) + 0.8
    dense = gaussian_kernel("iso", 51, sigma_x=sigma, sigma_y=sigma, rotation=0, beta=1)
    residual = image - convolve(image, dense)
    mask = convolve((np.abs(residual) * 255 > 10).astype(np.float32), dense)
    expected = image + mask * (np.clip(image + 0.5 * residual, 0, 1) - image)
    got = unsharp_mask(image, weight=0.5, radius_px=25, threshold=10)
    np.testing.assert_allclose(got, expected, atol=2e-6)
    assert np.abs(got - image).max() > 0.1


def test_unsharp_mask_leaves_differences_below_the_threshold() -> None:
    faint = np.full((32, 32, 3), 0.5, np.float32)
    faint[::2] += 8 / 255
    np.testing.assert_array_equal(unsharp_mask(faint, weight=2, radius_px=3, threshold=10), faint)
    assert np.ptp(unsharp_mask(faint, weight=2, radius_px=3, threshold=1)) > 2 * np.ptp(faint)
