"""SDXL LoRAs put into a SUPIR model for good.

Place in the flow: after `load_supir`, before sampling or training.
Law: the LoRA becomes part of the weights (W + scale · B A · alpha / rank); nothing of peft stays on the modules. The
control encoder keeps its own weights: a LoRA changes the prior, as a finetune of SDXL does.
Source: Hu et al. 2021, equation 3; the file formats (diffusers, kohya) are read by diffusers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from diffusers.loaders import StableDiffusionXLLoraLoaderMixin
from safetensors.torch import load_file

from supir_model.errors import ModelFileError
from supir_model.supir import Supir


def fuse_lora(supir: Supir, path: str | Path, scale: float = 1.0) -> None:
    """Add a LoRA to the UNet and, where it has a part for them, to both text encoders.

    Args:
        path: `.safetensors` file made for SDXL.
        scale: strength; negative values take away.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: it is no LoRA for this UNet.
        ImportError: peft is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a LoRA for SDXL (.safetensors)")
    tensors = load_file(path)
    host = _Host(supir)
    try:
        host.load_lora_weights(tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        cause = str(error).splitlines()[0]
        raise ModelFileError(f"{path} is no LoRA for this UNet: {cause}; give one made for SDXL") from error
    touched = [name for name, part in host.components.items() if getattr(part, "peft_config", None)]
    if not touched:
        raise ModelFileError(
            f"{path} is no LoRA for this UNet: none of its {len(tensors)} tensors fits; give one made for SDXL"
        )
    host.fuse_lora(components=touched, lora_scale=scale)
    host.unload_lora_weights()
    supir.requires_grad_(False)


class _Host(StableDiffusionXLLoraLoaderMixin):
    """What diffusers' loader expects of a pipeline: the three modules by name."""

    hf_device_map: ClassVar[None] = None

    def __init__(self, supir: Supir) -> None:
        self.components: dict[str, Any] = {
            "unet": supir.unet,
            "text_encoder": supir.text.text_encoder,
            "text_encoder_2": supir.text.text_encoder_2,
        }
        for name, part in self.components.items():
            setattr(self, name, part)
