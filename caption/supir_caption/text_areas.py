"""Where there is writing: the detector of rapidocr's wheel (PP-OCRv6 small, Apache-2.0), without reading it.

The detector takes round, blob-like shapes (a cup's rim, a flower) for text at the same scores as real text,
so only areas with the shape of a line are kept: long, and low beside the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from supir_caption.resizing import resized
from supir_console import UserError
from supir_shards import Box

if TYPE_CHECKING:
    from supir_caption.config import TagsConfig

_MIN_ELONGATION = 1.7  # of a line of text: length over height
_MAX_HEIGHT_SHARE = 0.15  # of a line of text, of the picture's shorter side

FindText = Callable[[NDArray[np.uint8], tuple[int, int]], list[Box]]


def text_finder(config: TagsConfig) -> FindText:
    """Returns the function that gives the text areas of a picture, from the top down.

    It takes the picture as `reduced_for_text` returns it and the (width, height) whose px the areas are to be in.

    Raises:
        UserError: rapidocr is not installed.
    """
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise UserError(
            f"finding text needs rapidocr ({error}); type: pip install 'supir-stack[caption]'"
        ) from error
    detector = RapidOCR(
        params={
            "Global.log_level": "error",
            "Det.limit_type": "max",
            "Det.limit_side_len": config.text_side_px,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        }
    )

    def find(small: NDArray[np.uint8], size: tuple[int, int]) -> list[Box]:
        bgr = np.ascontiguousarray(small[:, :, ::-1])
        found = detector(bgr, use_det=True, use_cls=False, use_rec=False)
        if found.boxes is None:
            return []
        height, width = small.shape[:2]
        lines = [
            corners
            for corners, score in zip(found.boxes, found.scores, strict=True)
            if score >= config.text_score and is_line(corners, min(width, height))
        ]
        return [_box(corners, size[0] / width, size[1] / height) for corners in lines]

    return find


def reduced_for_text(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Returns the picture as the detector is shown it, uint8 (H, W, 3), its longer side at most `side_px`."""
    height, width = rgb.shape[:2]
    scale = min(1.0, side_px / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return resized(rgb, size, "bicubic")


def is_line(corners: NDArray[Any], shorter_side: int) -> bool:
    """Returns whether a text area has the shape of a line of text.

    Args:
        corners: float (4, 2), px, in turn around the area; it may stand at any angle.
        shorter_side: of the picture, px.
    """
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    length, height = sorted((float(sides[0] + sides[2]) / 2, float(sides[1] + sides[3]) / 2), reverse=True)
    return length >= _MIN_ELONGATION * height and height <= _MAX_HEIGHT_SHARE * shorter_side


def _box(corners: NDArray[Any], scale_x: float, scale_y: float) -> Box:
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    return round(x0 * scale_x), round(y0 * scale_y), round(x1 * scale_x), round(y1 * scale_y)
