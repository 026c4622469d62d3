"""Where a photo is cut: squares that hold the most texture and lie apart, at a scale that carries detail.

Place in the flow: `pack` asks before it reads a picture, so that a dry run can count samples; all that is needed is
in the ledger. The law: nothing is enlarged, and no crop reaches beyond the picture; boxes are in px of the picture as
stored, reduced by `scale`, and lie on a grid of 64 px, which every JPEG can be cut on without decoding.

Source: the texture map of `probes.texture`; a share of it counts by area, for its cells seldom fit a crop's edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.config.pack import GRID_PX, PackConfig
from supir_curate.probes.texture import FLAT_VARIANCE, LEVELS_PER_DOUBLING

if TYPE_CHECKING:
    from supir_shards import Box

WORTH_REDUCING = 0.9  # a scale above costs an encoding and gains next to nothing
FLAT_CELL = LEVELS_PER_DOUBLING * np.log2(1.0 + FLAT_VARIANCE)  # a cell below is flat


@dataclass(frozen=True, slots=True)
class Layout:
    """What is stored of a picture.

    Args:
        width: of the whole picture in px, reduced, as stored (before EXIF turns it).
        height: likewise.
        boxes: the parts that are stored, in px of that; a single one of the whole size is the whole picture.
    """

    width: int
    height: int
    boxes: tuple[Box, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the picture is stored in one piece."""
        return self.boxes == ((0, 0, self.width, self.height),)


def lay_out(
    width: int, height: int, texture: NDArray[np.uint8], effective_ratio: float, config: PackConfig
) -> Layout:
    """Returns what is stored of a picture.

    Args:
        width: of the picture in px.
        height: likewise.
        texture: (rows, columns) uint8 map over the whole picture.
        effective_ratio: share of the sampling rate that carries detail, 0 to 1; NaN where it could not be measured.
        config: mode, sizes and limits.
    """
    if config.mode == "whole" or min(width, height) < config.size_px:
        width, height = whole_size(width, height, config)
        return Layout(width, height, ((0, 0, width, height),))
    scale = crop_scale(min(width, height), effective_ratio, config)
    width, height = round(width * scale), round(height * scale)
    return Layout(width, height, choose_boxes(width, height, texture, config))


def whole_size(width: int, height: int, config: PackConfig) -> tuple[int, int]:
    """Returns width and height in px of a picture stored whole: the original's, or reduced in proportion.

    Example:
        >>> whole_size(6000, 4000, PackConfig(max_side_px=2048, size_px=1024))
        (2048, 1365)
        >>> whole_size(6000, 1500, PackConfig(max_side_px=2048, size_px=1024))
        (4096, 1024)
        >>> whole_size(2048, 700, PackConfig(max_side_px=2048, size_px=1024))
        (2048, 700)
    """
    scale = max(config.max_side_px / max(width, height), config.size_px / min(width, height))
    if scale >= 1:
        return width, height
    return round(width * scale), round(height * scale)


def crop_scale(short_side_px: int, effective_ratio: float, config: PackConfig) -> float:
    """Returns by what a picture is reduced before it is cut: 1 for not at all.

    A picture that carries less detail than `min_effective_ratio` is reduced to the scale at which it carries all it
    has; one so large that a crop would show less than `min_frame_share` of its short side, until it shows that.
    A reduction by less than a tenth is not worth an encoding and is left out.

    Example:
        >>> config = PackConfig(size_px=1024, min_effective_ratio=0.6, min_frame_share=0.25)
        >>> crop_scale(4000, 0.7, config), crop_scale(4000, 0.5, config)
        (1.0, 0.5)
        >>> crop_scale(8192, 1.0, config), crop_scale(1280, 0.5, config)  # a crop is never larger than the picture
        (0.5, 0.8)
    """
    scale = effective_ratio if effective_ratio < config.min_effective_ratio else 1.0
    scale = min(scale, config.size_px / (config.min_frame_share * short_side_px))
    scale = max(scale, config.size_px / short_side_px)
    return scale if scale <= WORTH_REDUCING else 1.0


def choose_boxes(width: int, height: int, texture: NDArray[np.uint8], config: PackConfig) -> tuple[Box, ...]:
    """Returns the squares to cut, the one with the most texture first.

    The first is taken whatever it holds, for the rules have kept the picture; further ones only where they are apart
    from all before and at most `max_flat_share` of them is flat.

    Args:
        width: of the picture in px, at least `size_px`.
        height: likewise.
        texture: (rows, columns) uint8 map over the whole picture.
        config: side, number, distance and limit.
    """
    side, (rows, columns) = config.size_px, texture.shape
    lefts, tops = np.arange(0, width - side + 1, GRID_PX), np.arange(0, height - side + 1, GRID_PX)
    down, across = _coverage(tops, side, height, rows), _coverage(lefts, side, width, columns)
    # Rounded, so that the order in which a machine sums decides nothing.
    richness = np.round(down @ texture @ across.T, 6)
    flat = np.round(down @ (texture < FLAT_CELL) @ across.T, 6)
    is_free = np.ones_like(flat, bool)
    chosen: list[Box] = []
    while len(chosen) < config.max_crops and is_free.any():
        best = int(np.argmax(np.where(is_free, richness, -1.0)))  # of equals the uppermost, then the leftmost
        top, left = int(tops[best // len(lefts)]), int(lefts[best % len(lefts)])
        chosen.append((left, top, left + side, top + side))
        distance = np.maximum(abs(tops - top)[:, None], abs(lefts - left)[None, :])
        is_free &= (distance >= config.min_distance * side) & (flat <= config.max_flat_share)
    return tuple(chosen)


def cut_texture(texture: NDArray[np.uint8], layout: Layout, box: Box) -> NDArray[np.uint8]:
    """Returns the texture map of a box: of as many cells as it covers, each the mean by area of those under it.

    Args:
        texture: (rows, columns) uint8 map over the whole picture.
        layout: the whole picture's size.
        box: in px of that.
    """
    if layout.is_whole:
        return texture
    x0, y0, x1, y1 = box
    down = _cells(y0, y1, layout.height, texture.shape[0])
    across = _cells(x0, x1, layout.width, texture.shape[1])
    return np.rint(np.round(down @ texture @ across.T, 6)).astype(np.uint8)


def _cells(start: int, end: int, side: int, cells: int) -> NDArray[np.float64]:
    """Returns the coverage of an interval's own cells, of which there are as many as it covers, at least one."""
    count = max(1, round((end - start) * cells / side))
    length = (end - start) / count
    return _coverage(start + length * np.arange(count), length, side, cells)


def _coverage(starts: NDArray[Any], length: float, side: int, cells: int) -> NDArray[np.float64]:
    """Returns which share of each interval lies in each cell: (intervals, cells), rows sum to 1.

    Args:
        starts: of the intervals in px.
        length: of each in px.
        side: of the picture in px, which the cells divide evenly.
        cells: their number.
    """
    edges = np.arange(cells + 1) * (side / cells)
    ends = np.minimum(starts[:, None] + length, edges[1:])
    return np.maximum(ends - np.maximum(starts[:, None], edges[:-1]), 0.0) / length
