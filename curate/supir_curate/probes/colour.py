"""Colour: how colourful a picture is, and how few colours it is made of.

Source: colourfulness from Hasler and Süsstrunk 2003, "Measuring colourfulness in natural images".
Blind spots: a sepia print is colourful by this measure; a posterised photo with noise on top has many colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PALETTE_COLOURS = 16
COARSE_LEVELS = 32  # of a channel: 5 bits


def colourfulness(rgb: NDArray[np.uint8]) -> float:
    """Returns the Hasler–Süsstrunk colourfulness: 0 grey, about 15 slightly, 60 quite, 110 extremely colourful.

    Args:
        rgb: (h, w, 3) uint8, single pixels of the picture as they are.
    """
    import cv2

    red, green, blue = (channel.astype(np.int16) for channel in cv2.split(rgb))
    red_green, twice_yellow_blue = red - green, red + green - 2 * blue
    (red_green_mean, red_green_std), (twice_mean, twice_std) = (
        [float(moment.item()) for moment in cv2.meanStdDev(opponent)]
        for opponent in (red_green, twice_yellow_blue)
    )
    spread = float(np.hypot(red_green_std, twice_std / 2))
    return spread + 0.3 * float(np.hypot(red_green_mean, twice_mean / 2))


def palette_share(rgb: NDArray[np.uint8]) -> float:
    """Returns the share of pixels in the 16 commonest colours (5 bits a channel), 0 to 1; graphics lie near 1.

    Args:
        rgb: (h, w, 3) uint8, single pixels of the picture as they are.
    """
    import cv2

    bins, full = [COARSE_LEVELS] * 3, [0, 256] * 3
    counts = cv2.calcHist([rgb], [0, 1, 2], None, bins, full).reshape(-1)
    commonest = np.sort(counts[counts > 0])[-PALETTE_COLOURS:]
    return float(commonest.sum()) / max(1, rgb.shape[0] * rgb.shape[1])
