"""Effective resolution: which share of a picture's pixels per side carries detail, from its power spectrum.

An enlarged picture has as many pixels as a sharp one and none of the detail: its spectrum follows the
original up to the old Nyquist frequency and then falls away. A natural picture's spectrum follows a power law
(Field 1987); the probe fits that law on low frequencies, which enlarging up to four times leaves alone, and
finds where the measured spectrum parts from it.

Source: the law from Field 1987, "Relations between the statistics of natural images and the response
properties of cortical cells"; the windowed average of spectra from Welch 1967.
Blind spots: a lens or a shake that blurs everything equally looks like an enlargement, and rightly costs the
same; sharpening after enlarging hides about a tenth of the ratio; nearest-neighbour enlargement makes new
edges and is not seen; a picture without any calm part and with real noise reads lower than it is.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FIT_BAND = (0.016, 0.09)  # cycles per pixel: below what an enlargement by four leaves (0.125)
BANDS_PER_OCTAVE = 6
FALL_DB = 10.0  # the spectrum has ended where it lies this far under the law …
SIGNAL_TO_NOISE = 0.6  # … or under this share of the noise power …
VISIBLE_SIGMA = 0.5  # … or under white noise of this many grey levels (8-bit rounding is 0.29)
SLOPE_DB_PER_OCTAVE = (-7.0, -3.0)  # what natural scenes show; a steeper fit means a blurred picture


def effective_ratio(tiles: NDArray[np.uint8], noise_sigma: float) -> float:
    """Returns the share of the sampling rate that carries detail: 1 native, about 1/s after enlarging by s.

    Args:
        tiles: (N, T, T) uint8 luma at native scale, from `probes.tiles`.
        noise_sigma: the picture's noise in grey levels, from `probes.noise`.

    NaN without tiles and for a picture without any contrast.
    """
    if len(tiles) == 0:
        return float("nan")
    tile_px = tiles.shape[1]
    window = np.hanning(tile_px).astype(np.float32)
    power = _mean_spectrum(tiles, window)
    frequency = np.linspace(0.0, 0.5, tile_px // 2 + 1)
    centre, band = _octave_bands(frequency, power)
    if not band.max() > 0:
        return float("nan")
    noise = min(noise_sigma**2 * float((window**2).sum()), float(band.min()))
    floor = max(SIGNAL_TO_NOISE * noise, VISIBLE_SIGMA**2 * float((window**2).sum()))
    margin_db = _margin(centre, band - noise, floor)
    return _first_crossing(centre, margin_db)


def _mean_spectrum(tiles: NDArray[np.uint8], window: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the power spectrum of a line, 0 to half a cycle per pixel, over every second row and column."""
    import cv2

    length = tiles.shape[1]
    total = np.zeros(length // 2 + 1)
    for tile in tiles:
        for lines in (tile[::2], cv2.transpose(tile)[::2]):
            flattened = lines.astype(np.float32)
            flattened -= cv2.reduce(flattened, 1, cv2.REDUCE_AVG)
            flattened *= window
            packed = cv2.dft(flattened, flags=cv2.DFT_ROWS)  # Re 0, Re 1, Im 1, … Re of the last
            packed *= packed
            power = cv2.reduce(packed, 0, cv2.REDUCE_AVG)[0]
            total[0] += power[0]
            total[1:-1] += power[1:-1:2] + power[2:-1:2]
            total[-1] += power[-1]
    return total / (2 * len(tiles))


def _octave_bands(
    frequency: NDArray[np.float64], power: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    num_bands = int(np.log2(0.5 / FIT_BAND[0]) * BANDS_PER_OCTAVE)
    edges = np.geomspace(FIT_BAND[0], 0.5, num_bands + 1)
    inside = [(frequency >= low) & (frequency <= high) for low, high in pairwise(edges)]
    filled = [number for number, mask in enumerate(inside) if mask.any()]
    centre = np.sqrt(edges[:-1] * edges[1:])[filled]
    return centre, np.array([power[inside[number]].mean() for number in filled])


def _margin(centre: NDArray[np.float64], signal: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Returns by how many dB each band stands above the point where detail counts as ended."""
    octave = np.log2(centre)
    level_db = 10 * np.log10(np.maximum(signal, 1e-9))
    fitted = (centre >= FIT_BAND[0]) & (centre <= FIT_BAND[1])
    slope = float(np.clip(np.polyfit(octave[fitted], level_db[fitted], 1)[0], *SLOPE_DB_PER_OCTAVE))
    offset = float((level_db - slope * octave)[fitted].mean())
    above_law = level_db - (slope * octave + offset) + FALL_DB
    result: NDArray[np.float64] = np.minimum(above_law, level_db - 10 * np.log10(floor))
    return result


def _first_crossing(centre: NDArray[np.float64], margin_db: NDArray[np.float64]) -> float:
    ended = np.flatnonzero((margin_db < 0) & (centre > 0.05))
    if len(ended) == 0:
        return 1.0
    after = int(ended[0])
    before = max(after - 1, 0)
    fall = margin_db[before] - margin_db[after]
    step = float(np.clip(margin_db[before] / fall, 0.0, 1.0)) if fall > 0 else 0.0
    octave = np.log2(centre[before]) + step * np.log2(centre[after] / centre[before])
    return min(1.0, 2.0 * float(2.0**octave))
