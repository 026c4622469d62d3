"""How much noise a trace leaves: its power spectrum, followed through every operation after the one that added it.

Place in the flow: one of the numbers of `targets`. The law it keeps: no picture is read; the noise is that of a flat
middle gray.
Source: power through a linear filter is multiplied by its squared transfer; through a resampling y = W x it becomes
|F W F⁻¹|² applied to it, the mean over the phases of its pixels.

Legend: power is the float64 (h, w) power spectrum of a window of the picture, in the order of an FFT, its mean the
variance, of 255²; ω is radians per pixel.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from supir_degrade import trace as ops
from supir_degrade.trace import Interpolation, Op, Trace

WINDOW_PX = 256
BORDER_PX = 4  # of the input, which a resampling's kernel reaches
# Standard deviation, of 255, of photon noise of scale 1 at middle gray, for a picture that has all 256 levels.
POISSON_SIGMA = 255 * math.sqrt(0.5 / 256)
# Linear light of middle gray in sRGB, and how fast the gamma-encoded level grows with it there.
GRAY_LIGHT = ((0.5 + 0.055) / 1.055) ** 2.4
GRAY_SLOPE = 1.055 / 2.4 * GRAY_LIGHT ** (1 / 2.4 - 1)

Power = NDArray[np.float64]


def noise_sigma(trace: Trace) -> float:
    """Returns the standard deviation, of 255, of the noise that all operations leave of what was added, a pixel.

    Every noise counts as in flat middle gray, as the trace does not know the picture: Poisson noise as in a picture
    that has all 256 levels, camera noise as the mean over the demosaiced channels. Blurs, resamplings and sharpening
    change it; where sharpening has a threshold, by the share of pixels above it.

    Limits: what codecs and autoencoders take away does not count, nor does clipping at black and white; photographed
    screens count with the blur of the camera only.
    """
    height, width = trace.height, trace.width
    power = _silence(height, width)
    for op in trace.ops:
        if isinstance(op, ops.Resize):
            factors = op.height / height, op.width / width
            height, width = op.height, op.width
            power = _resized(power, factors, op.interpolation) if power.any() else _silence(height, width)
        elif isinstance(op, ops.CameraNoise):
            power = _demosaiced(power + _added_variance(op))
        else:
            power = power * _squared_gain(op, power) + _added_variance(op)
    return math.sqrt(float(power.mean()))


def _silence(height: int, width: int) -> Power:
    return np.zeros((min(height, WINDOW_PX), min(width, WINDOW_PX)))


def _added_variance(op: Op) -> float:
    """Variance of the white noise that the operation adds, of 255²; on a sensor, before the demosaicing."""
    match op:
        case ops.GaussianNoise():
            return op.sigma**2
        case ops.PoissonNoise():
            return (POISSON_SIGMA * op.scale) ** 2
        case ops.CameraNoise():
            return (255 * GRAY_SLOPE) ** 2 * (op.shot * GRAY_LIGHT + op.read_sigma**2)
        case _:
            return 0.0


def _squared_gain(op: Op, power: Power) -> Power | float:
    """What the operation multiplies the power with, at each frequency."""
    from supir_degrade.kernels import kernel_of

    if not power.any():
        return 1.0
    match op:
        case ops.Blur() | ops.Sinc() | ops.Defocus() | ops.Motion():
            return _transfer(kernel_of(op).astype(np.float64), power.shape) ** 2
        case ops.Moire():
            y, x = (2 * math.pi * np.fft.fftfreq(side) for side in power.shape)
            return np.exp(-(op.blur_sigma_px**2) * np.add.outer(y**2, x**2))
        case ops.Sharpen():
            return _sharpening_gain(op, power) ** 2
        case _:
            return 1.0


def _sharpening_gain(op: ops.Sharpen, power: Power) -> Power:
    """1 + weight · share · (1 - G): the share of pixels whose difference to the blurred picture is sharpened."""
    import cv2

    line = cv2.getGaussianKernel(2 * op.radius_px + 1, 0)[:, 0]
    residual = 1 - _transfer(np.outer(line, line), power.shape)
    sigma = math.sqrt(float((power * residual**2).mean()))
    share = math.erfc(op.threshold / (sigma * math.sqrt(2))) if sigma else 0.0
    return 1 + op.weight * share * residual


def _transfer(kernel: NDArray[np.float64], shape: tuple[int, ...]) -> Power:
    """The real transfer of a point-symmetric (k, k) kernel at the frequencies of a window of that shape."""
    axis = np.arange(len(kernel)) - len(kernel) // 2
    down, across = (np.exp(2j * math.pi * np.outer(np.fft.fftfreq(side), axis)) for side in shape)
    transfer: Power = (down @ kernel @ across.T).real
    return transfer


def _demosaiced(power: Power) -> Power:
    """The mean over the channels after an RGGB mosaic of the noise and bilinear demosaicing.

    A mosaic folds the spectrum at half the sampling frequency: green's along the diagonal, red's and blue's along
    both axes.
    """
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    square = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    half = (power.shape[0] // 2, power.shape[1] // 2)
    folded = [np.roll(power, shift, axis=(0, 1)) for shift in ((0, 0), half, (half[0], 0), (0, half[1]))]
    green = (folded[0] + folded[1]) / 4 * _transfer(cross, power.shape) ** 2
    other = sum(folded) / 16 * _transfer(square, power.shape) ** 2
    result: Power = (green + 2 * other) / 3
    return result


def _resized(power: Power, factors: tuple[float, float], interpolation: Interpolation) -> Power:
    """The power after both axes, (y, x), were resampled by their factors; the window follows up to its limit."""
    for factor in factors:
        if factor != 1:
            power = _cropped(power, max(1, int(WINDOW_PX / factor)))
            power = _resampling(len(power), factor, interpolation) @ power
        power = power.T
    return power


def _cropped(power: Power, rows: int) -> Power:
    """The power of a window of at most so many rows: its covariance up to that distance."""
    if len(power) <= rows:
        return power
    near = np.fft.fftfreq(rows, 1 / rows).round().astype(int)
    covariance = np.fft.ifft(power, axis=0)[near % len(power)]
    cropped: Power = np.fft.fft(covariance, axis=0).real
    return cropped


@lru_cache(maxsize=1)  # the second axis mostly asks for the same
def _resampling(rows: int, factor: float, interpolation: Interpolation) -> Power:
    """The (new, old) matrix that takes the power along an axis of so many rows to that after the resampling."""
    import cv2

    from supir_degrade.filters import INTERPOLATIONS

    weights = cv2.resize(np.eye(rows), None, fx=1, fy=factor, interpolation=INTERPOLATIONS[interpolation])
    border = math.ceil(BORDER_PX * factor)
    if len(weights) > 4 * border:
        weights = weights[border:-border]
    spectrum = np.fft.ifft(np.fft.fft(weights, axis=0), axis=1)
    matrix: Power = np.abs(spectrum) ** 2 * (rows / len(weights))
    return matrix
