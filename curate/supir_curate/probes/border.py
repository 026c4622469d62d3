"""Border: the share of a picture that is a uniform frame (letterbox bars, scanned margins, mats).

A frame's lines are of one colour, and where it ends the picture begins at once. A clear sky or a studio background is
of one colour too, but what stands in it rises out of it bit by bit: it has no such end and is no frame.

Ours. Blind spots: bars beside a picture that is as dark as they are; a frame with a pattern, or in a frame; a calm sky
over a level horizon counts as frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_DEVIATION = 2.0  # grey levels within a line
MAX_DRIFT = 3.0  # grey levels between a line and the outermost one
REACH_PX = 8  # a JPEG block's ringing, or a reduction's mixing, lies between a frame and its picture
VISIBLE_STEP = 6  # grey levels between the frame and a pixel of the picture …
ENDS_SHARE = 0.4  # … that so many of the end's pixels show


def border_share(gray: NDArray[np.uint8]) -> float:
    """Returns the share of the area outside the largest picture that uniform lines leave, 0 to 1.

    Args:
        gray: (H, W) uint8 luma.

    1 for a picture of one colour.
    """
    top, bottom = _frame_lines(gray), _frame_lines(gray[::-1])
    left, right = _frame_lines(gray.T), _frame_lines(gray.T[::-1])
    height, width = gray.shape
    inner = max(0, height - top - bottom) * max(0, width - left - right)
    return 1.0 - inner / (height * width)


def _frame_lines(lines: NDArray[np.uint8]) -> int:
    """Returns how many lines from the first one on are a frame."""
    outermost = float(lines[0].mean())
    count = _uniform_lines(lines, outermost)
    if count in (0, len(lines)):
        return count
    after = lines[count : count + REACH_PX].astype(np.float32)
    shown = (np.abs(after - outermost) > VISIBLE_STEP).mean(axis=1)
    return count if shown.max() >= ENDS_SHARE else 0


def _uniform_lines(lines: NDArray[np.uint8], outermost: float) -> int:
    for count, line in enumerate(lines):
        if float(line.std()) > MAX_DEVIATION or abs(float(line.mean()) - outermost) > MAX_DRIFT:
            return count
    return len(lines)
