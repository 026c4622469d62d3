"""Halo: how far a picture overshoots beside its clean edges, the mark of oversharpening.

For each clean step between two calm plateaus, along rows and columns: how far the brightest pixel next to the
step rises above the bright plateau and the darkest falls below the dark one, as a share of the step.

Source: the overshoot measure of edge-profile sharpness tests (ISO 12233 slanted edge, "over/undershoot").
Blind spots: needs clean edges between plateaus (NaN under 30 of them): foliage and fur cannot be judged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_STEP = 40.0  # grey levels
REACH_PX = 5  # overshoot is looked for this near the step
PLATEAU_PX = (7, 12)  # the plateau lies this far from it
CALM_SHARE = 0.4  # a plateau's range, as a share of the step
HEADROOM_SHARE = 0.2  # room to overshoot into, as a share of the step
QUANTILE = 0.75  # sharpening shows at the cleanest edges: texture beside the others hides it
MIN_EDGES = 30
MAX_EDGES = 3_000  # on each axis


def overshoot(gray: NDArray[np.uint8]) -> float:
    """Returns the upper quartile of the overshoot as a share of the step: 0 none, 0.2 a halo; higher is worse.

    Args:
        gray: (H, W) uint8 luma at the working scale.

    NaN when fewer than 30 clean edges exist.
    """
    import cv2

    # Every second line: an edge crosses many.
    shares = np.concatenate([_shares_along_rows(gray[::2]), _shares_along_rows(cv2.transpose(gray[:, ::2]))])
    return float(np.quantile(shares, QUANTILE)) if len(shares) >= MIN_EDGES else float("nan")


def _shares_along_rows(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    margin = PLATEAU_PX[1]
    width = lines.shape[1]
    if width <= 2 * margin + 2:
        return np.empty(0, np.float32)
    values = np.ascontiguousarray(lines)
    slope = cv2.absdiff(values[:, 2:], values[:, :-2])  # slope[:, i] belongs to pixel i + 1
    row, column = np.divmod(np.flatnonzero(slope >= MIN_STEP / 2), slope.shape[1])
    inside = (column > 0) & (column < slope.shape[1] - 1)
    row, column = row[inside], column[inside]
    here = slope[row, column]
    steepest = (here >= slope[row, column - 1]) & (here > slope[row, column + 1])
    row, column = row[steepest], column[steepest] + 1
    keep = (column >= margin) & (column < width - margin)
    row, column = row[keep], column[keep]
    reach = PLATEAU_PX[0]
    ends = values[row, column + reach].astype(np.int16) - values[row, column - reach]
    wide = np.abs(ends) >= MIN_STEP / 2  # a line or a grain comes back to where it was
    row, column = row[wide], column[wide]
    stride = max(1, len(row) // MAX_EDGES)
    return _overshoot_shares(values, row[::stride], column[::stride])


def _overshoot_shares(
    values: NDArray[np.uint8], row: NDArray[np.intp], column: NDArray[np.intp]
) -> NDArray[np.float32]:
    centre = PLATEAU_PX[1]
    profile = values[row[:, None], column[:, None] + np.arange(-centre, centre + 1)].astype(np.float32)
    falling = profile[:, -1] < profile[:, 0]
    profile[falling] = profile[falling, ::-1]
    dark, bright = profile[:, : centre - PLATEAU_PX[0] + 1], profile[:, centre + PLATEAU_PX[0] :]
    low, high = dark.mean(axis=1), bright.mean(axis=1)
    step = high - low
    calm = np.maximum(np.ptp(dark, axis=1), np.ptp(bright, axis=1)) <= CALM_SHARE * step
    chosen = calm & (step >= MIN_STEP)
    low, high, step, near = low[chosen], high[chosen], step[chosen], profile[chosen, centre - REACH_PX : -1]
    over = (near[:, REACH_PX : 2 * REACH_PX + 1].max(axis=1) - high) / step
    under = (low - near[:, : REACH_PX + 1].min(axis=1)) / step
    # A plateau at the end of the scale leaves no room to overshoot and says nothing.
    has_room = np.stack([255 - high, low]) >= HEADROOM_SHARE * step
    shares = np.where(has_room, np.maximum([over, under], 0.0), np.nan)[:, has_room.any(axis=0)]
    mean: NDArray[np.float32] = np.nanmean(shares, axis=0) if shares.size else np.empty(0, np.float32)
    return mean
