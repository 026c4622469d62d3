"""Where OpenCV's resampling looks for each new pixel, and how much it takes: its weights, written out per axis.

Place in the flow: `batch_filters.resize` sums rows and columns by them. NumPy only, so that every device uses the same
numbers. Positions are rounded to float32 where OpenCV rounds them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from supir_degrade.trace import Interpolation

Size = tuple[int, int]
Taps = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Of each of N new pixels the K old ones, 0 to old - 1, and their weights: (N, K) each."""
CUBIC_A = -0.75
NUM_LOBES = 4
LEAST_SHARE = 1e-3
"""Shares of a pixel that are not larger are left out by "area"."""


def taps(size: Size, target: Size, interpolation: Interpolation) -> tuple[Taps, Taps]:
    """Returns the taps along the rows' axis and the columns' axis.

    Args:
        size: (height, width) of the image, px.
        target: (height, width) of the result, px.
        interpolation: see `filters.resize`; "area" averages only where neither axis grows.
    """
    (height, width), (new_height, new_width) = size, target
    shrinks = new_height <= height and new_width <= width
    place = {
        "area": _shares if shrinks else _steep_ramp,
        "bilinear": _ramp,
        "bicubic": _cubic,
        "lanczos": _lanczos,
    }[interpolation]
    rows, columns = place(height, new_height), place(width, new_width)
    return _within(rows, height), _within(columns, width)


def _within(found: tuple[NDArray[np.int64], NDArray[np.floating]], old: int) -> Taps:
    index, weight = found
    return np.clip(index, 0, old - 1), weight.astype(np.float32)


def _ramp(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    pixel, beyond = _centres(old, new)
    return pixel + np.arange(2), np.concatenate((1 - beyond, beyond), axis=1)


def _steep_ramp(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Enlarging by "area": a new pixel that lies in one old pixel is that pixel; others lie between two."""
    target, factor = np.arange(new)[:, None], new / old
    pixel = np.floor(target * (1 / factor)).astype(np.int64)
    beyond = ((target + 1) - (pixel + 1) * factor).astype(np.float32)
    beyond = np.where(beyond > 0, beyond - np.floor(beyond), 0)
    return pixel + np.arange(2), np.concatenate((1 - beyond, beyond), axis=1)


def _cubic(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Keys' kernel."""
    pixel, x = _centres(old, new)
    far, near = x + 1, 1 - x
    first = ((CUBIC_A * far - 5 * CUBIC_A) * far + 8 * CUBIC_A) * far - 4 * CUBIC_A
    second = ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1
    third = ((CUBIC_A + 2) * near - (CUBIC_A + 3)) * near * near + 1
    weight = np.concatenate((first, second, third, 1 - first - second - third), axis=1)
    return pixel + np.arange(-1, 3), weight


def _lanczos(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    pixel, x = _centres(old, new)
    offset = np.arange(1 - NUM_LOBES, NUM_LOBES + 1)
    distance = x.astype(np.float64) - offset
    weight = np.sinc(distance) * np.sinc(distance / NUM_LOBES)
    return pixel + offset, weight / weight.sum(axis=1, keepdims=True)


def _shares(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Means over the old pixels, whole and in part, that lie under a new one."""
    ratio = 1 / (new / old)
    start = np.arange(new)[:, None] * ratio
    end = np.minimum(start + ratio, old)
    pixel = np.floor(start).astype(np.int64) + np.arange(int(np.ceil(ratio)) + 1)
    overlap = np.minimum(end, pixel + 1) - np.maximum(start, pixel)
    return pixel, np.where(overlap > LEAST_SHARE, overlap, 0) / (end - start)


def _centres(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(N, 1) each: the old pixel before each new one's centre, and how far behind it that lies, 0 to 1."""
    position = ((np.arange(new)[:, None] + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    pixel = np.floor(position)
    return pixel.astype(np.int64), position - pixel
