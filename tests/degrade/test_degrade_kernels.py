from __future__ import annotations

import math
from typing import get_args

import cv2
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import j0

from supir_degrade.kernels import disk_kernel, gaussian_kernel, line_kernel, sinc_kernel
from supir_degrade.trace import KernelKind


def _moments(kernel: np.ndarray) -> tuple[float, float, float]:
    axis = np.arange(len(kernel)) - len(kernel) // 2
    x, y = np.meshgrid(axis, axis)
    return float((kernel * x * x).sum()), float((kernel * x * y).sum()), float((kernel * y * y).sum())


@pytest.mark.parametrize("kind", get_args(KernelKind))
@pytest.mark.parametrize("size", [7, 21])
def test_every_gaussian_kind_sums_to_one_and_is_largest_in_the_centre(kind: KernelKind, size: int) -> None:
    kernel = gaussian_kernel(kind, size, sigma_x=1.7, sigma_y=0.6, rotation=0.4, beta=1.3)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (size // 2, size // 2)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], rtol=1e-6)


def test_isotropic_kernel_is_the_outer_product_of_opencvs_gaussian() -> None:
    kernel = gaussian_kernel("iso", 15, sigma_x=2.1, sigma_y=2.1, rotation=0, beta=1)
    line = cv2.getGaussianKernel(15, 2.1)
    np.testing.assert_allclose(kernel, line @ line.T, rtol=1e-5)


def test_anisotropic_kernel_has_the_rotated_covariance() -> None:
    angle = 0.5
    kernel = gaussian_kernel("aniso", 41, sigma_x=3.0, sigma_y=1.5, rotation=angle, beta=1)
    cos, sin = math.cos(angle), math.sin(angle)
    expected = (
        9 * cos**2 + 2.25 * sin**2,
        (9 - 2.25) * sin * cos,
        9 * sin**2 + 2.25 * cos**2,
    )
    np.testing.assert_allclose(_moments(kernel), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "ratio"),
    [("gen_iso", math.exp(-0.5 * (4 / 2.25) ** 1.7)), ("plateau_iso", 1 / (1 + (4 / 2.25) ** 1.7))],
)
def test_generalised_and_plateau_kernels_fall_off_as_defined(kind: KernelKind, ratio: float) -> None:
    kernel = gaussian_kernel(kind, 9, sigma_x=1.5, sigma_y=1.5, rotation=0, beta=1.7)
    assert kernel[4, 6] / kernel[4, 4] == pytest.approx(ratio, rel=1e-5)


def test_sinc_kernel_is_the_transform_of_a_disk_of_frequencies() -> None:
    cutoff = 1.4
    kernel = sinc_kernel(21, cutoff)
    at_three = quad(lambda w: w * j0(3 * w), 0, cutoff)[0] / (2 * math.pi)
    at_zero = cutoff**2 / (4 * math.pi)
    assert kernel[10, 13] / kernel[10, 10] == pytest.approx(at_three / at_zero, rel=1e-5)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)


def test_disk_kernel_has_the_second_moment_of_a_disk() -> None:
    kernel = disk_kernel(4.3)
    spread = 4.3**2 / 4
    np.testing.assert_allclose(_moments(kernel), (spread, 0, spread), rtol=0.03, atol=1e-6)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5])
def test_line_kernel_has_the_second_moments_of_a_line(angle: float) -> None:
    kernel = line_kernel(15.0, angle)
    cos, sin = math.cos(angle), math.sin(angle)
    expected = np.array([cos * cos, cos * sin, sin * sin]) * 15**2 / 12
    # Spreading each point over its cells adds at most a quarter of a squared pixel to each variance.
    np.testing.assert_allclose(_moments(kernel), expected, atol=0.3 + 0.02 * 15**2 / 12)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
