"""Double compression: the quality of an earlier, stronger JPEG compression that a later file hides.

A JPEG's coefficients lie at multiples of their quantisation steps. Saved again at a finer quality, or as PNG, they
still do, up to rounding. For each of the lowest frequencies the histogram of the picture's own 8 x 8 DCT
coefficients is compared with combs of every step; the largest step that fits is the earlier compression's, and the
median over the frequencies, in units of the reference table, gives its libjpeg quality.

Source: Fan and de Queiroz 2003, "Identification of bitmap compression history: JPEG detection and quantizer
estimation"; Lukáš and Fridrich 2003, "Estimation of primary quantization matrix in double compressed JPEG images".
Blind spots: steps under 4 (qualities above about 85) leave no comb; resizing or any filter after the compression
erases it; a later compression as strong as the earlier one hides it; pictures without texture say nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import numpy as np
from numpy.typing import NDArray

from supir_curate.probes.compression import BLOCK_PX, LUMA_TABLE

NO_TRACE = 100.0
FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0), (2, 2), (1, 3), (3, 1))
MIN_STEP, MAX_STEP = 4, 120
LARGEST = 255  # coefficients beyond are counted here
FIT = 0.5  # mean cosine of the coefficients on the comb: 1 exact, 0 chance
MIN_COEFFICIENTS = 40
MIN_SHARE = 0.5  # of the frequencies with enough coefficients must show a comb


def first_quality(tiles: NDArray[np.uint8], phases: Collection[tuple[int, int]]) -> float:
    """Returns the libjpeg quality, 1 to 100, of the strongest compression that left its comb; 100 without one.

    Args:
        tiles: (N, T, T) uint8 luma at native scale, from `probes.tiles`.
        phases: rows and columns, 0 to 7, where blocks may begin within every tile: the stored picture's own, which
            a turn moves where its sides are no multiple of 8, and the one that `block_phase` sees.

    NaN without tiles.
    """
    if len(tiles) == 0:
        return float("nan")
    return min(_quality_at(tiles, *chosen) for chosen in phases)


def block_phase(profiles: NDArray[np.float64]) -> tuple[int, int]:
    """Returns the row and column, 0 to 7, where 8 px blocks most likely begin; (0, 0) without tiles.

    Args:
        profiles: (2, N, L) from `probes.resampling.difference_profiles`, the third, rows along axis 0.
    """
    if profiles.shape[1] == 0:
        return 0, 0
    column, row = (int(np.argmax(axis.mean(axis=0).reshape(-1, BLOCK_PX).mean(axis=0))) for axis in profiles)
    # The profile begins 4 px inside its tile; its entry i spans the pixels i - 1 to i + 2: the step is after i.
    return (row + 5) % BLOCK_PX, (column + 5) % BLOCK_PX


def _quality_at(tiles: NDArray[np.uint8], top: int, left: int) -> float:
    scales = []
    usable = 0
    for (row, column), step in zip(FREQUENCIES, _comb_steps(_histograms(tiles, top, left)), strict=True):
        usable += step is not None
        if step:
            scales.append(100.0 * step / LUMA_TABLE[row * BLOCK_PX + column])
    if not scales or len(scales) < MIN_SHARE * usable:
        return NO_TRACE
    scale = float(np.median(scales))
    return float(np.clip(5000 / scale if scale > 100 else (200 - scale) / 2, 1, 100))


def _histograms(tiles: NDArray[np.uint8], top: int, left: int) -> NDArray[np.float32]:
    """Returns, for each of the frequencies, the counts of the coefficients' magnitudes 0 to 255, (12, 256)."""
    used = tiles[:, top:, left:]
    rows, columns = (length // BLOCK_PX for length in used.shape[1:])
    blocks = used[:, : rows * BLOCK_PX, : columns * BLOCK_PX].astype(np.float32)
    basis = _dct_basis()[: 1 + max(max(pair) for pair in FREQUENCIES)]
    down = basis @ blocks.reshape(len(tiles) * rows, BLOCK_PX, -1)  # (N * rows, row frequency, columns * 8)
    both = down.reshape(-1, BLOCK_PX) @ basis.T  # (N * rows * row freq. * columns, column frequency)
    magnitude = np.minimum(np.rint(np.abs(both)), LARGEST).astype(np.int16)
    magnitude = magnitude.reshape(len(tiles) * rows, len(basis), columns, len(basis))
    counts = [
        np.bincount(magnitude[:, row, :, column].reshape(-1), minlength=LARGEST + 1)
        for row, column in FREQUENCIES
    ]
    return np.array(counts, np.float32)  # exact: there are far fewer than 2^24 blocks


def _dct_basis() -> NDArray[np.float32]:
    index = np.arange(BLOCK_PX)
    basis = np.cos(np.pi * np.outer(index, 2 * index + 1) / (2 * BLOCK_PX)) * np.sqrt(2 / BLOCK_PX)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


def _comb_steps(histograms: NDArray[np.float32]) -> list[int | None]:
    """Returns the largest step whose comb fits each, 0 if none does, None if there are too few coefficients to say."""
    counted, cosine = _combs()
    used = histograms[:, 1:LARGEST]  # 0 fits every comb, and 255 is a rest
    count = used @ counted.T
    enough = count >= MIN_COEFFICIENTS
    fits = enough & (used @ cosine.T >= FIT * count)
    largest = np.where(fits, np.arange(MIN_STEP, MAX_STEP + 1), 0).max(axis=1)
    return [int(step) if can_say else None for step, can_say in zip(largest, enough[:, 0], strict=True)]


@cache
def _combs() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns for each step and each magnitude 1 to 254 whether it counts, and its cosine on the comb if so."""
    value = np.arange(1, LARGEST)
    step = np.arange(MIN_STEP, MAX_STEP + 1)[:, None]
    # From a quarter step on: values on the slope of the histogram's peak speak against a comb, not for it.
    counted = value >= step / 4
    return counted.astype(np.float32), (counted * np.cos(2 * np.pi * value / step)).astype(np.float32)
