"""Whether the lines where tiles meet stand out: the jump across them over the jump between their neighbours.

Place in the flow: `evaluate` measures it where the lines are known: a result of `supir-infer` says in its
provenance how it was tiled, and for other restorers `supir-eval --tiles SIDE[:STRIDE]` says it. Nothing is guessed:
the straight edges of buildings are steeper than any seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from supir_console import UserError
from supir_infer.artefacts import Found, luma_levels
from supir_infer.images import FloatImage

NEIGHBOURS_PX = 8  # lines on each side that a tile's border is held against
FLOOR_LEVELS = 0.1  # added to both jumps: rounding in a flat picture is no seam


@dataclass(frozen=True, slots=True)
class Tiles:
    """Squares of `side` px, one every `stride` px, in a picture of `size` (width, height); the last ones are flush."""

    side: float
    stride: float
    size: tuple[int, int]

    def borders(self, length: int) -> list[int]:
        """Returns where tiles begin or end along a side of `length` px, its own ends left out."""
        if self.side >= length:
            return []
        starts = [*np.arange(0, length - self.side, self.stride), length - self.side]
        ends = [start + self.side for start in starts]
        lines = {round(float(place)) for place in (*starts, *ends)}
        return sorted(line for line in lines if NEIGHBOURS_PX < line < length - NEIGHBOURS_PX)


def read_tiles(text: str) -> tuple[int, int]:
    """Returns side and stride in px of "SIDE" or "SIDE:STRIDE".

    Raises:
        UserError: it is neither.
    """
    side, _, stride = text.partition(":")
    numbers = [side, stride or side]
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise UserError(
            f"--tiles {text} is no side of tiles in px; give SIDE or SIDE:STRIDE, for example 512:448"
        )
    if int(numbers[1]) > int(numbers[0]):
        raise UserError(f"--tiles {text}: a stride above the side leaves gaps; give at most {side}")
    return int(numbers[0]), int(numbers[1])


def told_tiles(metadata: dict[str, Any] | None, size: tuple[int, int]) -> Tiles | None:
    """Returns how a result of `supir-infer` says it was tiled, in its px; None where it was not, or does not say.

    Args:
        metadata: what `saving.read_metadata` gives.
        size: width and height of the result, px.
    """
    try:
        told = metadata or {}
        if told["tiles"] < 2:
            return None
        zoom = size[0] / told["size"]["working"][0]
        settings = told["settings"]
        return Tiles(settings["tile_px"] * zoom, settings["tile_stride_px"] * zoom, size)
    except (LookupError, TypeError, ZeroDivisionError):
        return None


def seam_ratio(rgb: FloatImage, tiles: Tiles) -> Found | None:
    """Returns the mean jump across the borders of tiles over that across lines beside them, and the worst border.

    1 is no seam. None where no border lies inside the picture.

    Args:
        rgb: (H, W, 3) in 0..1.
        tiles: where the borders are.
    """
    luma = luma_levels(rgb)
    at_borders, beside, names = [], [], []
    for name, picture in (("column", luma), ("row", luma.T)):
        jumps = np.abs(np.diff(picture, axis=1)).mean(axis=0) + FLOOR_LEVELS
        for line in tiles.borders(picture.shape[1]):
            at_borders.append(float(jumps[line - 1]))
            beside.append(_mean_beside(jumps, line - 1))
            names.append(f"{name} {line}")
    if not names:
        return None
    worst = int(np.argmax(np.array(at_borders) / np.array(beside)))
    return Found(sum(at_borders) / sum(beside), names[worst])


def _mean_beside(jumps: npt.NDArray[np.float64], place: int) -> float:
    low, high = max(0, place - NEIGHBOURS_PX), min(len(jumps), place + NEIGHBOURS_PX + 1)
    near = [float(jumps[index]) for index in range(low, high) if abs(index - place) > 1]
    return sum(near) / len(near)
