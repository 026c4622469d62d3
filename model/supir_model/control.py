"""The control encoder: a trainable copy of the UNet's encoder and middle block that also sees the LQ latent.

Place in the flow: gets the same noisy latent, timestep, text and size vector as the UNet, plus z_lq; its ten
maps go to the connectors.
Law: the LQ latent enters only through one zero-initialised 3×3 convolution added after `conv_in`, so a fresh
copy gives exactly the UNet encoder's own features. The transformer depth is its own: [1, 2, 10] is the
released network, [1, 1, 5] the paper's trimmed one.
Source: paper section 3.2; diffusers blocks, not forked.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_blocks import UNetMidBlock2DCrossAttn, get_down_block
from torch import Tensor, nn

from supir_model.connectors import zero_module
from supir_model.prepared import repeated

NUM_MAPS = 10


class ControlEncoder(ModelMixin, ConfigMixin):
    """SDXL encoder and middle block with a hint convolution; all arguments mean what they mean in the UNet.

    Args:
        transformer_layers_per_block: depth per level; the middle block has the last level's.
        attention_head_dim: number of heads per level (diffusers' historical name).
    """

    config_name = "config.json"
    _supports_gradient_checkpointing = True
    _repeated_blocks = ("BasicTransformerBlock",)
    _skip_layerwise_casting_patterns = ("norm", "hint")

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        block_out_channels: tuple[int, ...] = (320, 640, 1280),
        down_block_types: tuple[str, ...] = ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        layers_per_block: int = 2,
        transformer_layers_per_block: tuple[int, ...] = (1, 2, 10),
        attention_head_dim: tuple[int, ...] = (5, 10, 20),
        cross_attention_dim: int = 2048,
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 2816,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        width = block_out_channels[0]
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.hint = zero_module(nn.Conv2d(in_channels, width, 3, padding=1))
        self.time_proj = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(width, 4 * width)
        self.add_time_proj = Timesteps(addition_time_embed_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.add_embedding = TimestepEmbedding(projection_class_embeddings_input_dim, 4 * width)
        shared: dict[str, Any] = {
            "temb_channels": 4 * width,
            "resnet_eps": norm_eps,
            "resnet_act_fn": "silu",
            "resnet_groups": norm_num_groups,
            "cross_attention_dim": cross_attention_dim,
            "use_linear_projection": True,
        }
        inputs = (width, *block_out_channels)
        last = len(block_out_channels) - 1
        self.down_blocks = nn.ModuleList(
            get_down_block(
                kind,
                num_layers=layers_per_block,
                in_channels=inputs[level],
                out_channels=block_out_channels[level],
                add_downsample=level < last,
                downsample_padding=1,
                transformer_layers_per_block=transformer_layers_per_block[level],
                num_attention_heads=attention_head_dim[level],
                attention_head_dim=attention_head_dim[level],
                **shared,
            )
            for level, kind in enumerate(down_block_types)
        )
        self.mid_block = UNetMidBlock2DCrossAttn(
            in_channels=block_out_channels[-1],
            transformer_layers_per_block=transformer_layers_per_block[-1],
            num_attention_heads=attention_head_dim[-1],
            **shared,
        )

    def embed(self, pooled: Tensor, time_ids: Tensor) -> Tensor:
        """The part of the time embedding that no step changes, (R, 4·w0).

        Args:
            pooled: (R, P) pooled text.
            time_ids: (R, 6) original size, crop, target size, pixels.
        """
        sizes = self.add_time_proj(time_ids.flatten()).reshape(len(time_ids), -1)
        return self.add_embedding(torch.cat([pooled, sizes.to(pooled.dtype)], dim=-1).to(self.dtype))

    def embed_hint(self, z_lq: Tensor) -> Tensor:
        """The LQ latent (B, C, h, w) behind the hint convolution, (B, w0, h, w)."""
        return self.hint(z_lq)

    def forward(
        self,
        x_in: Tensor,
        timestep: Tensor,
        hint: Tensor,
        context: Tensor,
        embedding: Tensor,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Ten maps (R, …), shallow to deep: conv_in, the eight other encoder outputs, the middle block.

        Args:
            x_in: (B, C, h, w) scaled noisy latent, as the UNet gets it.
            timestep: (B,) int64 table index.
            hint: (B, w0, h, w), `embed_hint` of the scaled LQ latent, not divided by sqrt(sigma^2 + 1).
            context: (R, T, D) text tokens, R a multiple of B: every latent under several prompts.
            embedding: (R, 4·w0) of `embed`.
            mask: (R, T) bool, True on a prompt's own tokens; None where every prompt fills the context.
        """
        copies = len(context) // len(x_in)
        time = self.time_embedding(self.time_proj(timestep).to(x_in.dtype))
        temb = repeated(time, copies) + embedding
        hidden = repeated(self.conv_in(x_in) + hint, copies)
        maps = (hidden,)
        text = {"encoder_hidden_states": context, "encoder_attention_mask": mask}
        for block in self.down_blocks:
            hidden, outputs = block(hidden, temb, **(text if hasattr(block, "attentions") else {}))
            maps += outputs
        return (*maps, self.mid_block(hidden, temb, **text))

    @classmethod
    def for_unet(cls, unet: UNet2DConditionModel, depth: tuple[int, ...]) -> ControlEncoder:
        """A fresh control encoder shaped for `unet`, with its own transformer depth per level."""
        names = (
            "in_channels block_out_channels down_block_types layers_per_block attention_head_dim "
            "cross_attention_dim addition_time_embed_dim projection_class_embeddings_input_dim "
            "norm_num_groups norm_eps"
        )
        shape = {name: unet.config[name] for name in names.split()}
        return cls(**shape, transformer_layers_per_block=tuple(depth))

    @torch.no_grad()
    def copy_from_unet(self, unet: UNet2DConditionModel) -> None:
        """Overwrite everything but the hint convolution with the UNet's encoder and middle block.

        Of a deeper UNet, evenly spaced transformer blocks are taken (every second one at half depth).
        """
        source = unet.state_dict()
        own = {key: value for key, value in self.state_dict().items() if not key.startswith("hint.")}
        depths = _transformer_depths(source), _transformer_depths(own)
        for key, value in own.items():
            value.copy_(source[_source_key(key, *depths)])


def _transformer_depths(keys: dict[str, Tensor]) -> dict[str, int]:
    """The number of blocks of each transformer, by its key prefix."""
    depths: dict[str, int] = {}
    for key in keys:
        prefix, found, rest = key.partition(".transformer_blocks.")
        if found:
            depths[prefix] = max(depths.get(prefix, 0), int(rest.split(".")[0]) + 1)
    return depths


def _source_key(key: str, source_depths: dict[str, int], own_depths: dict[str, int]) -> str:
    prefix, found, rest = key.partition(".transformer_blocks.")
    if not found:
        return key
    index, leaf = rest.split(".", 1)
    position = int(index) * source_depths[prefix] // own_depths[prefix]
    return f"{prefix}.transformer_blocks.{position}.{leaf}"
