"""Colour: how colourful a picture is, and how few colours it is made of.

Source: colourfulness from Hasler and Süsstrunk 2003, "Measuring colourfulness in natural images".
Blind spots: a sepia print is colourful by this measure; a posterised photo with noise on top has many colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PALETTE_COLOURS = 16
MAX_PIXELS = 250_000  # about so many are looked at, evenly spread


def sampled_colours(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns pixels of the picture as they are, evenly spread, at most about a quarter of a million, (h, w, 3).

    Args:
        rgb: (H, W, 3) uint8 at native scale; interpolation would mix colours, so single pixels are taken.
    """
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, (MAX_PIXELS / (height * width)) ** 0.5)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Returns the Hasler–Süsstrunk colourfulness: 0 grey, about 15 slightly, 60 quite, 110 extremely colourful.

    Args:
        rgb: (h, w, 3) uint8 from `sampled_colours`.
    """
    red, green, blue = (channel.astype(np.float32) for channel in np.moveaxis(rgb, 2, 0))
    red_green = red - green
    yellow_blue = (red + green) / 2 - blue
    spread = float(np.hypot(red_green.std(), yellow_blue.std()))
    return spread + 0.3 * float(np.hypot(red_green.mean(), yellow_blue.mean()))


def palette_share(rgb: NDArray[np.uint8]) -> float:
    """Returns the share of pixels in the 16 commonest colours (5 bits a channel), 0 to 1; graphics lie near 1.

    Args:
        rgb: (h, w, 3) uint8 from `sampled_colours`.
    """
    coarse = (rgb >> 3).astype(np.int32)
    code = (coarse[..., 0] << 10) | (coarse[..., 1] << 5) | coarse[..., 2]
    counts = np.bincount(code.reshape(-1), minlength=2**15)
    return float(np.partition(counts, -PALETTE_COLOURS)[-PALETTE_COLOURS:].sum() / max(1, code.size))
