"""What can be measured without a model: light, contrast, colours, edges, and where the detail lies.

Place in the flow: the `tags` engine puts these figures into words (`wording.py`). The law: each figure is a
closed function of the pixels, and falls or rises with the one cause it is named for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pixels that light and colours are measured on: enough for shares to 0.2 %, and never averaged with others,
# as shrinking would do: it turns noise into grey and stripes into their mean.
_MAX_SAMPLES = 2**16
_GRID = 3
_CELL_PX = 32
# A cell has fine detail when its lightness changes by this much, L* per px, root mean square over the cell.
_DETAIL_GRADIENT = 3.0
# Below this local range (L*, 0..100) the width of an edge says nothing.
_EDGE_RANGE = 20.0
_EDGE_CELLS = 12
# Hue angle from which a dark colour is a dark orange and no red: rust (150, 60, 30) has 45.
_FIRST_ORANGE_HUE = 45.0


@dataclass(frozen=True, slots=True)
class Attributes:
    """The measured figures of one picture.

    Attributes:
        All figures are of single pixels as they are stored; nothing is shrunk before it is measured.
        lightness: mean CIE L*, 0 (black) to 100 (white). contrast: L* at the 95th percentile less L* at the
        5th, 0 to 100. chroma: mean CIE chroma C*ab; about 0 for greys, above 30 for vivid pictures.
        monochrome: whether 95% of the picture has next to no colour (C*ab below 6). colours: names with the
        share of the picture they cover, the largest first. detail_share: share of the 32 px cells with fine
        detail, 0 to 1. detail_grid: share of all detail that lies in each cell of a 3x3 grid, rows from the
        top; sums to 1, or all 0. acuity: how much of an edge's height falls within 1 px, 0 (soft) to 1 (a
        step), over the strongest edges.
    """

    lightness: float
    contrast: float
    chroma: float
    monochrome: bool
    colours: tuple[tuple[str, float], ...]
    detail_share: float
    detail_grid: tuple[tuple[float, ...], ...]
    acuity: float


def measure(rgb: NDArray[np.uint8]) -> Attributes:
    """Returns the attributes of a picture.

    Args:
        rgb: uint8 (H, W, 3), sRGB, at least 1 px each way.
    """
    lab = _sampled(rgb)
    lightness = lab[:, 0]
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    low, high = np.percentile(lightness, [5, 95])
    cells = _cells(rgb)
    return Attributes(
        lightness=float(lightness.mean()),
        contrast=float(high - low),
        chroma=float(chroma.mean()),
        monochrome=bool(np.percentile(chroma, 95) < 6.0),
        colours=_colour_shares(lab, chroma),
        detail_share=float((cells.rms > _DETAIL_GRADIENT).mean()),
        detail_grid=_grid(cells.rms),
        acuity=_acuity(cells.peak, cells.range),
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """Gradient, L* per px, root mean square and largest, and range, L*, of each 32 px cell."""

    rms: NDArray[Any]
    peak: NDArray[Any]
    range: NDArray[Any]


def _lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    converted: NDArray[np.float32] = cv2.cvtColor(rgb.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)
    return converted


def _sampled(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE L*a*b* (N, 3) of single pixels from all over the picture, the same for every picture of one size."""
    height, width = rgb.shape[:2]
    if height * width <= _MAX_SAMPLES:
        return _lab(rgb).reshape(-1, 3)
    # At random: a fixed step would see one phase only of a pattern that repeats with it.
    chosen = np.random.default_rng(0).integers(height * width, size=_MAX_SAMPLES)
    return _lab(rgb[chosen // width, chosen % width][None])[0]


def _cells(rgb: NDArray[np.uint8]) -> _Cells:
    """Row of cells by row of cells, so that floats of the whole picture are never held; the last ones may overlap."""
    tops, lefts = (_cell_starts(side) for side in rgb.shape[:2])
    rows = [_row_of_cells(rgb[top : top + _CELL_PX + 1], lefts) for top in tops]
    return _Cells(*(np.stack(planes) for planes in zip(*rows, strict=True)))


def _row_of_cells(strip: NDArray[np.uint8], lefts: Sequence[int]) -> tuple[NDArray[Any], ...]:
    """Root mean square and peak of the gradient, and the range, of each cell; the row below belongs to the gradient."""
    lightness = _lab(strip)[..., 0]
    below = lightness[1:] if len(strip) > _CELL_PX else np.concatenate([lightness[1:], lightness[-1:]])
    lightness = lightness[:_CELL_PX]
    across = np.diff(lightness, axis=1, append=lightness[:, -1:])
    square = across**2 + (below - lightness) ** 2
    of_cells = np.stack([square[:, left : left + _CELL_PX] for left in lefts])
    levels = np.stack([lightness[:, left : left + _CELL_PX] for left in lefts])
    return (
        np.sqrt(of_cells.mean(axis=(1, 2))),
        np.sqrt(of_cells.max(axis=(1, 2))),
        np.ptp(levels, axis=(1, 2)),
    )


def _cell_starts(side: int) -> list[int]:
    starts = list(range(0, max(1, side - _CELL_PX + 1), _CELL_PX))
    return starts if starts[-1] + _CELL_PX >= side else [*starts, side - _CELL_PX]


def _grid(rms: NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    detail = np.where(rms > _DETAIL_GRADIENT, rms, 0.0)
    total = float(detail.sum())
    thirds = [np.array_split(row, _GRID, axis=1) for row in np.array_split(detail, _GRID, axis=0)]
    return tuple(tuple(float(block.sum()) / total if total else 0.0 for block in row) for row in thirds)


def _acuity(peak: NDArray[Any], local_range: NDArray[Any]) -> float:
    """Steepest change within 1 px as a share of the cell's range, median of the steepest cells."""
    has_edge = local_range > _EDGE_RANGE
    if not has_edge.any():
        return 0.0
    steepness = np.sort(np.minimum(peak[has_edge] / local_range[has_edge], 1.0))
    return float(np.median(steepness[-_EDGE_CELLS:]))


def _colour_shares(lab: NDArray[Any], chroma: NDArray[Any]) -> tuple[tuple[str, float], ...]:
    lightness = lab[:, 0]
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1])) % 360.0
    is_grey = chroma < 10.0
    # Dark orange is brown up to a high chroma; a dark red (burgundy, brick) is a red unless it is dull.
    brown_below = np.where(hue < _FIRST_ORANGE_HUE, 35.0, 55.0)
    is_warm_dark = ~is_grey & (hue >= 20) & (hue < 95) & (lightness < 55) & (chroma < brown_below)
    is_warm_pale = ~is_grey & (hue >= 40) & (hue < 105) & (lightness >= 70) & (chroma < 30)
    named = {
        "black": is_grey & (lightness < 22),
        "white": is_grey & (lightness >= 86),
        "grey": is_grey & (lightness >= 22) & (lightness < 86),
        "brown": is_warm_dark,
        "beige": is_warm_pale,
    }
    coloured = ~is_grey & ~is_warm_dark & ~is_warm_pale
    for name, start, end in _HUES:
        mask = coloured & (hue >= start) & (hue < end)
        named[name] = named[name] | mask if name in named else mask
    shares = ((name, float(mask.mean())) for name, mask in named.items())
    return tuple(sorted((pair for pair in shares if pair[1] > 0), key=lambda pair: (-pair[1], pair[0])))


# Hue angle of CIE LCh(ab), degrees: red of sRGB lies at 40, yellow at 103, green 136, cyan 196, blue 306.
_HUES = (
    ("pink", 0, 20),
    ("red", 20, 48),
    ("orange", 48, 80),
    ("yellow", 80, 108),
    ("green", 108, 170),
    ("teal", 170, 225),
    ("blue", 225, 308),
    ("purple", 308, 335),
    ("pink", 335, 360),
)
