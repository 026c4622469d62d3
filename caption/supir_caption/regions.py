"""Where the captions of one image look: the whole image, and a fixed grid of boxes that together cover it.

Why: SUPIR captions the full image and trains on 512 px crops, so a prompt may name what the crop lacks; and a
LLaVA-1.5 sees 336 px, so only a crop shows it the texture that it must name. The law kept here: the boxes are
a function of the image size and the config alone, lie inside the image, and leave no pixel uncovered.
"""

from __future__ import annotations

import math

from supir_caption.config import RegionConfig
from supir_shards import Box


def region_boxes(width: int, height: int, config: RegionConfig) -> list[Box]:
    """Returns boxes (x0, y0, x1, y1), px, ends exclusive: the whole image, then regions row by row.

    An axis gets about one box for each `size_px * (1 - overlap)`. When that makes more than `max_regions`, the
    largest grid within it is taken, of several the one with the squarest boxes, and the boxes grow. An image
    that one box would cover has no regions.

    Args:
        width: px, above 0.
        height: px, above 0.
        config: size, overlap and number of the regions.
    """
    whole = (0, 0, width, height)
    most_columns, most_rows = (_num_boxes(side, config) for side in (width, height))
    most = max(1, config.max_regions)
    columns, rows = max(
        ((columns, min(most_rows, most // columns)) for columns in range(1, min(most_columns, most) + 1)),
        key=lambda grid: (grid[0] * grid[1], -abs(math.log((width / grid[0]) / (height / grid[1])))),
    )
    if columns * rows <= 1:
        return [whole]
    spans_x = _spans(width, columns, config.size_px)
    spans_y = _spans(height, rows, config.size_px)
    return [whole, *((x0, y0, x1, y1) for y0, y1 in spans_y for x0, x1 in spans_x)]


def _num_boxes(side: int, config: RegionConfig) -> int:
    stride = config.size_px * (1.0 - config.overlap)
    return 1 + max(0, round((side - config.size_px) / stride))


def _spans(side: int, count: int, size_px: int) -> list[tuple[int, int]]:
    if count == 1:
        return [(0, side)]
    length = max(min(size_px, side), -(-side // count))
    starts = [round(index * (side - length) / (count - 1)) for index in range(count)]
    return [(start, start + length) for start in starts]
