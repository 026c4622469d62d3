"""Pictures that were drawn, not photographed: their exactness disproves the faults that an estimate sees in them.

Place in the flow: `choice` asks where `strength: auto` would restore a picture at its own size. To a network that
knows photos, small or coloured letters look like grain. But grain leaves no three pixels in a row equal where it is
not cut off, and no blur or JPEG lets an edge begin right behind pixels that are. The law it keeps: it is exact
arithmetic on a few squares of the picture, and errs on the side of leaving it as it is.
Limits: a page that was scanned, reduced, or that grain of a level lies over, is a photo here. Of 33 pages of letters as
screens show them 28 have a `crispness` of 0.22 and more on strokes that are 0.98 `surrounded`; the same, and 52 photos,
made noisy, blurred, compressed or enlarged have less than `CRISP` or less than `SURROUNDED`, but for letters and lines
of one bit, enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from supir_infer.images import FloatImage
from supir_infer.strength import ALONE_BLUR_PX, squares
from supir_model.estimator import Degradation

RUN_PX = 3
"""As many equal pixels in a row are flat."""
JUMP = 24 / 255
"""An edge between two neighbours, of any channel."""
LONGEST_PX = 16
"""A stroke between two flat runs of one colour, at most."""
CRISP, SURROUNDED = 0.2, 0.7
FEW_COLOURS, FEW_GREYS = 16, 4
"""No photo has so few: a palette of 4 bits, greys of 2."""

_Flags = npt.NDArray[np.bool_]


def is_drawn(picture: FloatImage, found: Degradation) -> bool:
    """Returns whether a picture is exact where a photo with the faults that were found cannot be.

    Args:
        picture: (H, W, 3) in 0..1, at the size that it was given in.
        found: its estimate.
    """
    parts = squares(picture)
    if has_few_colours(parts):
        return True
    is_sharp = found.blur_sigma_px < ALONE_BLUR_PX[0]
    return is_sharp and crispness(parts) >= CRISP and surrounded(parts) >= SURROUNDED


def has_few_colours(parts: Sequence[FloatImage]) -> bool:
    """Returns whether all parts together have at most `FEW_COLOURS` colours, or `FEW_GREYS` greys."""
    colours = np.zeros((0, 3), np.float32)
    for part in parts:
        colours = np.unique(np.concatenate([colours, _different(part)]), axis=0)
        if len(colours) > FEW_COLOURS:
            return False
    is_grey = bool((np.ptp(colours, axis=1) == 0).all())
    return len(colours) <= (FEW_GREYS if is_grey else FEW_COLOURS)


def crispness(parts: Sequence[FloatImage]) -> float:
    """Returns the share of edges, 0 to 1, that begin right behind a flat run; 0 without an edge.

    Args:
        parts: of the picture, (H, W, 3) each, in 0..1.
    """
    jumps = hits = 0
    for part in _both_ways(parts):
        step = _steps(part)
        jump = step >= JUMP
        run = _runs(step == 0, RUN_PX - 1)
        beside = np.zeros_like(jump)
        beside[:, RUN_PX - 1 :] |= run[:, :-1]
        beside[:, : 1 - RUN_PX] |= run[:, 1:]
        jumps += int(jump.sum())
        hits += int((jump & beside).sum())
    return hits / jumps if jumps else 0.0


def surrounded(parts: Sequence[FloatImage]) -> float:
    """Returns the share of what is not flat, 0 to 1, that lies in strokes: strong, short, on a ground of one colour.

    Args:
        parts: as `crispness` takes them.
    """
    strokes = textured = 0
    for part in parts:
        (flat, stroke), (flat_down, stroke_down) = (_strokes(one) for one in _both_ways([part]))
        is_stroke = stroke | stroke_down.T
        strokes += int(is_stroke.sum())
        textured += int((~(flat | flat_down.T) | is_stroke).sum())
    return strokes / textured if textured else 0.0


def _strokes(part: FloatImage) -> tuple[_Flags, _Flags]:
    """Which pixels lie in flat runs of their row, and which in a stroke between two of one colour."""
    height, width = part.shape[:2]
    flat = np.zeros((height, width), np.bool_)
    runs = _runs(_steps(part) == 0, RUN_PX - 1)
    for shift in range(RUN_PX):
        flat[:, shift : shift + runs.shape[1]] |= runs
    columns = np.broadcast_to(np.arange(width), (height, width))
    before = np.maximum.accumulate(np.where(flat, columns, -1), axis=1)
    behind = np.minimum.accumulate(np.where(flat, columns, width)[:, ::-1], axis=1)[:, ::-1]
    between = ~flat & (before >= 0) & (behind < width) & (behind - before <= LONGEST_PX + 1)
    rows = np.arange(height)[:, None]
    ground = part[rows, before.clip(0)]
    between &= (ground == part[rows, behind.clip(max=width - 1)]).all(axis=2)
    strong = between & (np.abs(part - ground).max(axis=2) >= JUMP)
    has_strong = np.zeros((height, width), np.bool_)  # by the place of the run before
    at = np.nonzero(strong)
    has_strong[at[0], before[at]] = True
    return flat, between & has_strong[rows, before.clip(0)]


def _both_ways(parts: Sequence[FloatImage]) -> list[FloatImage]:
    """Each part, and each turned so that its columns are rows."""
    return [one for part in parts for one in (part, part.transpose(1, 0, 2))]


def _steps(part: FloatImage) -> npt.NDArray[np.float32]:
    """How far each pixel is from its right neighbour, of the channel that differs most."""
    difference: npt.NDArray[np.float32] = np.abs(np.diff(part, axis=1)).max(axis=2)
    return difference


def _runs(equal: _Flags, length: int) -> _Flags:
    """Where `length` steps in a row begin that are all equal."""
    count = equal.shape[1] - length + 1
    return np.logical_and.reduce([equal[:, at : at + count] for at in range(length)])


def _different(part: FloatImage) -> npt.NDArray[np.float32]:
    """A part's pixels, (N, 3), those that equal their left neighbour left out."""
    pixels = part.reshape(-1, 3)
    changes = np.ones(len(pixels), np.bool_)
    changes[1:] = (pixels[1:] != pixels[:-1]).any(axis=1)
    return pixels[changes]
