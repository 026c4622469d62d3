"""The twelve connectors that let the control encoder steer a frozen SDXL decoder.

Place in the flow: `adapted_unet.py` calls them in the decoder; the control maps come from `control.py`.
Law: every connector blends linearly, `control_scale * adapted + (1 - control_scale) * raw`; at 0 it returns
the raw decoder input. The order (0 = shallowest … 11 = after the middle block) is that of the released files.
Legend: B batch, L width of the control map, N width of the skip, M width of the main path.
Source: paper section 3.2 (ZeroSFT); the cross-attention connector is not in the paper, only in the released
weights. Differs in one initial value: the output projection of ZeroCrossAttention starts at zero, so that an
untrained adapter changes nothing but the normalisation.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)
ConnectorKind = Literal["zero_sft", "zero_conv"]

CROSS_ATTENTION = (3, 7)
"""Indices of the two ZeroCrossAttention connectors; each sits in front of an upsampler."""
NORM_EPS = 1e-5


def zero_module(module: ModuleT) -> ModuleT:
    """The same module with all its parameters set to zero."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ZeroSFT(nn.Module):
    """Spatial feature transform of [main, skip] by a control map; a fresh one only normalises.

    Args:
        control_channels: L.
        main_channels: M.
        skip_channels: N; 0 for the one behind the middle block, which has no skip.
        hidden_channels: width between the control map and its scale and shift (SDXL: 128).
        norm_num_groups: groups of the normalisation over M + N channels (SDXL: 32).
    """

    def __init__(
        self,
        control_channels: int,
        main_channels: int,
        skip_channels: int,
        *,
        hidden_channels: int,
        norm_num_groups: int,
    ) -> None:
        super().__init__()
        width = main_channels + skip_channels
        self.norm = nn.GroupNorm(norm_num_groups, width, eps=NORM_EPS)
        self.hidden = nn.Conv2d(control_channels, hidden_channels, 3, padding=1)
        self.gamma = zero_module(nn.Conv2d(hidden_channels, width, 3, padding=1))
        self.beta = zero_module(nn.Conv2d(hidden_channels, width, 3, padding=1))
        self.residual = zero_module(nn.Conv2d(control_channels, skip_channels or main_channels, 1))

    def forward(self, main: Tensor, skip: Tensor | None, control: Tensor, control_scale: float) -> Tensor:
        """The decoder input (B, M + N, h, w), main channels first."""
        residual = self.residual(control)
        if skip is None:
            raw, shifted = main, main + residual
        else:
            raw, shifted = torch.cat([main, skip], dim=1), torch.cat([main, skip + residual], dim=1)
        hidden = nn.functional.silu(self.hidden(control))
        adapted = _modulated(self.norm(shifted), self.gamma(hidden), self.beta(hidden))
        return torch.lerp(raw, adapted, control_scale) if control_scale != 1.0 else adapted


def _modulated(normalised: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """The sum normalised · (1 + gamma) + beta; `gamma` is given up for it where no graph is kept."""
    if torch.is_grad_enabled():
        return torch.addcmul(normalised + beta, normalised, gamma)
    # in place: fresh pages would cost more than the arithmetic
    return gamma.add_(1).mul_(normalised).add_(beta)


class ZeroCrossAttention(nn.Module):
    """Cross-attention from a decoder map (queries) to a control map of the same size (keys, values).

    Args:
        query_channels: M, a multiple of `head_channels`.
        control_channels: L.
        head_channels: width of one head (SDXL: 64, whatever the UNet's own head width).
        norm_num_groups: groups of the two normalisations.
    """

    def __init__(
        self, query_channels: int, control_channels: int, *, head_channels: int, norm_num_groups: int
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_num_groups, query_channels, eps=NORM_EPS)
        self.norm2 = nn.GroupNorm(norm_num_groups, control_channels, eps=NORM_EPS)
        self.attn = Attention(
            query_channels,
            cross_attention_dim=control_channels,
            heads=query_channels // head_channels,
            dim_head=head_channels,
        )
        zero_module(self.attn.to_out[0])

    def forward(self, main: Tensor, control: Tensor, control_scale: float) -> Tensor:
        """The decoder map (B, M, h, w) plus `control_scale` times what it read from the control map."""
        queries = self.norm1(main).flatten(2).transpose(1, 2)
        tokens = self.norm2(control).flatten(2).transpose(1, 2)
        read = self.attn(queries, encoder_hidden_states=tokens).transpose(1, 2).reshape(main.shape)
        return main + control_scale * read


class ZeroConv(nn.Module):
    """ControlNet's connector, for the ablation: the control map through one zero-initialised 1×1 convolution.

    Args:
        control_channels: L.
        main_channels: M.
        skip_channels: N; 0 for the one behind the middle block.

    Source: Zhang et al. 2023 (ControlNet), section 3.2: added to the skip, or to the middle block's output.
    """

    def __init__(self, control_channels: int, main_channels: int, skip_channels: int) -> None:
        super().__init__()
        self.residual = zero_module(nn.Conv2d(control_channels, skip_channels or main_channels, 1))

    def forward(self, main: Tensor, skip: Tensor | None, control: Tensor, control_scale: float) -> Tensor:
        """The decoder input (B, M + N, h, w), main channels first."""
        residual = control_scale * self.residual(control)
        return main + residual if skip is None else torch.cat([main, skip + residual], dim=1)


class NoCrossAttention(nn.Module):
    """What stands in the place of ZeroCrossAttention in a plain ControlNet: nothing."""

    def forward(self, main: Tensor, control: Tensor, control_scale: float) -> Tensor:  # noqa: ARG002
        """The decoder map as it is."""
        return main


class Connectors(ModelMixin, ConfigMixin):
    """The twelve connectors of a UNet of widths (w0, w1, w2); `layers[i]` is connector i.

    Args:
        block_out_channels: widths of the UNet (and of the control encoder), shallow to deep.
        kind: "zero_sft" is SUPIR's; "zero_conv" is the plain ControlNet baseline, which needs none of the others.
        hidden_channels, head_channels, norm_num_groups: see `ZeroSFT` and `ZeroCrossAttention`.
    """

    config_name = "config.json"
    # float8 would round away what starts at zero or is a scale
    _skip_layerwise_casting_patterns = ("norm", "gamma", "beta", "residual", "to_out")

    @register_to_config
    def __init__(
        self,
        block_out_channels: tuple[int, int, int],
        kind: ConnectorKind = "zero_sft",
        hidden_channels: int = 128,
        head_channels: int = 64,
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__()

        def sft(control: int, main: int, skip: int) -> ZeroSFT | ZeroConv:
            if kind == "zero_conv":
                return ZeroConv(control, main, skip)
            return ZeroSFT(
                control, main, skip, hidden_channels=hidden_channels, norm_num_groups=norm_num_groups
            )

        def cross(query: int, control: int) -> ZeroCrossAttention | NoCrossAttention:
            if kind == "zero_conv":
                return NoCrossAttention()
            return ZeroCrossAttention(
                query, control, head_channels=head_channels, norm_num_groups=norm_num_groups
            )

        w0, w1, w2 = block_out_channels
        self.layers = nn.ModuleList(
            [
                *(sft(w0, w0, w0), sft(w0, w0, w0), sft(w0, w1, w0)),
                cross(w1, w0),
                *(sft(w0, w1, w0), sft(w1, w1, w1), sft(w1, w2, w1)),
                cross(w2, w1),
                *(sft(w1, w2, w1), sft(w2, w2, w2), sft(w2, w2, w2)),
                sft(w2, w2, 0),
            ]
        )
