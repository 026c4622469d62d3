"""Seams: straight lines from edge to edge at which a picture changes, the mark of a collage or a pasted half.

Along a seam nearly every pixel differs from its neighbour across it more than its neighbours differ from theirs. A
line's score is the share of its pixels whose step across it is both visible and three times the steps on either side.

Ours. Blind spots: frames with a gap of one colour between the pictures show as two seams only where the pictures are
not that colour; seams that do not run from edge to edge; a horizon or a wall as straight as a ruler and as wide as the
picture scores too, up to about 0.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MARGIN_SHARE = 0.08  # lines nearer to the edges belong to frames, see `probes.border`
VISIBLE_STEP = 6  # grey levels
OUTSTANDS = 3  # times the larger step beside it


def seam_share(gray: NDArray[np.uint8]) -> float:
    """Returns the share of the most seam-like row or column that is a seam, 0 none to 1 a seam from edge to edge.

    Args:
        gray: (H, W) uint8 luma at the working scale.

    0 for a side under 16 px.
    """
    import cv2

    if min(gray.shape) < 16:
        return 0.0
    # Every fourth pixel along the lines is enough; across them none may be left out.
    return max(_best_line(np.ascontiguousarray(gray[:, ::4])), _best_line(cv2.transpose(gray[::4])))


def _best_line(lines: NDArray[np.uint8]) -> float:
    """Returns the score of the best horizontal seam."""
    import cv2

    # Over two pixels, as reducing spreads a seam over two steps; on a ramp this is twice the steps outside.
    across = cv2.absdiff(lines[3:-1], lines[1:-3])
    outside = cv2.max(cv2.absdiff(lines[:-4], lines[1:-3]), cv2.absdiff(lines[3:-1], lines[4:]))
    least = cv2.max(cv2.multiply(outside, OUTSTANDS), VISIBLE_STEP)
    seen = cv2.compare(across, least, cv2.CMP_GE)  # 255 where it is so
    share = cv2.reduce(seen, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] / (255 * seen.shape[1])
    margin = int(MARGIN_SHARE * len(lines))
    inner = share[margin : len(share) - margin]
    return float(inner.max()) if len(inner) else 0.0
