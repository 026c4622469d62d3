"""A grid of a few pixels in a picture, which the scene has not.

Place in the flow: `own_measures` offers it to `supir-eval`; it needs the picture alone. A decoder's upsampling, a
codec's blocks and a network trained against LPIPS on its own backbone leave a grid, which the eye sees in flat
areas and which LPIPS on that backbone does not.
Limits: a pattern of the scene that repeats every 2, 4, 8 or 16 px from border to border is a grid too.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from supir_infer.images import FloatImage

PERIODS_PX = (2, 4, 8, 16)
GRID_MIN_PX = 4 * max(PERIODS_PX)  # two cells of the longest period a side in each quadrant
SAME_PERIOD = 0.9  # of the strongest period's energy: a multiple of a period sees the same grid
LUMA = (0.299, 0.587, 0.114)

Levels = npt.NDArray[np.float64]


class Found(NamedTuple):
    """A figure, and in words where it was found."""

    value: float
    where: str = ""


def grid_levels(rgb: FloatImage) -> Found:
    """Returns the RMS of what repeats every 2, 4, 8 or 16 px, levels of 255, the strongest of the four; 0 is none.

    The picture less its running mean over a period is folded to one cell by the median, in each quadrant by itself;
    what two quadrants agree in is the grid, what they do not is the scene.

    Args:
        rgb: (H, W, 3) in 0..1, sides of `GRID_MIN_PX` or more.
    """
    luma = luma_levels(rgb)
    energies = {period: _shared_energy(luma, period) for period in PERIODS_PX}
    strongest = max(energies.values())
    period = next(period for period, energy in energies.items() if energy >= SAME_PERIOD * strongest)
    return Found(float(np.sqrt(strongest)), f"every {period} px")


def luma_levels(rgb: FloatImage) -> Levels:
    """Returns the luma of (H, W, 3) RGB in 0..1, levels of 255, (H, W) float64."""
    return np.asarray(rgb.astype(np.float64) @ np.array(LUMA) * 255)


def _shared_energy(luma: Levels, period: int) -> float:
    """The mean square, levels², that the quadrants' cells of a period have in common."""
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
    return max(0.0, float(np.mean([(one * other).mean() for one, other in combinations(cells, 2)])))
