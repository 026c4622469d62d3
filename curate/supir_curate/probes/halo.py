"""Halo: how far a picture overshoots beside its cleanest edges, the mark of oversharpening.

An edge is a step that is nearly complete within two pixels on each side and stands between calm plateaus, along rows
and columns. Its overshoot is how far the brightest two neighbours beside the step rise above the bright plateau and the
darkest two fall below the dark one, as a share of the step: of single pixels, the noise would choose the highest. The
picture's is the median over the calmest edges: a fixed number of them, as sharpening turns texture into edges, which a
threshold would let in.

Source: the overshoot measure of edge-profile sharpness tests (ISO 12233 slanted edge, "over/undershoot").
Blind spots: needs 30 such edges (NaN under it): foliage, fur and soft pictures cannot be judged; a radius well under
one pixel at the working scale, as a camera's own sharpening is after reducing, leaves little to see.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_STEP = 30.0  # grey levels
COMPLETE_PX = 2  # so near on both sides of its middle …
COMPLETE_SHARE = 0.9  # … an edge has so much of its step behind it
REACH_PX = 3  # overshoot is looked for this near the step
PLATEAU_PX = (4, 7)  # the plateau lies this far from it
HEADROOM_SHARE = 0.2  # room to overshoot into, as a share of the step
CALMEST = 100  # edges, by the larger plateau's deviation as a share of the step
MIN_EDGES = 30
MAX_EDGES = 6_000  # on each axis


def overshoot(gray: NDArray[np.uint8]) -> float:
    """Returns the median overshoot of the calmest edges as a share of the step: 0 none, 0.18 a halo; higher is worse.

    Args:
        gray: (H, W) uint8 luma at the working scale.

    NaN when fewer than 30 edges exist.
    """
    import cv2

    # Every second line: an edge crosses many.
    axes = (np.ascontiguousarray(gray[::2]), np.ascontiguousarray(cv2.transpose(gray)[::2]))
    profiles = np.concatenate([_profiles_along_rows(lines) for lines in axes], axis=1)
    shares, roughness = _overshoot_shares(profiles)
    if len(shares) < MIN_EDGES:
        return float("nan")
    calmest = np.argsort(roughness, kind="stable")[:CALMEST]
    return max(0.0, float(np.median(shares[calmest])))


def _profiles_along_rows(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns the pixels across each steep place, (15, edges), from dark to bright."""
    import cv2

    margin = PLATEAU_PX[1]
    across = np.arange(-margin, margin + 1)[:, None]
    inner = lines.shape[1] - 2 * margin
    if inner <= 2:
        return np.empty((len(across), 0), np.float32)
    slope = cv2.absdiff(lines[:, 2:], lines[:, :-2])  # slope[:, i] belongs to pixel i + 1
    before, here, after = (slope[:, first : first + inner] for first in range(margin - 2, margin + 1))
    left, right = (lines[:, margin + side :][:, :inner] for side in (-COMPLETE_PX, COMPLETE_PX))
    steep = cv2.absdiff(left, right) >= int(COMPLETE_SHARE * MIN_STEP)
    found = np.flatnonzero(steep & (here >= before) & (here > after))
    row, column = np.divmod(found[:: max(1, -(-len(found) // MAX_EDGES))], inner)
    pixels, place = lines.reshape(-1), row * lines.shape[1] + column + margin
    near = PLATEAU_PX[0]
    rising = np.where(pixels.take(place + near) < pixels.take(place - near), -1, 1)
    return pixels.take(place + rising * across).astype(np.float32)


def _overshoot_shares(
    profiles: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the overshoot of each edge and its plateaus' deviation, both as shares of its step."""
    middle = PLATEAU_PX[1]
    width = PLATEAU_PX[1] - PLATEAU_PX[0] + 1
    low, high = profiles[:width].mean(axis=0), profiles[-width:].mean(axis=0)
    step = high - low
    rise = profiles[middle + COMPLETE_PX] - profiles[middle - COMPLETE_PX]
    # A plateau at the end of the scale leaves no room to overshoot and says nothing.
    has_room = np.stack([255 - high, low]) >= HEADROOM_SHARE * step
    chosen = (step >= MIN_STEP) & (rise >= COMPLETE_SHARE * step) & has_room.any(axis=0)
    profiles, low, high, step = profiles[:, chosen], low[chosen], high[chosen], step[chosen]
    pairs = (profiles[1:] + profiles[:-1]) / 2  # pairs[i] lies between i and i + 1
    over = pairs[middle : middle + REACH_PX].max(axis=0) - high
    under = low - pairs[middle - REACH_PX : middle].min(axis=0)
    weight = has_room[:, chosen].astype(np.float32)
    shares = (weight * (over, under)).sum(axis=0) / weight.sum(axis=0) / step
    deviation = np.maximum(profiles[:width].std(axis=0), profiles[-width:].std(axis=0)) / step
    return shares, deviation
