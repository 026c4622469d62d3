"""The shape of a model without its weights: read from the config files of a folder, built on the meta device.

Place in the flow: the trainer counts bytes on it before it loads anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer
from transformers.initialization import no_init_weights

from supir_model.folder import holds_model, part_config
from supir_model.load import TOKENIZER, build
from supir_model.presets import PREDICTION_TYPE, PRESETS, Preset
from supir_model.supir import Supir


def hollow_supir(preset: Preset) -> Supir:
    """The model of `preset` on the meta device: every shape and no number. Its tokenizer is the package's small one."""
    with (
        torch.device("meta"),
        no_init_weights(),
    ):  # on meta tensors drawing changes nothing and takes its time
        return build(preset, CLIPTokenizer.from_pretrained(TOKENIZER))


def preset_of(base: Path) -> Preset:
    """The shape of what `base` holds: a folder of `Supir.save_pretrained`, a diffusers SDXL folder, or an SDXL file.

    Raises:
        FileNotFoundError: the folder lacks the config of a part.
        ModelFileError: a config is damaged.
    """
    if base.is_file():
        return PRESETS["sdxl"]
    vae = part_config(base / "vae")
    own: dict[str, Any] = {}
    depth = PRESETS["sdxl"].control_depth
    if holds_model(base):
        own = _arguments(part_config(base / "connectors"))
        own.pop("block_out_channels")
        depth = tuple(part_config(base / "control")["transformer_layers_per_block"])
    unet = _arguments(part_config(base / "unet"))
    return Preset(
        prediction_type=unet.pop(PREDICTION_TYPE, "epsilon"),
        unet=unet,
        control_depth=depth,
        connectors=own,
        vae_class="MiniVAE" if vae["_class_name"] == "MiniVAE" else "AutoencoderKL",
        vae=_arguments(vae),
        text_encoder=part_config(base / "text_encoder"),
        text_encoder_2=part_config(base / "text_encoder_2"),
    )


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}
