"""How much of a picture is writing: the share of its area under lines of text, whatever they say.

Place in the flow: a scorer of `assess`, on the CPU (ONNX Runtime). Weights: PP-OCRv6's small detector as rapidocr's
wheel carries it (Apache-2.0). The detector takes round shapes for text at the same scores as text, so only areas with
the shape of a line count. Blind spots: writing lower than about 1 % of the long side, single letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.weights import file_sha256, versions, weight_file
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig

if TYPE_CHECKING:
    from rapidocr import RapidOCR

REQUIREMENT = "rapidocr"
DETECTOR = "models/PP-OCRv6_det_small.onnx"
MIN_ELONGATION = 1.7  # length over height of a line
MAX_HEIGHT_SHARE = 0.15  # of the picture's short side, above which nothing is a line


class TextConfig(StrictConfig):
    """Text area."""

    uses_gpu: ClassVar = False

    kind: Literal["text"] = "text"
    weights: PathSetting | None = Field(
        default=None, description="PP-OCRv6_det_small.onnx; null takes the installed one"
    )
    side_px: int = Field(default=640, ge=64, description="long side on which text is looked for")
    min_score: float = Field(default=0.6, ge=0, le=1, description="a text area counts from here on")

    def scores(self, _name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (Score("text_share", "share of the area under lines of text; 0 is none", 0, 1),)

    def load(self, name: str, _device: str, _batch_images: int) -> Text:
        """Returns the loaded scorer."""
        return Text(name, self)


class Text:
    """rapidocr's detector.

    Raises:
        UserError: the package or the weights are not there.
    """

    width = 0

    def __init__(self, name: str, config: TextConfig) -> None:
        path = weight_file(name, config.weights, "rapidocr", DETECTOR, REQUIREMENT)
        self._detector = _detector(name, path, config.side_px)
        self._config = config
        self.identity = Identity({path.name: file_sha256(path)}, versions("rapidocr", "onnxruntime"))

    def prepare(self, rgb: Rgb) -> Answer:
        """Returns the answer."""
        import cv2

        scale = min(1.0, self._config.side_px / max(rgb.shape[:2]))
        size = [max(1, round(side * scale)) for side in rgb.shape[1::-1]]
        bgr = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)[:, :, ::-1]
        found = self._detector(np.ascontiguousarray(bgr), use_det=True, use_cls=False, use_rec=False)
        if found.boxes is None:
            return Answer({"text_share": 0.0})
        pairs = zip(found.boxes, found.scores, strict=True)
        areas = [corners for corners, score in pairs if score >= self._config.min_score]
        return Answer({"text_share": line_share(areas, (size[1], size[0]))})

    def answer(self, prepared: Sequence[Answer]) -> list[Answer]:
        """Returns them as they are."""
        return list(prepared)


def line_share(areas: Sequence[NDArray[Any]], shape: tuple[int, int]) -> float:
    """Returns the share of a picture under those areas that have the shape of a line; overlaps count once.

    Args:
        areas: (4, 2) px corners in turn around each; they may stand at any angle.
        shape: height and width in px.
    """
    import cv2

    covered = np.zeros(shape, dtype=np.uint8)
    for corners in areas:
        _, sides, _ = cv2.minAreaRect(np.asarray(corners, dtype=np.float32))
        height, length = sorted(sides)
        if length >= MIN_ELONGATION * height and height <= MAX_HEIGHT_SHARE * min(shape):
            cv2.fillPoly(covered, [np.round(corners).astype(np.int32)], 1)
    return float(covered.mean())


def _detector(name: str, path: Path, side_px: int) -> RapidOCR:
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise UserError(f"scorer {name} needs rapidocr ({error}); type: pip install rapidocr") from error
    try:
        detector = RapidOCR(
            params={
                "Global.log_level": "error",
                "Det.model_path": str(path),
                "Det.limit_type": "max",
                "Det.limit_side_len": side_px,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            }
        )
        # It opens its file with the first picture; a wrong one must be known before that.
        detector(np.zeros((32, 32, 3), np.uint8), use_det=True, use_cls=False, use_rec=False)
    except Exception as error:  # ONNX Runtime has no class of its own for a damaged file
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"scorer {name}: {path} is no text detector ({reason}); give {DETECTOR}") from error
    return detector
