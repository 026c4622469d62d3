"""The probability of one class by any image classifier of transformers: watermarks, drawings, what it was trained for.

Place in the flow: a scorer of `assess`. The model is a folder with `config.json` and safetensors, or the id of a hub;
no watermark detector is known that installs from a package registry. Code of a model's own is never run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, Rgb
from supir_curate.scorers.networks import run_network
from supir_curate.scorers.weights import state_sha256, versions
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig

if TYPE_CHECKING:
    import torch


class ClassifierConfig(StrictConfig):
    """One class of an image classifier."""

    uses_gpu: ClassVar = True

    kind: Literal["classifier"] = "classifier"
    model: str = Field(min_length=1, description="folder of a transformers image classifier, or its hub id")
    label: str = Field(default="", description="its class; empty takes the scorer's name")

    def scores(self, name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (Score(name, f"probability of {self.label or name}", 0, 1),)

    def load(self, name: str, device: str, batch_images: int) -> Classifier:
        """Returns the loaded scorer."""
        return Classifier(name, self, device, batch_images)


class Classifier:
    """An image classifier and its preparation.

    Raises:
        UserError: the model is not there, or has no such class.
    """

    width = 0

    def __init__(self, name: str, config: ClassifierConfig, device: str, batch_images: int) -> None:
        self._processor, model = _from_pretrained(name, config.model)
        label = config.label or name
        numbers = {str(text): int(number) for number, text in model.config.id2label.items()}
        if label not in numbers:
            raise UserError(
                f"scorer {name}: {config.model} has no class {label!r} but {', '.join(numbers)}; name one with"
                f" --set assess.scorers.{name}.label=CLASS"
            )
        self._model, self._class = model.eval().to(device), numbers[label]
        self._name, self._device, self._batch_images = name, device, batch_images
        self.identity = Identity({config.model: state_sha256(model)}, versions("torch", "transformers"))

    def prepare(self, rgb: Rgb) -> torch.Tensor:
        """Returns the network's input, prepared as the model's folder says."""
        from PIL import Image

        pixels: torch.Tensor = self._processor(Image.fromarray(rgb), return_tensors="pt")["pixel_values"][0]
        return pixels

    def answer(self, prepared: Sequence[torch.Tensor]) -> list[Answer]:
        """Returns the probability of the class."""
        rows = run_network(self._probabilities, prepared, self._device, self._batch_images)
        return [Answer({self._name: float(row[self._class])}) for row in rows]

    def _probabilities(self, batch: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(pixel_values=batch).logits
        return logits.softmax(dim=1)


def _from_pretrained(name: str, place: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoImageProcessor, AutoModelForImageClassification
    except ImportError as error:
        raise UserError(
            f"scorer {name} needs transformers ({error}); type: pip install transformers"
        ) from error
    try:
        # Pickled weights would run code while they are read.
        model = AutoModelForImageClassification.from_pretrained(place, use_safetensors=True)
        return AutoImageProcessor.from_pretrained(place), model
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"scorer {name} cannot load {place} ({reason}); give a folder with config.json, preprocessor_config.json"
            f" and model.safetensors: --set assess.scorers.{name}.model=FOLDER"
        ) from error
