"""CLIP features of a picture through open_clip, and with a head on them its aesthetic score.

Place in the flow: a scorer of `assess`; `select` may compare its embeddings. Any open_clip model: a name with a tag of
its hub or a file, or a folder (`local-dir:FOLDER`). The head is LAION's linear one (`sa_0_4_vit_l_14_linear.pth`) or a
stack of linear layers without activations, such as the improved-aesthetic-predictor's; each belongs to one model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from supir_console import UserError
from supir_curate.scorers.contract import Answer, Identity, PathSetting, Rgb
from supir_curate.scorers.networks import run_network
from supir_curate.scorers.weights import file_sha256, state_sha256, torch_weights, versions
from supir_curate.scores import Score
from supir_curate.strict import StrictConfig

if TYPE_CHECKING:
    import torch


class ClipConfig(StrictConfig):
    """CLIP features and aesthetic score."""

    uses_gpu: ClassVar = True

    kind: Literal["clip"] = "clip"
    model: str = Field(default="ViT-L-14", description="open_clip's name of a model, or local-dir:FOLDER")
    weights: str = Field(default="openai", description="tag of open_clip's hub, or a file")
    aesthetic: PathSetting | None = Field(
        default=None, description="torch file of the linear head; null gives no score"
    )

    def scores(self, name: str) -> tuple[Score, ...]:
        """Returns what the scorer measures."""
        return (
            (Score(name, "aesthetic rating, about 1 to 10; more is better", 1, 10),) if self.aesthetic else ()
        )

    def load(self, name: str, device: str, batch_images: int) -> Clip:
        """Returns the loaded scorer."""
        return Clip(name, self, device, batch_images)


class Clip:
    """An image tower of open_clip and its head.

    Raises:
        UserError: open_clip, the model or the head is not there, or they do not fit.
    """

    def __init__(self, name: str, config: ClipConfig, device: str, batch_images: int) -> None:
        import torch

        model, self._transform = _open_clip(name, config)
        self._model = model.to(device)
        self._name, self._device, self._batch_images = name, device, batch_images
        weights = {config.model: state_sha256(model.visual)}
        height, width = model.visual.image_size
        with torch.inference_mode():
            self.width = int(self._embed(torch.zeros(1, 3, height, width, device=device)).shape[1])
        self._head: tuple[torch.Tensor, torch.Tensor] | None = None
        if config.aesthetic is not None:
            if not config.aesthetic.is_file():
                raise UserError(
                    f"assess.scorers.{name}.aesthetic {config.aesthetic} does not exist; LAION's heads are at"
                    " https://github.com/LAION-AI/aesthetic-predictor"
                )
            self._head = folded_head(name, config.aesthetic, self.width)
            weights[config.aesthetic.name] = file_sha256(config.aesthetic)
        self.identity = Identity(weights, versions("torch", "open_clip_torch"))

    def prepare(self, rgb: Rgb) -> torch.Tensor:
        """Returns the network's input, prepared as the model was trained."""
        from PIL import Image

        return self._transform(Image.fromarray(rgb))

    def answer(self, prepared: Sequence[torch.Tensor]) -> list[Answer]:
        """Returns features of length 1, and the head's score of them."""
        rows = run_network(self._embed, prepared, self._device, self._batch_images)
        if self._head is None:
            return [Answer({}, row) for row in rows]
        weight, bias = (part.numpy() for part in self._head)
        return [Answer({self._name: float(row @ weight[0] + bias[0])}, row) for row in rows]

    def _embed(self, batch: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self._model.encode_image(batch, normalize=True)
        return features


def folded_head(scorer: str, path: Path, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns weight (1, width) and bias (1,) that equal the file's stack of linear layers, float32.

    Args:
        scorer: its name, for the message.
        path: a state dict of one linear layer, or of several numbered ones.
        width: of the features.

    Raises:
        UserError: the file holds something else, or was made for other features.
    """
    import torch

    state: dict[str, Any] = torch_weights(scorer, path)
    try:
        prefixes = sorted(
            (name.removesuffix("weight") for name in state if name.endswith("weight")), key=_layer_number
        )
        weight, bias = torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
        for prefix in prefixes:
            layer = state[prefix + "weight"].double()
            weight, bias = layer @ weight, layer @ bias + state[prefix + "bias"].double()
        if not prefixes or weight.shape[0] != 1:
            raise ValueError(f"it ends in {weight.shape[0]} numbers, not one")
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"scorer {scorer}: {path} is no linear head for features of width {width} ({error}); take the head that"
            " was trained on this model"
        ) from error
    return weight.float(), bias.float()


def _layer_number(prefix: str) -> int:
    """Returns the number in a layer's name, such as `layers.6.`; 0 without one."""
    return int("".join(filter(str.isdigit, prefix)) or 0)


def _open_clip(name: str, config: ClipConfig) -> tuple[Any, Any]:
    try:
        import open_clip
    except ImportError as error:
        raise UserError(f"scorer {name} needs open_clip; type: pip install open_clip_torch") from error
    is_folder = config.model.startswith("local-dir:")
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            config.model, pretrained=None if is_folder else config.weights, require_pretrained=True
        )
    except Exception as error:  # a name, a download or a file: open_clip raises what it meets
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"scorer {name} cannot load {config.model} {'' if is_folder else config.weights} ({reason}); where no hub"
            f" is reached, give a file: --set assess.scorers.{name}.weights=PATH, or --set"
            f" assess.scorers.{name}.model=local-dir:FOLDER"
        ) from error
    return model.eval(), transform
