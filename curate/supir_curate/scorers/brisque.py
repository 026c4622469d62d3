"""The scorer BRISQUE: `supir_quality.brisque` with its support vectors loaded.

Place in the flow: a scorer of `assess`, on the CPU. What is measured, and where the parameters are from, stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.weights import file_sha256, weight_file
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig
from supir_quality.brisque import FILE, RANGES_FILE, REQUIREMENT, BrisqueModel


class BrisqueConfig(StrictConfig):
    """BRISQUE."""

    uses_gpu: ClassVar = False

    kind: Literal["brisque"] = "brisque"
    weights: PathSetting | None = Field(
        default=None,
        description="libsvm's svm.txt, with normalize.pickle beside it; null takes the installed one",
    )

    def scores(self, name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (Score(name, "0 good to 100 bad", -20, 120),)

    def load(self, name: str, _device: str, _batch_images: int) -> Brisque:
        """Returns the loaded scorer."""
        return Brisque(name, self.weights)


class Brisque:
    """BRISQUE with its support vectors loaded.

    Raises:
        UserError: they are not there.
        MeasureMissing: the files hold something else.
    """

    width = 0

    def __init__(self, name: str, weights: Path | None) -> None:
        path = weight_file(name, weights, "brisque", f"models/{FILE}", REQUIREMENT)
        weight_file(name, path.with_name(RANGES_FILE), "", RANGES_FILE, REQUIREMENT)
        self._model = BrisqueModel.load(path)
        self._name = name
        self.identity = Identity({file.name: file_sha256(file) for file in self._model.files})

    def prepare(self, rgb: Rgb) -> Answer:
        """Returns the answer: NaN for a picture without texture."""
        return Answer({self._name: self._model.score(rgb)})

    def answer(self, prepared: Sequence[Answer]) -> list[Answer]:
        """Returns them as they are."""
        return list(prepared)
