"""What a degradation estimator learns to tell from an LQ image: four numbers, computed from its trace alone.

Place in the flow: `pairs --estimate-targets` writes them into the `scores` of the LQ's index rows. The law it
keeps: no picture is read, so targets can be made for any trace, old ones included.

Legend: ω is a spatial frequency, radians per pixel of the input; the canvas is the picture at some step.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from supir_degrade import trace as ops
from supir_degrade.noise_target import noise_sigma
from supir_degrade.trace import Interpolation, Op, Trace

NUM_DIRECTIONS = 8
NUM_FREQUENCIES = 1025
NO_JPEG_QUALITY = 100.0

Frequencies = NDArray[np.float64]


def estimate_targets(trace: Trace) -> dict[str, float]:
    """Returns the targets of one degraded image by score name; a clean sample has 0, 0, 100 and 1.

    Args:
        trace: the operations.

    Returns:
        `target.blur_sigma_px`: sigma of the Gaussian that blurs as much as all blurs and resamplings together, px
            of the input, see `blur_sigma_px`.
        `target.noise_sigma`: standard deviation of the noise that is left in middle gray, see `noise_sigma`.
        `target.jpeg_quality`: the lowest quality of its JPEG files; 100 where there is none. WebP, AVIF and
            video have other scales and do not count.
        `target.scale`: side of the input / side before the last enlargement, whatever follows it; at least 1, and 1
            where nothing is enlarged.
    """
    qualities = [op.quality for op in trace.ops if isinstance(op, ops.Jpeg)]
    return {
        "target.blur_sigma_px": blur_sigma_px(trace),
        "target.noise_sigma": noise_sigma(trace),
        "target.jpeg_quality": float(min(qualities, default=NO_JPEG_QUALITY)),
        "target.scale": scale(trace),
    }


def blur_sigma_px(trace: Trace) -> float:
    """Returns the sigma of the Gaussian that is as wide as the trace's whole transfer function, px of the input.

    The transfer of every kernel and every resampling is multiplied along eight directions. In each, the Gaussian
    is matched at the lowest frequency where the product falls to one half (MTF50), or at π where it never does;
    the result is the root mean square over the directions. Gaussian kernels so add in quadrature, an anisotropic
    one counts sqrt((σx² + σy²) / 2), and an ideal low-pass filter of cutoff ω counts sqrt(2 ln 2) / ω.

    Limits: sharpening does not count, nor do codecs and autoencoders; a resampling counts with the mean over its
    phases, and what it folds back below the new Nyquist frequency is taken for lost.
    """
    omega = np.linspace(0, math.pi, NUM_FREQUENCIES)
    angles = np.arange(NUM_DIRECTIONS) * (math.pi / NUM_DIRECTIONS)
    x, y = np.cos(angles)[:, None] * omega, np.sin(angles)[:, None] * omega
    transfer = np.ones_like(x)
    height, width = trace.height, trace.width
    for op in trace.ops:
        stretched = (x * (trace.width / width), y * (trace.height / height))
        transfer *= _transfer(op, stretched, (height, width))
        if isinstance(op, ops.Resize):
            height, width = op.height, op.width
    return math.sqrt(float(np.mean([_matched_sigma(omega, along) ** 2 for along in transfer])))


def scale(trace: Trace) -> float:
    """Returns input side / side before the last resampling that enlarges, whatever follows it; 1 where none does."""
    area = before = trace.height * trace.width
    for op in trace.ops:
        if isinstance(op, ops.Resize):
            if op.height * op.width > area:
                before = area
            area = op.height * op.width
    return max(1.0, math.sqrt(trace.height * trace.width / before))


def _transfer(
    op: Op, frequencies: tuple[Frequencies, Frequencies], size: tuple[int, int]
) -> Frequencies | float:
    """The transfer function of one operation at (x, y) frequencies, radians per pixel of the canvas."""
    from supir_degrade import kernels

    match op:
        case ops.Sinc():
            # The ideal filter that the kernel stands for: its ripples cross one half more than once.
            return (np.hypot(*frequencies) <= op.cutoff).astype(np.float64)
        case ops.Blur() | ops.Defocus() | ops.Motion():
            return _kernel_transfer(kernels.kernel_of(op), frequencies)
        case ops.Moire():
            return np.exp(-0.5 * op.blur_sigma_px**2 * np.hypot(*frequencies) ** 2)
        case ops.Resize():
            x, y = frequencies
            return _resize_transfer(x, op.width / size[1], op.interpolation) * _resize_transfer(
                y, op.height / size[0], op.interpolation
            )
        case _:
            return 1.0


def _kernel_transfer(
    kernel: NDArray[np.float32], frequencies: tuple[Frequencies, Frequencies]
) -> Frequencies:
    """The real transform of a point-symmetric (k, k) kernel."""
    axis = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
    x, y = frequencies
    across = np.exp(1j * x[..., None] * axis)
    down = np.exp(1j * y[..., None] * axis)
    transfer: Frequencies = np.einsum("...r,rc,...c->...", down, kernel, across, optimize=True).real
    return transfer


def _resize_transfer(omega: Frequencies, factor: float, interpolation: Interpolation) -> Frequencies | float:
    """The transfer of resampling one axis by `factor`: its kernel's, and nothing above the new Nyquist frequency."""
    if factor == 1:
        return 1.0
    within = np.abs(omega) <= math.pi * min(factor, 1.0) + 1e-9
    if interpolation == "area" and factor < 1:
        return within * np.sinc(omega / (2 * math.pi * factor))
    if interpolation in ("bicubic", "lanczos"):
        return within * np.interp(np.abs(omega), *_transfer_table(interpolation))
    return within * np.sinc(omega / (2 * math.pi)) ** 2


@cache
def _transfer_table(interpolation: Literal["bicubic", "lanczos"]) -> tuple[Frequencies, Frequencies]:
    """Frequencies 0 to π and the transform of OpenCV's kernel, Keys' with a = -0.75 or Lanczos', by midpoints."""
    omega = np.linspace(0, math.pi, NUM_FREQUENCIES)
    t = (np.arange(512) + 0.5) / 128
    kernel = np.sinc(t) * np.sinc(t / 4)
    if interpolation == "bicubic":
        a = -0.75
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((t - 5) * t + 8) * t * a - 4 * a
        kernel = np.where(t < 1, near, np.where(t < 2, far, 0))
    return omega, np.cos(omega[:, None] * t) @ kernel / 64


def _matched_sigma(omega: Frequencies, transfer: Frequencies) -> float:
    below = np.flatnonzero(transfer <= 0.5)
    if not below.size:
        return math.sqrt(max(0.0, -2 * math.log(transfer[-1]))) / math.pi
    index = int(below[0])
    high, low = transfer[index - 1], transfer[index]
    crossing = omega[index - 1] + (omega[index] - omega[index - 1]) * (high - 0.5) / (high - low)
    return math.sqrt(2 * math.log(2)) / float(crossing)
