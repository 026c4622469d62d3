"""A start for the connectors at which the frozen decoder still works.

Place in the flow: the adapter stage of `train` calls it once, before its first step.
Law: changes only the weight and bias of the ten ZeroSFT normalisations, which the released layout has too.
Why: a fresh ZeroSFT hands the decoder *normalised* features, which its 1×1 shortcut convolutions have never
seen. The affine parameters can undo most of that: per channel, the least-squares line from the normalised to the
raw feature over one batch. Ours; not in the paper, whose training is long enough to recover.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from supir_model.adapted_unet import adapted_output
from supir_model.connectors import ZeroSFT

if TYPE_CHECKING:
    from supir_model.supir import Supir
    from supir_model.text import TextConditioning


@torch.no_grad()
def calibrate_connectors(
    supir: Supir, x_in: Tensor, timestep: Tensor, conditioning: TextConditioning, time_ids: Tensor
) -> None:
    """Fit the ten ZeroSFT normalisations to the decoder features of one batch.

    Args:
        x_in: (B, C, h, w) scaled noisy latents of training images; 16 or more are enough.
        timestep: (B,) int64, spread over 0 to 999.
        conditioning, time_ids: of the same B images.
    """
    layers = [layer for layer in supir.connectors.layers if isinstance(layer, ZeroSFT)]
    handles = [layer.norm.register_forward_pre_hook(_fit_affine) for layer in layers]
    text = supir.prepare(x_in, conditioning, time_ids)
    maps = supir.control(x_in, timestep, text.hint, text.context, text.control_embedding, text.mask)
    try:
        # at scale 0 every connector sees, and passes on, the raw features of the plain decoder
        adapted_output(
            supir.unet,
            supir.connectors,
            maps,
            x_in,
            timestep,
            text.context,
            text.unet_embedding,
            control_scale=0.0,
            mask=text.mask,
        )
    finally:
        for handle in handles:
            handle.remove()


def _fit_affine(norm: nn.GroupNorm, inputs: tuple[Tensor]) -> None:
    """Set the affine of `norm` to the least-squares line from its normalised input to the input itself."""
    raw = inputs[0].float()
    normalised = nn.functional.group_norm(raw, norm.num_groups, eps=norm.eps)
    axes = (0, 2, 3)
    mean_raw, mean_normalised = raw.mean(axes), normalised.mean(axes)
    covariance = (raw * normalised).mean(axes) - mean_raw * mean_normalised
    variance = normalised.square().mean(axes) - mean_normalised.square()
    weight = covariance / variance.clamp_min(norm.eps)
    norm.weight.copy_(weight)
    norm.bias.copy_(mean_raw - weight * mean_normalised)
