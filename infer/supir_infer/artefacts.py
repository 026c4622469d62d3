"""A grid of a few pixels in a picture, which the scene has not.

Place in the flow: `own_measures` offers it to `supir-eval`; it needs the picture alone. A decoder's upsampling, a
codec's blocks and a network trained against LPIPS on its own backbone leave a grid, which the eye sees in flat
areas and which LPIPS on that backbone does not.
Limits: a pattern of the scene that repeats every 2 to 16 px from border to border is a grid too; one of a longer
period, or turned, is not seen, and of a small picture only periods up to 1/24 of its shorter side.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from supir_infer.images import FloatImage

LONGEST_PX = 16
CELLS = 12  # a side of each quadrant; of fewer the scene's own share is too large
GRID_MIN_PX = 4 * CELLS  # for a period of 2 px
SAME_PERIOD = 0.9  # of the strongest period's energy: a multiple of a period sees the same grid
AGREED = (0.4, 0.6)
"""Share of the cells' energy in which the quadrants agree; between the two a grid counts in part.

Chance reached 0.38 in 250 crops of 21 photos, plain and sharpened; a grid of 1 level has 0.45 and more except under
strong texture.
"""
LUMA = (0.299, 0.587, 0.114)

Levels = npt.NDArray[np.float64]


class Found(NamedTuple):
    """A figure, and in words where it was found."""

    value: float
    where: str = ""


class _Fold(NamedTuple):
    """The mean square, levels², of what the quadrants' cells of a period have in common, and of the cells."""

    shared: float
    whole: float


def grid_levels(rgb: FloatImage) -> Found:
    """Returns the RMS of what repeats every few px, levels of 255, at the strongest of the periods 2 to 16; 0 is none.

    The picture less its running mean over a period is folded to one cell by the median, in each quadrant by itself;
    what the quadrants agree in, and the periods one px shorter and longer have not, is the grid.

    Args:
        rgb: (H, W, 3) in 0..1, sides of `GRID_MIN_PX` or more.
    """
    luma = luma_levels(rgb)
    longest = min(LONGEST_PX, min(luma.shape) // (2 * CELLS))
    folds = {period: _fold(luma, period) for period in range(1, longest + 2)}
    energies = {period: _grid_energy(folds, period) for period in range(2, longest + 1)}
    strongest = max(energies.values())
    if strongest == 0:
        return Found(0.0)
    period = next(period for period, energy in energies.items() if energy >= SAME_PERIOD * strongest)
    return Found(float(np.sqrt(strongest)), f"every {period} px")


def luma_levels(rgb: FloatImage) -> Levels:
    """Returns the luma of (H, W, 3) RGB in 0..1, levels of 255, (H, W) float64."""
    return np.asarray(rgb.astype(np.float64) @ np.array(LUMA) * 255)


def _grid_energy(folds: dict[int, _Fold], period: int) -> float:
    """The mean square, levels², of a grid of the period; 0 where it may be chance."""
    shared, whole = folds[period]
    above = shared - max(0.0, folds[period - 1].shared, folds[period + 1].shared)
    if above <= 0:
        return 0.0
    low, high = AGREED
    return above * min(1.0, max(0.0, (shared / whole - low) / (high - low)))


def _fold(luma: Levels, period: int) -> _Fold:
    import cv2

    rest = luma - cv2.blur(luma, (period, period), borderType=cv2.BORDER_REFLECT)
    rows, columns = (side // (2 * period) for side in luma.shape)
    cells = []
    for top in (0, rows * period):
        for left in (0, columns * period):
            quadrant = rest[top : top + rows * period, left : left + columns * period]
            folded = (
                quadrant.reshape(rows, period, columns, period).swapaxes(1, 2).reshape(-1, period, period)
            )
            cell = np.median(folded, axis=0)
            cells.append(cell - cell.mean())
    shared = float(np.mean([(one * other).mean() for one, other in combinations(cells, 2)]))
    return _Fold(shared, float(np.mean([(cell**2).mean() for cell in cells])))
