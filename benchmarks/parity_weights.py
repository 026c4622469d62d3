"""A model whose every weight follows from its official name, opened from files in the official layout.

Rule: the seed is the CRC-32 of the name; norm gains are 1 + 0.1·n, biases 0.05·n, all else n / sqrt(fan-in).
Place in the flow: the parity cases get their `Supir` here, through `TensorFile`, `load_unet`, `load_vae` and
`load_checkpoint`, as a user's files would be opened.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from parity_agreement import Agreement, no_problems
from safetensors.torch import save_file
from torch import nn

from supir_model.checkpoint import load_checkpoint
from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.official_names import (
    CONNECTORS,
    CONTROL,
    ROBUST_ENCODER,
    UNET,
    VAE,
    connector_name,
    official_shape,
    unet_name,
    vae_name,
)
from supir_model.presets import PRESETS
from supir_model.single_file import load_unet, load_vae
from supir_model.supir import Supir
from supir_model.tensor_file import TensorFile

Row = tuple[str, list[int], str]
"""Official name, shape, CRC-32 of the tensor's bytes in 8 hexadecimal digits."""
Shapes = dict[str, tuple[int, ...]]
IN_THE_SUPIR_FILE = (CONTROL, CONNECTORS, ROBUST_ENCODER)
SMALL_UNET = {
    **PRESETS["sdxl"].unet,
    "block_out_channels": (32, 64, 128),
    "transformer_layers_per_block": (1, 1, 1),
    "attention_head_dim": (1, 1, 2),
    "cross_attention_dim": 16,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64,
}
SMALL_VAE = {**PRESETS["sdxl"].vae, "block_out_channels": (32, 32, 32, 32)}
SMALL_TIME_ID_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class Opened:
    """A model from official files; `plain_unet` is opened once more from the base alone."""

    supir: Supir
    plain_unet: UNet2DConditionModel


def seeded_tensor(name: str, shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """The float32 tensor of an official name."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    values = generator.standard_normal(tuple(shape), dtype=np.float32)
    if name.endswith("weight") and len(shape) == 1:
        return np.float32(1) + np.float32(0.1) * values
    if name.endswith("bias") or len(shape) == 1:
        return np.float32(0.05) * values
    fan_in = np.prod(np.array(shape[1:], dtype=np.float64))
    return values * np.float32(1 / np.sqrt(fan_in))


def checksums(case: str, rows: Sequence[Row]) -> Agreement:
    """Whether every tensor has the stored checksum."""
    wrong = sum(f"{zlib.crc32(seeded_tensor(name, shape).tobytes()):08x}" != crc for name, shape, crc in rows)
    return no_problems(case, f"checksum of {len(rows)} name-seeded tensors (wrong)", wrong)


def shapes_of(rows: Sequence[Row]) -> Shapes:
    """The shape of every listed tensor."""
    return {name: tuple(shape) for name, shape, _ in rows}


def network_shapes(unet_config: Mapping[str, Any], control_depth: tuple[int, ...]) -> Shapes:
    """Official names and shapes of UNet, control encoder and connectors."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_config)
        control = ControlEncoder.for_unet(unet, control_depth)
        connectors = Connectors(block_out_channels=unet.config["block_out_channels"])
    return {
        **_official(CONTROL, unet_name, control),
        **_official(CONNECTORS, connector_name, connectors),
        **_official(UNET, unet_name, unet),
    }


def vae_shapes(vae_config: Mapping[str, Any]) -> Shapes:
    """Official names and shapes of a VAE and its robust encoder."""
    levels = len(vae_config["block_out_channels"])
    with torch.device("meta"):
        vae = AutoencoderKL(**vae_config)
    return {
        **_official(VAE, lambda key: vae_name(key, levels), vae),
        **_official(ROBUST_ENCODER, lambda key: vae_name(key, levels), vae.encoder),
    }


def open_supir(
    shapes: Shapes, *, head_channels: int = 64, time_id_channels: int = SMALL_TIME_ID_CHANNELS
) -> Opened:
    """The model of these name-seeded tensors; a missing VAE or network is a small one, by the same rule.

    Args:
        shapes: official names of a network, a VAE or both, with their shapes.
        head_channels: width of the UNet's attention heads.
        time_id_channels: width of the embedding of each of the six size numbers.
    """
    if not any(name.startswith(VAE) for name in shapes):
        shapes = shapes | vae_shapes(SMALL_VAE)
    if not any(name.startswith(UNET) for name in shapes):
        shapes = shapes | network_shapes(SMALL_UNET, (1, 1, 1))
    tensors = {name: torch.from_numpy(seeded_tensor(name, shape)) for name, shape in shapes.items()}
    added = {name: tensor for name, tensor in tensors.items() if name.startswith(IN_THE_SUPIR_FILE)}
    with tempfile.TemporaryDirectory() as folder:
        base, delta = Path(folder) / "base.safetensors", Path(folder) / "supir.ckpt"
        save_file({name: tensor for name, tensor in tensors.items() if name not in added}, base)
        torch.save(added, delta)
        file = TensorFile(base)
        unet, plain_unet = (
            load_unet(file, head_channels=head_channels, time_id_channels=time_id_channels) for _ in range(2)
        )
        vae = load_vae(file)
        adapter = load_checkpoint(delta, unet, vae)
    text: Any = nn.Identity()  # conditioning comes from the fixtures, the text encoders are never called
    supir = Supir(
        unet=unet,
        control=adapter.control,
        connectors=adapter.connectors,
        vae=vae,
        robust_encoder=adapter.robust_encoder,
        text=text,
    )
    return Opened(supir, plain_unet.eval())


def _official(prefix: str, official: Any, module: nn.Module) -> Shapes:
    named = ((prefix + official(key), parameter) for key, parameter in module.named_parameters())
    return {name: official_shape(name, tuple(parameter.shape)) for name, parameter in named}
