"""A screen photographed: its sub-pixel stripes meet the camera's pixels and leave coloured bands.

Place in the flow: the recipe's `moire` step. The picture stays where it is, as after a rectification; only the
screen's grid is turned and scaled against the camera's, so that pairs stay aligned.
Source: ours; the stripes of an RGB display as a Fourier series.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from supir_degrade.linear_light import to_gamma, to_linear, to_uint16

Image = NDArray[np.float32]
NUM_HARMONICS = 2
ROW_OPEN_SHARE = 0.8  # of a screen pixel's height; the rest is black


def photograph_screen(
    image: Image, *, pitch: float, angle: float, lens_sigma: float, blur_sigma_px: float
) -> Image:
    """Returns the image as a camera sees it on a screen of vertical R, G, B stripes.

    Args:
        image: float32 (H, W, 3) RGB, gamma-encoded; clipped to 0..1.
        pitch: screen pixels a camera pixel; the bands are 1 / |pitch - n| px wide, n the nearest whole number.
        angle: of the screen against the camera, radians.
        lens_sigma: blur of the lens before the sensor, screen pixels; at least 0.15, less would need more harmonics.
        blur_sigma_px: blur after the sensor, camera pixels; 0 for none.
    """
    light = to_linear(image)
    height, width = image.shape[:2]
    step_x, step_y = pitch * math.cos(angle), pitch * math.sin(angle)
    columns = _waves(width, height, step_x, step_y, 1 / 3, lens_sigma)
    rows = 1 + sum(wave.real for wave in _waves(width, height, -step_y, step_x, ROW_OPEN_SHARE, lens_sigma))
    for channel in range(3):
        turn = [np.exp(-2j * math.pi * k * (2 * channel + 1) / 6) for k in range(1, NUM_HARMONICS + 1)]
        stripes = 1 + sum(
            wave.real * np.float32(t.real) - wave.imag * np.float32(t.imag)
            for wave, t in zip(columns, turn, strict=True)
        )
        light[..., channel] *= np.maximum(stripes * rows, 0)
    if blur_sigma_px > 0:
        light = cv2.GaussianBlur(light, (0, 0), blur_sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return to_gamma(to_uint16(light))


def _waves(
    width: int, height: int, step_x: float, step_y: float, open_share: float, lens_sigma: float
) -> list[NDArray[np.complex64]]:
    """Harmonics of one grid, (height, width) each: 1 + their real parts is the light behind a blurred slit.

    The slit is open for `open_share` of a period around phase 0; the mean is 1. The phase at (x, y) is
    x · step_x + y · step_y, in periods.
    """
    waves = []
    for k in range(1, NUM_HARMONICS + 1):
        amplitude = 2 * np.sinc(k * open_share) * math.exp(-2 * (math.pi * k * lens_sigma) ** 2)
        along = np.exp(2j * math.pi * k * step_x * np.arange(width)).astype(np.complex64)
        down = (amplitude * np.exp(2j * math.pi * k * step_y * np.arange(height))).astype(np.complex64)
        waves.append(np.multiply.outer(down, along))
    return waves
