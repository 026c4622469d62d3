"""A network of SDXL's shape and a few hundred thousand numbers, as the files that people have of SDXL and SUPIR."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from open_clip.transformer import TextTransformer
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from supir_model import PRESETS
from supir_model.checkpoint import Adapter, save_checkpoint
from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.official_names import UNET, VAE, official_shape, unet_name, vae_name


@dataclass(frozen=True)
class OfficialFiles:
    """An SDXL base in one file and a SUPIR checkpoint, small but laid out as the published ones."""

    base: Path
    checkpoint: Path


def write_small_sdxl(folder: Path) -> OfficialFiles:
    """Writes random weights in the layout of the published files into `folder`."""
    files = OfficialFiles(folder / "sd_xl_small.safetensors", folder / "SUPIR-v0S.ckpt")
    torch.manual_seed(3)
    sdxl = PRESETS["sdxl"]
    shape = {"block_out_channels": (32, 64, 128), "attention_head_dim": (1, 1, 2), "cross_attention_dim": 192}
    sizes = {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 16 + 6 * 8}
    unet = UNet2DConditionModel(**{**sdxl.unet, **shape, **sizes, "transformer_layers_per_block": (1, 1, 1)})
    vae = AutoencoderKL(**{**sdxl.vae, "block_out_channels": (32, 32, 32, 32)})
    towers = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 96}
    first = CLIPTextModel(CLIPTextConfig(**{**sdxl.text_encoder, **towers}))
    second = TextTransformer(width=128, heads=2, layers=2, output_dim=16, vocab_size=49408)
    named = {UNET + unet_name(key): value for key, value in unet.state_dict().items()}
    named |= {VAE + vae_name(key, 4): value for key, value in vae.state_dict().items()}
    named = {name: value.reshape(official_shape(name, tuple(value.shape))) for name, value in named.items()}
    stem = "conditioner.embedders.0.transformer.text_model."
    named |= {stem + key.removeprefix("text_model."): value for key, value in first.state_dict().items()}
    named |= {f"conditioner.embedders.1.model.{key}": value for key, value in second.state_dict().items()}
    save_file({name: value.contiguous() for name, value in named.items()}, files.base)
    adapter = Adapter(
        ControlEncoder.for_unet(unet, (1, 1, 1)),
        Connectors(block_out_channels=unet.config["block_out_channels"]),
        AutoencoderKL(**{**sdxl.vae, "block_out_channels": (32, 32, 32, 32)}).encoder,
    )
    save_checkpoint(adapter, files.checkpoint)
    return files
