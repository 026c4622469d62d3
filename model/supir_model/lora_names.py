"""Which weight of a SUPIR model a tensor of a LoRA file is about: the names of diffusers, kohya and PEFT.

Place in the flow: below `lora.py`, which reads the tensors and changes the weights.
Law: a name means a place or it means nothing; nothing is guessed by its ending. The names are functions of the model's
own modules, so they hold for any width and depth.
Source: names as written by diffusers' `save_lora_weights` (PEFT's and the older `processor` layout), by kohya's
sd-scripts (both its LDM and its diffusers block numbers) and by PEFT's `save_pretrained`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor, nn

from supir_model.official_names import unet_name
from supir_model.supir import Supir

Role = Literal["down", "up", "alpha"]

_ROLES: Final = re.compile(
    r"(?P<stem>.+)\.(?:lora_(?P<letter>[AB])|(?:lora_|lora\.|lora_linear_layer\.)(?P<word>down|up))"
    r"(?:\.[^.]+)?\.weight"  # PEFT may name the adapter here, as in lora_A.default.weight
)
_PROCESSOR: Final = re.compile(r"\.processor\.(to_\w+)_lora\.(down|up)\.weight$")
OTHER_KINDS: Final = {
    "DoRA (weight-decomposed)": r"dora_scale|lora_magnitude_vector",
    "LoHa": r"hada_\w+",
    "LoKr": r"lokr_\w+",
    "OFT": r"b?oft_\w+",
    "IA3": r"on_input",
    "LoCon with a middle factor": r"lora_mid",
    "LoRA with biases": r"lora_[AB](?:\.[^.]+)?\.bias",
    "whole differences of weights": r"diff|diff_b",
}
"""Files that are no plain LoRA, by a part of a tensor's name."""


@dataclass(frozen=True, slots=True)
class Place:
    """One module with a weight: `part` is unet, text_encoder or text_encoder_2, `path` its name inside."""

    part: str
    path: str
    module: nn.Module

    @property
    def weight(self) -> Tensor:
        """The weight, (O, I) of a linear layer or (O, I, h, w) of a convolution."""
        weight = self.module.weight
        assert isinstance(weight, Tensor), "only such modules are places"
        return weight


def other_kind(name: str) -> str | None:
    """Returns what a tensor belongs to, where it is no plain LoRA's.

    Example:
        >>> other_kind("lora_unet_mid_block_attentions_0_proj_in.dora_scale")
        'DoRA (weight-decomposed)'
    """
    return next(
        (kind for kind, mark in OTHER_KINDS.items() if re.search(rf"\.(?:{mark})(?:\.|$)", name)), None
    )


def split_name(name: str) -> tuple[str, Role] | None:
    """Returns the stem of a tensor's name and what the tensor is; None for a name of another kind.

    Example:
        >>> split_name("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight")
        ('lora_te1_text_model_encoder_layers_0_mlp_fc1', 'up')
        >>> split_name("unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight")
        ('unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out', 'down')
    """
    if name.endswith(".alpha"):
        return name.removesuffix(".alpha"), "alpha"
    found = _ROLES.fullmatch(_PROCESSOR.sub(r".\1.lora.\2.weight", name))
    if found is None:
        return None
    return found["stem"], "down" if found["letter"] == "A" or found["word"] == "down" else "up"


def places_of(supir: Supir) -> dict[str, list[Place]]:
    """Returns the places that each stem can mean; more than one where a stem does not say which part it is about."""
    places: dict[str, list[Place]] = defaultdict(list)
    parts = {
        "unet": supir.unet,
        "text_encoder": supir.text.text_encoder,
        "text_encoder_2": supir.text.text_encoder_2,
    }
    for part, network in parts.items():
        for path, module in network.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                for stem in _unet_stems(path) if part == "unet" else _text_stems(part, path):
                    places[stem].append(Place(part, path, module))
    return places


def _unet_stems(path: str) -> set[str]:
    paths = {path, path.removesuffix(".0")} if path.endswith(".to_out.0") else {path}
    official = unet_name(f"{path}.weight").removesuffix(".weight")
    kohya = {f"lora_unet_{name.replace('.', '_')}" for name in (path, official)}
    return kohya.union(*(_dotted("unet", name) for name in paths))


def _text_stems(part: str, path: str) -> set[str]:
    bare = path.removeprefix("text_model.")
    paths = {bare} if bare == "text_projection" else {bare, f"text_model.{bare}"}
    prefixes = ("lora_te2",) if part == "text_encoder_2" else ("lora_te1", "lora_te")
    kohya = {f"{prefix}_{name.replace('.', '_')}" for prefix in prefixes for name in paths}
    return kohya.union(*(_dotted(part, name) for name in paths))


def _dotted(part: str, path: str) -> set[str]:
    """With the part's name, without it, and both behind PEFT's own levels."""
    return {f"{level}{name}" for level in ("", "base_model.model.") for name in (path, f"{part}.{path}")}
