"""The scorer NIQE: `supir_quality.niqe` with its parameters loaded.

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
from supir_quality.niqe import FILE, REQUIREMENT, NiqeParameters, luma, niqe


class NiqeConfig(StrictConfig):
    """NIQE."""

    uses_gpu: ClassVar = False

    kind: Literal["niqe"] = "niqe"
    weights: PathSetting | None = Field(
        default=None, description="niqe_pris_params.npz; null takes the installed one"
    )

    def scores(self, name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (Score(name, "distance; lower is more natural", 0, 20),)

    def load(self, name: str, _device: str, _batch_images: int) -> Niqe:
        """Returns the loaded scorer."""
        return Niqe(name, self.weights)


class Niqe:
    """NIQE with its parameters loaded.

    Raises:
        UserError: they are not there, or the file holds something else.
    """

    width = 0

    def __init__(self, name: str, weights: Path | None) -> None:
        path = weight_file(name, weights, "basicsr", f"metrics/{FILE}", REQUIREMENT)
        self._parameters = NiqeParameters.load(path)
        self._name = name
        self.identity = Identity({path.name: file_sha256(path)})

    def prepare(self, rgb: Rgb) -> Answer:
        """Returns the answer: NaN for a picture of fewer than two blocks with any texture."""
        return Answer({self._name: niqe(luma(rgb), self._parameters)})

    def answer(self, prepared: Sequence[Answer]) -> list[Answer]:
        """Returns them as they are."""
        return list(prepared)
