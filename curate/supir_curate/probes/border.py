"""Border: the share of a picture that is a uniform frame (letterbox bars, scanned margins, product cut-outs).

Ours. Blind spots: a clear sky or a studio background that reaches an edge with less than 2 levels of variation
counts as frame; a frame with a pattern does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_DEVIATION = 2.0  # grey levels within a line
MAX_DRIFT = 3.0  # grey levels between a line and the outermost one


def border_share(gray: NDArray[np.uint8]) -> float:
    """Returns the share of the area outside the largest picture that uniform lines leave, 0 to 1.

    Args:
        gray: (H, W) uint8 luma.
    """
    top, bottom = _uniform_lines(gray), _uniform_lines(gray[::-1])
    left, right = _uniform_lines(gray.T), _uniform_lines(gray.T[::-1])
    height, width = gray.shape
    inner = max(0, height - top - bottom) * max(0, width - left - right)
    return 1.0 - inner / (height * width)


def _uniform_lines(lines: NDArray[np.uint8]) -> int:
    outermost = float(lines[0].mean())
    for count, line in enumerate(lines):
        if float(line.std()) > MAX_DEVIATION or abs(float(line.mean()) - outermost) > MAX_DRIFT:
            return count
    return len(lines)
