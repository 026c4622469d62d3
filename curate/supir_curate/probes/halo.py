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
    axes = (np.ascontiguousarray(gray[::2]), np.ascontiguousarray(cv2.transpose(gray)[::2]))
    shares = np.concatenate([_shares_along_rows(lines) for lines in axes])
    return float(np.quantile(shares, QUANTILE)) if len(shares) >= MIN_EDGES else float("nan")


def _shares_along_rows(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    margin, reach = PLATEAU_PX[1], PLATEAU_PX[0]
    inner = lines.shape[1] - 2 * margin
    if inner <= 2:
        return np.empty(0, np.float32)
    slope = cv2.absdiff(lines[:, 2:], lines[:, :-2])  # slope[:, i] belongs to pixel i + 1
    before, here, after = (slope[:, first : first + inner] for first in range(margin - 2, margin + 1))
    left, right = (lines[:, first : first + inner] for first in (margin - reach, margin + reach))
    # A line or a grain comes back to where it was: its ends are alike.
    steep = cv2.min(here, cv2.absdiff(left, right)) >= int(MIN_STEP / 2)
    found = np.flatnonzero(steep & (here >= before) & (here > after))
    row, column = np.divmod(found[:: max(1, len(found) // MAX_EDGES)], inner)
    return _overshoot_shares(lines, row, column + margin)


def _overshoot_shares(
    lines: NDArray[np.uint8], row: NDArray[np.intp], column: NDArray[np.intp]
) -> NDArray[np.float32]:
    centre = PLATEAU_PX[1]
    pixels, place = lines.reshape(-1), row * lines.shape[1] + column
    rising = np.where(pixels.take(place + centre) < pixels.take(place - centre), -1, 1)
    across = np.arange(-centre, centre + 1)[:, None]
    profile = pixels.take(place + rising * across).astype(np.float32)  # (25, edges), from dark to bright
    dark, bright = profile[: centre - PLATEAU_PX[0] + 1], profile[centre + PLATEAU_PX[0] :]
    low, high = dark.mean(axis=0), bright.mean(axis=0)
    step = high - low
    calm = np.maximum(np.ptp(dark, axis=0), np.ptp(bright, axis=0)) <= CALM_SHARE * step
    chosen = calm & (step >= MIN_STEP)
    low, high, step, near = low[chosen], high[chosen], step[chosen], profile[centre - REACH_PX : -1, chosen]
    over = (near[REACH_PX : 2 * REACH_PX + 1].max(axis=0) - high) / step
    under = (low - near[: REACH_PX + 1].min(axis=0)) / step
    # A plateau at the end of the scale leaves no room to overshoot and says nothing.
    has_room = np.stack([255 - high, low]) >= HEADROOM_SHARE * step
    shares = np.where(has_room, np.maximum([over, under], 0.0), np.nan)[:, has_room.any(axis=0)]
    mean: NDArray[np.float32] = np.nanmean(shares, axis=0) if shares.size else np.empty(0, np.float32)
    return mean
