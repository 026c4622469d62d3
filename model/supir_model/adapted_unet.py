"""One UNet evaluation with the connectors in its decoder: diffusers' blocks, called by a loop of our own.

Place in the flow: `Supir.eps` calls `network_output`.
Law: nothing is attached to the UNet and nothing is remembered between calls: the control maps are arguments,
also of the recomputation under gradient checkpointing. Attention backends and layerwise casting act on the modules
inside and keep working; what patches a whole `up_block.forward` (FreeU, block-level offload) does not.
Source: paper figure 3; positions in README.md. The encoder half is diffusers' own and needs no gradient when
nothing before the middle block is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.prepared import PreparedConditioning, repeated


def adapted_output(
    unet: UNet2DConditionModel,
    connectors: Connectors,
    maps: Sequence[Tensor],
    x_in: Tensor,
    timestep: Tensor,
    context: Tensor,
    embedding: Tensor,
    control_scale: float,
    mask: Tensor | None = None,
) -> Tensor:
    """What the UNet puts out, (R, C, h, w), with every decoder input passed through its connector.

    Args:
        maps: the ten control maps (R, …), shallow to deep.
        x_in: (B, C, h, w) scaled noisy latent.
        timestep: (B,) int64 table index.
        context: (R, T, D) text tokens, R a multiple of B: every latent under several prompts.
        embedding: (R, 4·w0) of `size_embedding`.
        control_scale: 0 to 1, linear between the plain and the adapted decoder input.
        mask: (R, T) bool, True on a prompt's own tokens; None where every prompt fills the context.
    """
    frozen = not any(parameter.requires_grad for parameter in unet.parameters())
    # frozen weights and inputs without a graph: the encoder half has no gradient to keep activations for
    with torch.no_grad() if frozen and not _needs_grad(x_in, context, embedding) else nullcontext():
        temb, skips, hidden = _encode(unet, x_in, timestep, context, embedding, mask)
    hidden = connectors.layers[11](hidden, None, maps[9], control_scale)
    index = 10
    for level, block in enumerate(unet.up_blocks):
        for j in range(len(block.resnets)):
            step = _DecoderStep(block, j, connectors.layers[index], control_scale)
            # connectors 10..0 skip two numbers, the cross-attentions; skips and maps are indexed alike
            position = 8 - (3 * level + j)
            hidden = _run(block, step, hidden, skips[position], maps[position], temb, context, mask)
            index -= 1
        if block.upsamplers is not None:
            control = maps[8 - (3 * level + 2)]
            hidden = connectors.layers[index](hidden, control, control_scale)
            hidden = block.upsamplers[0](hidden, skips[5 - 3 * level].shape[-2:])
            index -= 1
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))


def network_output(
    unet: UNet2DConditionModel,
    control: ControlEncoder,
    connectors: Connectors,
    x_in: Tensor,
    timestep: Tensor,
    prepared: PreparedConditioning,
    control_scale: float,
) -> Tensor:
    """The adapted UNet's output, or the plain one's where there is no LQ image or no control; as of `Supir.eps`."""
    if prepared.hint is None or prepared.control_embedding is None or control_scale == 0.0:
        return plain_output(unet, x_in, timestep, prepared)
    context, mask = prepared.context, prepared.mask
    maps = control(x_in, timestep, prepared.hint, context, prepared.control_embedding, mask)
    given = x_in, timestep, context, prepared.unet_embedding, control_scale, mask
    return adapted_output(unet, connectors, maps, *given)


def plain_output(
    unet: UNet2DConditionModel, x_in: Tensor, timestep: Tensor, prepared: PreparedConditioning
) -> Tensor:
    """What the plain UNet puts out, (R, C, h, w), by diffusers' own forward pass; arguments as of `Supir.eps`."""
    copies = len(prepared.context) // len(x_in)
    added = {"text_embeds": prepared.pooled, "time_ids": prepared.time_ids}
    text = {"encoder_hidden_states": prepared.context, "encoder_attention_mask": prepared.mask}
    x_in, timestep = repeated(x_in, copies), repeated(timestep, copies)
    return unet(x_in, timestep, **text, added_cond_kwargs=added).sample


def size_embedding(unet: UNet2DConditionModel, context: Tensor, pooled: Tensor, time_ids: Tensor) -> Tensor:
    """The part of the UNet's time embedding that no step changes, (R, 4·w0): pooled text and the size vector."""
    added = {"text_embeds": pooled, "time_ids": time_ids}
    return unet.get_aug_embed(pooled, context, added)


def _needs_grad(*tensors: Tensor) -> bool:
    return any(tensor.requires_grad for tensor in tensors)


def _encode(
    unet: UNet2DConditionModel,
    x_in: Tensor,
    timestep: Tensor,
    context: Tensor,
    embedding: Tensor,
    mask: Tensor | None,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Time embedding (R, 4·w0), the nine skips shallow to deep, the middle block's output."""
    copies = len(context) // len(x_in)
    temb = repeated(unet.time_embedding(unet.get_time_embed(x_in, timestep)), copies) + embedding
    hidden = repeated(unet.conv_in(x_in), copies)
    skips = [hidden]
    text = {"encoder_hidden_states": context, "encoder_attention_mask": mask}
    for block in unet.down_blocks:
        hidden, outputs = block(hidden, temb, **(text if hasattr(block, "attentions") else {}))
        skips.extend(outputs)
    return temb, skips, unet.mid_block(hidden, temb, **text)


class _DecoderStep:
    """Connector, residual block and transformer j of one up block as a pure function of its tensors."""

    def __init__(self, block: nn.Module, j: int, connector: nn.Module, control_scale: float) -> None:
        self.resnet: Any = block.resnets[j]  # type: ignore[index]
        self.transformer: Any = block.attentions[j] if hasattr(block, "attentions") else None  # type: ignore[index]
        self.connector = connector
        self.control_scale = control_scale

    def __call__(
        self,
        hidden: Tensor,
        skip: Tensor,
        control: Tensor,
        temb: Tensor,
        context: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        hidden = self.resnet(self.connector(hidden, skip, control, self.control_scale), temb)
        if self.transformer is None:
            return hidden
        text = {"encoder_hidden_states": context, "encoder_attention_mask": mask}
        return self.transformer(hidden, **text, return_dict=False)[0]


def _run(block: nn.Module, step: Callable[..., Tensor], *tensors: Tensor | None) -> Tensor:
    if torch.is_grad_enabled() and block.gradient_checkpointing:
        return checkpoint(step, *tensors, use_reentrant=False)
    return step(*tensors)
