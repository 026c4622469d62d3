"""SDXL LoRAs put into a SUPIR model for good.

Place in the flow: after `load_supir`, before sampling or training.
Law: the LoRA becomes part of the weights, W + scale · alpha / rank · B A, computed in float32; nothing is left on the
modules. Every tensor of the file is accounted for, or the file is refused by the first that is not, and a refused file
has changed nothing. The control encoder keeps its own weights: a LoRA changes the prior, as a finetune of SDXL does.
Source: Hu et al. 2021, equation 3; Kalajdzievski 2023 for alpha / sqrt(rank), where a file says that it was so trained.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from supir_model.errors import ModelFileError
from supir_model.lora_names import Place, Role, other_kind, places_of, split_name
from supir_model.supir import Supir
from supir_model.tensor_file import TensorFile

PEFT_FILE: Final = "adapter_model.safetensors"
PEFT_CONFIG: Final = "adapter_config.json"
DIFFUSERS_METADATA: Final = "lora_adapter_metadata"


def fuse_lora(supir: Supir, path: str | Path, scale: float = 1.0) -> dict[str, int]:
    """Add a LoRA to the UNet and, where it has a part for them, to both text encoders.

    Args:
        path: file made for SDXL with the names of diffusers, kohya or PEFT, `.safetensors` or of torch.save; or the
            folder of PEFT's `save_pretrained`.
        scale: strength; negative values take away.

    Returns:
        The number of layers that were changed, by part: unet, text_encoder, text_encoder_2.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: it is no plain LoRA (DoRA, LoHa, LoKr … by name), does not fit this model, or holds numbers that
            are none; the model is then as before.
        ValueError: the model is stored in 8 bits, or offloaded.
    """
    file = lora_file(path)
    if any(hasattr(module, "_diffusers_hook") for module in supir.unet.modules()):
        raise ValueError("a LoRA cannot be fused into offloaded or 8-bit weights; call fuse_lora before")
    changes = _read_changes(supir, file, scale)
    for change in changes:
        if not change.merged().isfinite().all():
            raise ModelFileError(
                f"{file} makes {change.place.part}.{change.place.path} infinite in {change.place.weight.dtype}; "
                f"use less of it than {scale:g}"
            )
    for change in changes:
        change.place.weight.data.copy_(change.merged())
    return dict(Counter(change.place.part for change in changes))


def lora_file(path: str | Path) -> Path:
    """Returns the file that `path`, a file or the folder of PEFT's `save_pretrained`, means.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(path)
    if path.is_dir() and (path / PEFT_FILE).is_file():
        return path / PEFT_FILE
    if not path.is_file():
        wanted = f"folder without {PEFT_FILE}" if path.is_dir() else "file"
        found = "is a" if path.is_dir() else "is no"
        raise FileNotFoundError(f"{path} {found} {wanted}; give a LoRA for SDXL (.safetensors)")
    return path


@dataclass(frozen=True, slots=True)
class _Change:
    """One layer's part of a LoRA: `up` (O, r, …) times `down` (r, I, …), times `factor`."""

    place: Place
    down: Tensor
    up: Tensor
    factor: float

    def merged(self) -> Tensor:
        """The layer's new weight, in its own precision."""
        weight = self.place.weight
        up, down = (matrix.flatten(1).to(weight.device, torch.float32) for matrix in (self.up, self.down))
        return (weight.float() + self.factor * (up @ down).reshape(weight.shape)).to(weight.dtype)


@dataclass(frozen=True, slots=True)
class _Alphas:
    """What a file notes of alpha beside its tensors, by part ("" where PEFT wrote one part alone)."""

    configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def factor(self, place: Place, rank: int, own: float | None) -> float:
        config = self.configs.get(place.part, self.configs.get("", {}))
        alpha = own
        if alpha is None:
            patterns = config.get("alpha_pattern") or {}
            named = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", place.path))
            alpha = next(named, config.get("lora_alpha", rank))
        return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _read_changes(supir: Supir, path: Path, scale: float) -> list[_Change]:
    file = TensorFile(path)
    layers: dict[str, dict[Role, Tensor]] = defaultdict(dict)
    for name, tensor in file.read_all():
        if (kind := other_kind(name)) is not None:
            raise ModelFileError(f"{path} is {kind}, by its tensor {name}; only plain LoRAs are read")
        split = split_name(name)
        if split is None:
            raise ModelFileError(
                f"{path} is no LoRA: its tensor {name} is none of one; give one made for SDXL"
            )
        if not tensor.isfinite().all():
            raise ModelFileError(
                f"{path} is damaged: {name} holds numbers that are none (NaN or infinite); download it again"
            )
        stem, role = split
        layers[stem][role] = tensor
    alphas, places = _noted_alphas(file), places_of(supir)
    return list(_changes(path, layers, places, alphas, scale))


def _changes(
    path: Path,
    layers: dict[str, dict[Role, Tensor]],
    places: dict[str, list[Place]],
    alphas: _Alphas,
    scale: float,
) -> Iterator[_Change]:
    for stem, tensors in layers.items():
        if stem not in places:
            number = sum(other not in places for other in layers)
            raise ModelFileError(
                f"{path} is no LoRA for this model: it has no layer {stem} ({number} of {len(layers)} such); "
                "give one made for SDXL"
            )
        if not tensors.keys() >= {"down", "up"}:
            raise ModelFileError(
                f"{path} is incomplete: {stem} has only {', '.join(tensors)}; download it again"
            )
        down, up = tensors["down"], tensors["up"]
        place = _fitting(path, stem, places[stem], down, up)
        own = float(tensors["alpha"].flatten()[0]) if "alpha" in tensors else None
        yield _Change(place, down, up, scale * alphas.factor(place, len(down), own))


def _fitting(path: Path, stem: str, places: list[Place], down: Tensor, up: Tensor) -> Place:
    """The one place whose weight has the shape of the product."""
    seen = f"{list(up.shape)} times {list(down.shape)}"
    inner = up[0].numel() == len(down) if up.ndim > 1 and down.ndim > 1 else False
    fitting = [
        place
        for place in places
        if inner and len(up) == len(place.weight) and down[0].numel() == place.weight[0].numel()
    ]
    if len(fitting) == 1:
        return fitting[0]
    wanted = " or ".join(f"{place.part}'s {list(place.weight.shape)}" for place in places)
    if fitting:
        raise ModelFileError(
            f"{path} does not say which part {stem} is about, and {seen} fits {wanted}; name the parts in its tensors"
        )
    raise ModelFileError(
        f"{path} is no LoRA for this model: {stem} is {seen}, wanted {wanted}; give one made for SDXL"
    )


def _noted_alphas(file: TensorFile) -> _Alphas:
    """What diffusers writes into the file's header, or PEFT into a file beside it."""
    beside = file.path.with_name(PEFT_CONFIG)
    try:
        if DIFFUSERS_METADATA in file.metadata:
            configs: dict[str, dict[str, Any]] = defaultdict(dict)
            for name, value in json.loads(file.metadata[DIFFUSERS_METADATA]).items():
                part, _, key = name.partition(".")
                configs[part][key] = value
        elif file.path.name == PEFT_FILE and beside.is_file():
            configs = {"": dict(json.loads(beside.read_text(encoding="utf-8")))}
        else:
            return _Alphas()
    except (ValueError, AttributeError, TypeError, OSError) as error:
        raise ModelFileError(f"{file.path}: what it notes of alpha cannot be read: {error}") from error
    if any(config.get("use_dora") for config in configs.values()):
        raise ModelFileError(f"{file.path} is DoRA, by its config; only plain LoRAs are read")
    return _Alphas(dict(configs))
