"""What a sensor does to a picture: one colour a pixel, photon and read-out noise, and the guess at the other two.

Place in the flow: noise of the recipe's `camera_noise` step. Unlike noise added to RGB it is stronger in the
shadows once gamma-encoded, spreads over neighbours and comes with false colour at edges.
Source: noise model of Foi et al. 2008; its strengths after Brooks et al. (arXiv 1811.11127), §3.1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from supir_degrade.linear_light import to_gamma, to_linear, to_uint16

Image = NDArray[np.float32]
PAD_PX = 2  # even, so that the mosaic keeps its phase


def add_camera_noise(image: Image, *, shot: float, read_sigma: float, seed: int) -> Image:
    """Returns the image as a Bayer sensor with that noise would have taken it, demosaiced bilinearly by OpenCV.

    Args:
        image: float32 (H, W, 3) RGB, gamma-encoded; clipped to 0..1.
        shot: variance of the photon noise of full white, in linear light; 1 / shot photons saturate a pixel.
        read_sigma: standard deviation of the read-out noise, in linear light, of 1.
        seed: of the noise.
    """
    light = to_linear(mosaic(image))
    normal = np.random.Generator(np.random.SFC64(seed)).standard_normal(light.shape, dtype=np.float32)
    light += normal * np.sqrt(np.float32(shot) * light + np.float32(read_sigma**2))
    return to_gamma(demosaic(to_uint16(light)))


def mosaic(image: Image) -> Image:
    """Returns the (H, W) samples of an RGGB sensor: red at even rows and columns, blue at odd ones."""
    raw = image[..., 1].copy()
    raw[::2, ::2] = image[::2, ::2, 0]
    raw[1::2, 1::2] = image[1::2, 1::2, 2]
    return raw


def demosaic(raw: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Returns the (H, W, 3) RGB picture of (H, W) RGGB samples: bilinear, the border mirrored."""
    padded = cv2.copyMakeBorder(raw, PAD_PX, PAD_PX, PAD_PX, PAD_PX, cv2.BORDER_REFLECT_101)
    # OpenCV names a pattern by its second row and column: this BG is RGGB.
    colour: NDArray[np.uint16] = cv2.cvtColor(padded, cv2.COLOR_BayerBG2RGB)
    return colour[PAD_PX:-PAD_PX, PAD_PX:-PAD_PX]
