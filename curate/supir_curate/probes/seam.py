"""Seams: straight lines from edge to edge where one picture ends and another begins, the mark of a collage.

Along a seam nearly every pixel differs from its neighbour across it more than its neighbours differ from theirs. So
it is along a horizon, a wall or a shelf that was held level. Three things tell them apart, each a factor of a line's
score:

- *even*: nothing runs across a seam, so it is there over the whole length; the worse half of sixteen stretches
  counts.
- *exact*: a seam lies between the same two pixels all along, blurred by one kernel at most. An edge of the scene
  drifts by parts of a pixel, from tilt, lens and its own shape. The drift is that of the step's centroid from stretch
  to stretch.
- *independent*: what changes along one side has nothing to do with the other. Sky over sea is a constant step between
  two calm sides, and a wall's light changes on both sides alike: once the other side has told what it can, little is
  left.

A strip of one colour between two even and exact lines, with a picture on one side at least, is a collage's gutter;
there the third factor is not asked for.

Ours. Blind spots: seams that do not run from edge to edge; sides as calm as sky and snow, or all of one picture's
light; a collage that was enlarged; gutters wider than 6 % of the picture, or with a pattern. A building's edge that
is exactly upright and free of all that stands before it scores up to about 0.45.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_SIDE_PX = 16
SAMPLES = 512  # pixels that are looked at along a line; across the lines none may be left out
MARGIN_SHARE = 0.08  # lines nearer to the edges belong to frames, see `probes.border`
VISIBLE_STEP = 6  # grey levels
MIN_SHARE = 0.25  # of a line must be stepped for it to be looked at …
NUM_LINES = 6  # … and so many of the best are
STRETCHES = 16
DRIFT_PX = 0.4  # a line that drifts so far, root mean square, is down to 1 / e
INDEPENDENT = (
    0.35  # variation along the line of its own, as a share of the step, from which on it counts fully
)
GUTTER_SHARE, MIN_GUTTER_PX = 0.06, 4  # a gutter is no wider than this share of the side, or so many px
GUTTER_DEVIATION = 8.0  # grey levels: as much as a JPEG leaves of its neighbours in it
VARIED = 8.0  # grey levels from stretch to stretch, beside a gutter


class _Line(NamedTuple):
    """A candidate.

    Args:
        first: of the five lines across which it lies; the step is between the second and the fourth.
        even, exact, independent: the factors, 0 to 1.
        variation: of the side above and below, from stretch to stretch, in grey levels.
    """

    first: int
    even: float
    exact: float
    independent: float
    variation: tuple[float, float]


def seam_share(gray: NDArray[np.uint8]) -> float:
    """Returns the share of the most seam-like row or column that is a seam, 0 none to 1 a seam from edge to edge.

    Args:
        gray: (H, W) uint8 luma at native scale.

    0 for a side under 16 px.
    """
    import cv2

    if min(gray.shape) < MIN_SIDE_PX:
        return 0.0
    down, along = (max(1, length // SAMPLES) for length in gray.shape)
    rows = np.ascontiguousarray(gray[:, along // 2 :: along])
    columns = np.asarray(cv2.transpose(gray[down // 2 :: down]), np.uint8)
    return max(_best(rows), _best(columns))


def _best(lines: NDArray[np.uint8]) -> float:
    """Returns the score of the best horizontal seam or gutter."""
    found = _candidates(lines)
    seams = [line.even * line.exact * line.independent for line in found]
    gutters = [_gutter(lines, above, below) for above, below in combinations(found, 2)]
    return float(max((*seams, *gutters), default=0.0))


def _candidates(lines: NDArray[np.uint8]) -> list[_Line]:
    """Returns the lines that are stepped most, from top to bottom."""
    import cv2

    # Over two pixels, as reducing spreads a seam over two steps; on a ramp this is twice the steps outside. A step
    # counts from three times the larger one of those.
    across = cv2.absdiff(lines[3:-1], lines[1:-3])
    outside = cv2.max(cv2.absdiff(lines[:-4], lines[1:-3]), cv2.absdiff(lines[3:-1], lines[4:]))
    # Adding saturates as multiplying does, and takes a tenth of the time.
    thrice = cv2.add(cv2.add(outside, outside), outside)
    least = cv2.max(thrice, VISIBLE_STEP)
    seen = cv2.compare(across, least, cv2.CMP_GE)  # 255 where it is so
    share = cv2.reduce(seen, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] / (255 * seen.shape[1])
    margin = int(MARGIN_SHARE * len(lines))
    share[:margin] = share[len(share) - margin :] = 0.0
    chosen: list[int] = []
    while len(chosen) < NUM_LINES and share.max() >= MIN_SHARE:
        best = int(share.argmax())
        chosen.append(best)
        share[max(0, best - 1) : best + 2] = 0.0  # the same seam, spread over two steps
    return [_line(lines, first, seen[first]) for first in sorted(chosen)]


def _line(lines: NDArray[np.uint8], first: int, seen: NDArray[np.uint8]) -> _Line:
    near = lines[first - 1 : first + 6].astype(np.float32)
    starts = np.arange(STRETCHES) * len(seen) // STRETCHES
    counts = np.diff(starts, append=len(seen))

    def by_stretch(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(values, starts, axis=-1) / counts, np.float64)

    even = np.sort(by_stretch(seen / np.float32(255)))[: STRETCHES // 2].mean()
    step = near[5] - near[1]
    power = by_stretch(step * step) + 1e-6
    # The centroid in px: how much of the step is done on each of the lines between.
    place = by_stretch((near[2:5] - near[1]) * step).sum(axis=0) / power
    drift = np.average((place - np.average(place, weights=power)) ** 2, weights=power)
    above, below = by_stretch(near[0]), by_stretch(near[6])
    own = max(above.std(), below.std()) * np.sqrt(1 - max(0.0, _correlation(above, below)) ** 2)
    ratio = own / np.sqrt(power.mean())
    return _Line(
        first=first,
        even=float(even),
        exact=float(np.exp(-drift / DRIFT_PX**2)),
        independent=float(min(1.0, ratio / INDEPENDENT) ** 2),
        variation=(float(above.std()), float(below.std())),
    )


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Returns the correlation of two sides; 0 where one does not vary."""
    deviations = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / deviations if deviations else 0.0


def _gutter(lines: NDArray[np.uint8], above: _Line, below: _Line) -> float:
    """Returns the score of the strip between two lines, 0 if it is too wide or not of one colour."""
    width = below.first - above.first
    if not 2 <= width <= max(MIN_GUTTER_PX, GUTTER_SHARE * len(lines)):
        return 0.0
    strip = lines[above.first + 3 : below.first + 2]
    inner = strip[1:-1] if len(strip) > MIN_GUTTER_PX else strip  # a reduction mixes its outer lines
    if inner.std() > GUTTER_DEVIATION:
        return 0.0
    pictures: Sequence[float] = (above.variation[0], below.variation[1])
    return min(above.even * above.exact, below.even * below.exact) * min(1.0, max(pictures) / VARIED)
