"""Colour: how colourful a picture is, and how few colours it is made of.

Source: colourfulness from Hasler and Süsstrunk 2003, "Measuring colourfulness in natural images".
Blind spots: a sepia print is colourful by this measure; a posterised photo with noise on top has many colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PALETTE_COLOURS = 16
MAX_PIXELS = 1_000_000


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Returns the Hasler–Süsstrunk colourfulness: 0 grey, about 15 slightly, 60 quite, 110 extremely colourful.

    Args:
        rgb: (H, W, 3) uint8 at the working scale.
    """
    red, green, blue = (rgb[..., channel].astype(np.float32) for channel in range(3))
    red_green = red - green
    yellow_blue = (red + green) / 2 - blue
    spread = float(np.hypot(red_green.std(), yellow_blue.std()))
    return spread + 0.3 * float(np.hypot(red_green.mean(), yellow_blue.mean()))


def palette_share(rgb: NDArray[np.uint8]) -> float:
    """Returns the share of pixels in the 16 commonest colours (5 bits a channel), 0 to 1; graphics lie near 1.

    Args:
        rgb: (H, W, 3) uint8 at native scale (interpolation would mix colours); about 1 megapixel is looked at.
    """
    stride = max(1, int((rgb.shape[0] * rgb.shape[1] / MAX_PIXELS) ** 0.5))
    coarse = (rgb[::stride, ::stride] >> 3).astype(np.int32)
    code = (coarse[..., 0] << 10) | (coarse[..., 1] << 5) | coarse[..., 2]
    counts = np.bincount(code.reshape(-1), minlength=2**15)
    return float(np.sort(counts)[-PALETTE_COLOURS:].sum() / max(1, code.size))
