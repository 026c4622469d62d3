"""Screen text: how much a picture looks like a screenshot, a slide or a page rather than a photo.

Ours. Three marks of drawn pictures, multiplied so that a photo needs all of them to be taken for one: steps that are
either huge or absent (a renderer draws glyphs on fills, a sensor always adds small steps), edges that run exactly
along rows or columns (windows, glyph stems), and four grey levels that hold most pixels.

Blind spots: text on a photo is not seen (that takes a text detector); a screenshot that mostly shows a photo passes;
line art and charts are caught too; enlarging or heavy JPEG softens all three marks. Separation on real pictures:
docs/curate/probes.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HUGE_STEP = 64  # grey levels between neighbours: a glyph on its background
EDGE_STEP = 24
SENSOR_STEP = 2  # the smallest step that JPEG rounding does not make
ALIGNED = 3  # grey levels along an edge that runs with the rows or columns
NUM_GREYS = 4
MAX_PIXELS = 500_000


def screen_score(gray: NDArray[np.uint8]) -> float:
    """Returns the likeness to rendered graphics: 0 photo, above about 0.2 screenshot, 1 a black-and-white grid.

    Args:
        gray: (H, W) uint8 luma at native scale; every k-th row is looked at so that about half a megapixel is.
    """
    import cv2

    stride = max(1, gray.size // MAX_PIXELS)
    upper, lower = gray[:-1:stride, :-1], gray[1::stride, :-1]
    if upper.size == 0:
        return 0.0
    across = cv2.absdiff(gray[:-1:stride, 1:], upper)
    down = cv2.absdiff(lower[: len(upper)], upper)
    steeper, calmer = cv2.max(across, down), cv2.min(across, down)
    huge = np.count_nonzero(steeper >= HUGE_STEP)
    if huge == 0:
        return 0.0
    edges = steeper >= EDGE_STEP
    num_edges = np.count_nonzero(edges)
    drawn = huge / (huge + np.count_nonzero(steeper >= SENSOR_STEP) - num_edges)
    aligned = np.count_nonzero(edges & (calmer <= ALIGNED)) / num_edges
    counts = cv2.calcHist([upper], [0], None, [256], [0, 256]).reshape(-1)
    greys = float(np.sort(counts)[-NUM_GREYS:].sum()) / upper.size
    return float((drawn * aligned * greys) ** (1 / 3))
