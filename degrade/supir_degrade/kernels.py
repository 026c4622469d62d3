"""Blur kernels: the Gaussian family of Real-ESRGAN, sinc, disk and line; each a (k, k) array of sum one.

Place in the flow: `filters` convolves with them; their parameters come from the trace.
Source: Real-ESRGAN (arXiv 2107.10833) §3.1 and §3.2; generalised Gaussians after Liu et al. 2020.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

from supir_degrade.trace import Blur, Defocus, KernelKind, Motion, Sinc

Kernel = NDArray[np.float32]
LINE_SAMPLES_PER_PX = 8
DISK_SAMPLES_PER_PX = 9


def kernel_of(op: Blur | Sinc | Defocus | Motion) -> Kernel:
    """Returns the kernel that a blurring operation of a trace stands for."""
    match op:
        case Blur():
            numbers = op.model_dump(include={"sigma_x", "sigma_y", "rotation", "beta"})
            return gaussian_kernel(op.kernel, op.size, **numbers)
        case Sinc():
            return sinc_kernel(op.size, op.cutoff)
        case Defocus():
            return disk_kernel(op.radius_px)
        case Motion():
            return line_kernel(op.length_px, op.angle)


def gaussian_kernel(
    kind: KernelKind, size: int, *, sigma_x: float, sigma_y: float, rotation: float, beta: float
) -> Kernel:
    """Returns a (size, size) kernel with d = xᵀΣ⁻¹x: exp(-d/2), exp(-dᵝ/2) (gen) or 1 / (1 + dᵝ) (plateau).

    Args:
        kind: the family; the isotropic kinds have `sigma_x` = `sigma_y`.
        size: odd side, px.
        sigma_x: standard deviation along the first axis, px.
        sigma_y: the same along the second.
        rotation: angle of the first axis against the picture's x, radians.
        beta: shape of the generalised and plateau kinds.
    """
    axis = np.arange(size) - size // 2
    x, y = np.meshgrid(axis, axis)
    along = x * math.cos(rotation) + y * math.sin(rotation)
    across = y * math.cos(rotation) - x * math.sin(rotation)
    distance = (along / sigma_x) ** 2 + (across / sigma_y) ** 2
    if kind.startswith("plateau"):
        return _normalised(1 / (1 + distance**beta))
    if kind.startswith("gen"):
        return _normalised(np.exp(-0.5 * distance**beta))
    return _normalised(np.exp(-0.5 * distance))


def sinc_kernel(size: int, cutoff: float) -> Kernel:
    """Returns the (size, size) circular low-pass filter ω J₁(ωr) / (2πr), cutoff ω in radians per pixel."""
    axis = np.arange(size) - size // 2
    radius = np.hypot(*np.meshgrid(axis, axis))
    with np.errstate(divide="ignore", invalid="ignore"):
        kernel = cutoff * j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return _normalised(kernel)


def disk_kernel(radius_px: float) -> Kernel:
    """Returns the disk of that radius, each cell weighted by the share of it that the disk covers."""
    reach = math.ceil(radius_px)
    steps = np.arange(-reach - 0.5, reach + 0.5, 1 / DISK_SAMPLES_PER_PX) + 0.5 / DISK_SAMPLES_PER_PX
    inside = (np.add.outer(steps**2, steps**2) <= radius_px**2).astype(np.float64)
    side = 2 * reach + 1
    return _normalised(inside.reshape(side, DISK_SAMPLES_PER_PX, side, DISK_SAMPLES_PER_PX).sum(axis=(1, 3)))


def line_kernel(length_px: float, angle: float) -> Kernel:
    """Returns the straight line of that length through the centre, spread bilinearly over its cells.

    Args:
        length_px: length, px.
        angle: against the picture's x axis, radians.
    """
    half = length_px / 2
    positions = np.linspace(-half, half, max(2, math.ceil(length_px * LINE_SAMPLES_PER_PX)))
    reach = math.ceil(half)
    kernel = np.zeros((2 * reach + 3, 2 * reach + 3))
    x = positions * math.cos(angle) + reach + 1
    y = positions * math.sin(angle) + reach + 1
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    for d_row, d_column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (1 - np.abs(row + d_row - y)) * (1 - np.abs(column + d_column - x))
        np.add.at(kernel, (row + d_row, column + d_column), weight)
    return _normalised(kernel)


def _normalised(kernel: NDArray[np.float64]) -> Kernel:
    return (kernel / kernel.sum()).astype(np.float32)
