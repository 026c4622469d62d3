"""Traces of enlarging: interpolated pixels are smoother at some phases than at others, with the enlargement's period.

The third difference along a line is large where a pixel was not interpolated from near neighbours and small where
it was. Averaged over many lines, its magnitude is a profile that swings with a period of s / gcd px after enlarging by
s; the swing's depth, as a share of the mean, is the score. Even differences are used because the two phases of a
twofold enlargement with half-pixel centres mirror each other: odd-length differences see no change between them.
Doubling is read on the fifth difference too: on a soft picture the third mostly sees what was there before, and the
fifth what interpolation left near the highest frequencies, if no later compression took it.

Source: Gallagher 2005, "Detection of linear and cubic interpolation in JPEG compressed images"; Popescu and Farid 2005,
"Exposing digital forgeries by detecting traces of resampling". Ours: the third difference, tiles, and both axes.
Cameras interpolate by 2 as well, on the mosaic's own grid: there an even number of pixels in a line holds as many
samples as interpolated ones, and both differences are blind to it. A JPEG's halved chroma touches all but luma.
Firmware does more to squares of 2 x 2 px, and files of cameras of 1999 to 2010 show traces up to 0.07. What tells
them is that an enlargement has no detail beyond half of its sampling rate: where detail goes on
(`probes.resolution`), a third of the trace counts. Pixels that were only repeated keep all detail; they are seen on
the first difference, which is 0 within every pair.
Blind spots: noise added after enlarging hides the trace, as does a reduction after it; a picture that was reduced by
an uneven factor shows a trace too (up to 0.07 in `resampling_trace`); factors near 1 or above 5; nets that enlarge;
enlarging by 2 on the samples' own grid. A camera that enlarges (digital zoom) is told as enlarged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK_PX = 8
MARGIN_PX = 4
EMPTY = 0.05  # grey levels added to the mean: rounding noise of an empty picture is no trace
# Shares of the swings of 8 px and of 8/3 px; the larger is what JPEG blocks put into the swing of 2 px. The narrower
# the blocks' rims, the more of the second: in a soft picture, next to nothing else has a third difference.
BLOCK_LEAK = (0.05, 0.25)
FIFTH_BLOCK_LEAK = (0.25, 0.0)
NO_PAIRS = 0.1  # the first difference of photos swings by less
ENLARGED_RATIO, NATIVE_RATIO = (
    0.55,
    0.75,
)  # effective ratios: all of the trace counts up to the one, from the other on …
NATIVE_WEIGHT = 1 / 3  # … so much of it
FIFTH_GAIN = 3.0  # the fifth difference swings so much less where both see the same enlargement
NEARBY = (0.4, 0.5)  # cycles per pixel: what swings here by chance also does at 0.5 …
CLEAR_OF_BLOCKS = 0.3  # … where it is this far, in eighths of a cycle, from what blocks do
LOWEST_FREQUENCY = 0.2  # cycles per pixel
SMOOTH_PX = 9
BACKGROUND_BINS = 12
BACKGROUNDS = 2.0  # a peak counts by what stands above so many times its surroundings


class ResamplingTraces(NamedTuple):
    """Depth of the swing as a share of its mean, the smaller of both axes; 0 none, 1 every other pixel is exact.

    Args:
        doubling: at a period of 2 px, in the third difference or three times that in the fifth, weighted by the lack of
            detail, or in the first what is beyond 0.1; at most 1: enlarged by 2, by any kernel, nearest neighbour
            included.
        other: at the strongest period between 2 and 5 px that JPEG blocks do not share (8 px and its parts).
    """

    doubling: float
    other: float


class DifferenceProfiles(NamedTuple):
    """Mean magnitudes of differences by position, (2 axes, N, T - 8) each, in grey levels.

    Args:
        first: of neighbouring pixels.
        third: of the third difference, which spans four pixels.
        fifth: of the fifth, which spans six.
    """

    first: NDArray[np.float64]
    third: NDArray[np.float64]
    fifth: NDArray[np.float64]


def difference_profiles(tiles: NDArray[np.uint8]) -> DifferenceProfiles:
    """Returns the profiles of all three differences, along the rows and down the columns.

    Args:
        tiles: (N, T, T) uint8 luma at native scale, from `probes.tiles`.
    """
    side = tiles.shape[2]
    shape = (2, len(tiles), side - 2 * MARGIN_PX)
    profiles = DifferenceProfiles(np.empty(shape), np.empty(shape), np.empty(shape))
    for number, tile in enumerate(tiles):
        pixels = tile.astype(np.int16).reshape(-1)
        for axis, stride in enumerate((1, side)):
            first = _differences(pixels, stride, 1)
            third = _differences(first, stride, 2)
            profiles.first[axis, number] = _mean_magnitudes(first, axis, side, 1)
            profiles.third[axis, number] = _mean_magnitudes(third, axis, side, 3)
            profiles.fifth[axis, number] = _mean_magnitudes(_differences(third, stride, 2), axis, side, 5)
    return profiles


def _differences(values: NDArray[np.int16], stride: int, times: int) -> NDArray[np.int16]:
    """Returns the repeated differences of each value and the one `stride` further, as many values fewer."""
    for _ in range(times):
        values = values[stride:] - values[:-stride]
    return values


def _mean_magnitudes(values: NDArray[np.int16], axis: int, side: int, order: int) -> NDArray[np.float64]:
    """Returns the means across the lines, by the place of the pixel before the middle, without the tile's margin."""
    import cv2

    # What reached from one row of the tile into the next lies in the margin.
    magnitude = np.zeros(side * side, np.int16)
    np.abs(values, out=magnitude[: len(values)])
    # Sums of at most 256 differences are exact in 32 bits, and quicker than means.
    total = cv2.reduce(magnitude.reshape(side, side), axis, cv2.REDUCE_SUM, dtype=cv2.CV_32F).reshape(-1)
    first = MARGIN_PX - order // 2
    return total[first : first + side - 2 * MARGIN_PX].astype(np.float64) / side


def resampling_traces(profiles: DifferenceProfiles, effective_ratio: float) -> ResamplingTraces:
    """Returns the traces of enlarging, each 0 to 1; NaN without tiles.

    Args:
        profiles: from `difference_profiles`.
        effective_ratio: share of the sampling rate that carries detail, from `probes.resolution`; NaN weighs as 1.
    """
    first, third, fifth = profiles
    if third.shape[1] == 0:
        return ResamplingTraces(float("nan"), float("nan"))
    between = min(_doubling(axis, BLOCK_LEAK) for axis in third)
    in_soft = FIFTH_GAIN * min(_doubling(axis, FIFTH_BLOCK_LEAK) for axis in fifth)
    repeated = min(_doubling(axis, BLOCK_LEAK) for axis in first) - NO_PAIRS
    detail = 1.0 if np.isnan(effective_ratio) else effective_ratio
    weight = float(np.interp(detail, (ENLARGED_RATIO, NATIVE_RATIO), (1.0, NATIVE_WEIGHT)))
    doubling = min(1.0, max(0.0, weight * min(1.0, max(between, in_soft)), repeated))
    other = np.minimum(*(_other_peaks(axis) for axis in third))
    return ResamplingTraces(doubling, max(0.0, float(other.max())))


def _doubling(profiles: NDArray[np.float64], block_leak: tuple[float, float]) -> float:
    by_phase = profiles.reshape(len(profiles), -1, BLOCK_PX).mean(axis=1)
    swing = np.fft.rfft(by_phase, axis=1) / BLOCK_PX
    # Tile by tile: where a picture's side is odd, the phase drifts from tile to tile, and a sum would cancel.
    power = (swing[:, BLOCK_PX // 2].real ** 2 - _chance_power(profiles)).mean()
    double = np.sqrt(max(0.0, power))
    blocks = 2 * np.abs(swing[:, (1, 3)].mean(axis=0))
    return float((double - np.max(block_leak * blocks)) / (swing[:, 0].real.mean() + EMPTY))


def _chance_power(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the power that each tile's profile has near a period of 2 px without any trace, (N,)."""
    length = profiles.shape[1]
    frequency = np.fft.rfftfreq(length)
    in_eighths = frequency * BLOCK_PX
    used = (frequency >= NEARBY[0]) & (frequency < NEARBY[1])
    used &= np.abs(in_eighths - np.rint(in_eighths)) >= CLEAR_OF_BLOCKS
    power = np.abs(np.fft.rfft(profiles, axis=1)[:, used] / length) ** 2
    mean: NDArray[np.float64] = np.median(power, axis=1) / np.log(2)  # of an exponential distribution
    return mean


def _other_peaks(profile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns by how much each frequency's swing stands above its surroundings; its peak spread to both neighbours."""
    import cv2

    length = profile.shape[1]
    swing = profile - cv2.blur(profile, (SMOOTH_PX, 1), borderType=cv2.BORDER_REPLICATE)
    window = np.hanning(length)
    depth = (
        np.abs(np.fft.rfft(swing * window, axis=1)).mean(axis=0) * 2 / window.sum() / (profile.mean() + EMPTY)
    )
    frequency = np.fft.rfftfreq(length)
    padded = np.pad(depth, BACKGROUND_BINS, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * BACKGROUND_BINS + 1)
    above = depth - BACKGROUNDS * np.median(around, axis=1)
    in_eighths = frequency * BLOCK_PX
    above[np.abs(in_eighths - np.rint(in_eighths)) < 1.6 * BLOCK_PX / length] = 0.0
    above[frequency < LOWEST_FREQUENCY] = 0.0
    return np.maximum(above, np.maximum(np.roll(above, 1), np.roll(above, -1)))
