"""The robust encoder as a part of its own, with a config: what a diffusers pipeline saves, loads and offloads.

Place in the flow: `supir_infer.pipeline` holds it; a `Supir` takes it in the place of the plain encoder.
Law: its tensors have the plain encoder's names, so that one file serves both.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import Encoder
from torch import nn

from supir_model.mini_vae import MiniEncoder, MiniVAE


class KLRobustEncoder(Encoder, ModelMixin, ConfigMixin):
    """Robust encoder of an `AutoencoderKL`; the arguments are that autoencoder's."""

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        latent_channels: int = 4,
        down_block_types: tuple[str, ...] = ("DownEncoderBlock2D",) * 4,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        mid_block_add_attention: bool = True,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=latent_channels,
            down_block_types=down_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            act_fn=act_fn,
            norm_num_groups=norm_num_groups,
            mid_block_add_attention=mid_block_add_attention,
        )


class MiniRobustEncoder(MiniEncoder, ModelMixin, ConfigMixin):
    """Robust encoder of a `MiniVAE`; the arguments are that autoencoder's."""

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 64,
        block_out_channels: tuple[int, int, int] = (32, 64, 128),
        robust_layers: tuple[int, int] = (10, 12),
    ) -> None:
        super().__init__(latent_channels, block_out_channels, robust_layers)


def new_robust_encoder(vae: AutoencoderKL | MiniVAE) -> nn.Module:
    """A robust encoder that starts as the VAE's encoder does (paper section 3.1): SDXL's a copy, mini's deeper."""
    return vae.new_robust_encoder() if isinstance(vae, MiniVAE) else copy.deepcopy(vae.encoder)


def as_component(encoder: nn.Module, vae: AutoencoderKL | MiniVAE) -> KLRobustEncoder | MiniRobustEncoder:
    """The robust encoder of a `Supir` as a part with a config; the tensors are shared, not copied.

    Args:
        encoder: `Supir.robust_encoder`.
        vae: the autoencoder that it belongs to.
    """
    if isinstance(encoder, KLRobustEncoder | MiniRobustEncoder):
        return encoder
    kind: Any = MiniRobustEncoder if isinstance(vae, MiniVAE) else KLRobustEncoder
    names = kind._get_init_keys(kind) - {"self"}
    with torch.device("meta"):
        component = kind(**{name: vae.config[name] for name in names if name in vae.config})
    component.load_state_dict(encoder.state_dict(), assign=True)
    for name, buffer in encoder.named_buffers():
        component.register_buffer(name, buffer, persistent=False)
    component.requires_grad_(False).eval()
    result: KLRobustEncoder | MiniRobustEncoder = component
    return result
