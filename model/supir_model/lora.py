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

from supir_model.errors import ModelFileError, told_by
from supir_model.supir import Supir
from supir_model.tensor_file import TensorFile


def fuse_lora(supir: Supir, path: str | Path, scale: float = 1.0) -> None:
    """Add a LoRA to the UNet and, where it has a part for them, to both text encoders.

    Args:
        path: file made for SDXL, `.safetensors` or of torch.save.
        scale: strength; negative values take away.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: it is no LoRA for this UNet; the model is then as before.
        ValueError: the model is stored in 8 bits, or offloaded.
        ImportError: peft is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a LoRA for SDXL (.safetensors)")
    if any(hasattr(module, "_diffusers_hook") for module in supir.unet.modules()):
        raise ValueError("a LoRA cannot be fused into offloaded or 8-bit weights; call fuse_lora before")
    tensors = dict(TensorFile(path).read_all())
    trainable = {id(parameter) for parameter in supir.parameters() if parameter.requires_grad}
    host = _Host(supir)
    try:
        host.load_lora_weights(tensors)
        touched = [name for name, part in host.components.items() if getattr(part, "peft_config", None)]
        if not touched:
            raise ValueError(f"none of its {len(tensors)} tensors fits")
        host.fuse_lora(components=touched, lora_scale=scale)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelFileError(
            f"{path} is no LoRA for this UNet: {told_by(error)}; give one made for SDXL"
        ) from error
    finally:
        host.unload_lora_weights()
        for part in host.components.values():
            # unloading leaves it set after a refusal, and saving then asks the hub
            part._hf_peft_config_loaded = False
        for parameter in supir.parameters():
            parameter.requires_grad_(id(parameter) in trainable)


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
