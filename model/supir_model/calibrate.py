"""A start for the connectors at which the frozen decoder still works.

Place in the flow: the adapter stage of `train` calls it once, before its first step.
Law: changes only the weight and bias of the ten ZeroSFT normalisations, which the released layout has too.
Why: a fresh ZeroSFT hands the decoder *normalised* features, which its 1×1 shortcut convolutions have never
seen. The affine parameters can undo most of that: per channel, the least-squares line from the normalised to the
raw feature over some images. Ours; not in the paper, whose training is long enough to recover.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from supir_model.adapted_unet import adapted_output
from supir_model.connectors import ZeroSFT

if TYPE_CHECKING:
    from supir_model.supir import Supir
    from supir_model.text import TextConditioning


@dataclass(frozen=True, slots=True, kw_only=True)
class Noised:
    """Images of one pass.

    `x_in` (B, C, h, w) are their scaled noisy latents, `timestep` (B,) int64 in 0 to 999; `conditioning` and
    `time_ids` are of the same B images.
    """

    x_in: Tensor
    timestep: Tensor
    conditioning: TextConditioning
    time_ids: Tensor


@torch.no_grad()
def calibrate_connectors(supir: Supir, passes: Iterable[Noised]) -> None:
    """Fit the ten ZeroSFT normalisations to the decoder features of some images.

    Args:
        passes: together 16 or more training images, at timesteps that are spread over all; how they are split changes
            rounding only, and one image a pass takes the least memory.
    """
    layers = [layer for layer in supir.connectors.layers if isinstance(layer, ZeroSFT)]
    lines = [_Line(layer.norm) for layer in layers]
    handles = [line.norm.register_forward_pre_hook(line.take) for line in lines]
    try:
        for noised in passes:
            _show(supir, noised)
    finally:
        for handle in handles:
            handle.remove()
    for line in lines:
        line.fit()


def _show(supir: Supir, noised: Noised) -> None:
    """Runs the decoder so that every connector sees, and passes on, its raw features: at scale 0."""
    x_in, timestep = noised.x_in, noised.timestep
    text = supir.prepare(x_in, noised.conditioning, noised.time_ids)
    maps = supir.control(x_in, timestep, text.hint, text.context, text.control_embedding, text.mask)
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


class _Line:
    """The least-squares line from the normalised input of `norm` to the input itself, per channel."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        self.norm = norm
        self._count = 0
        self._sums = torch.zeros(4, norm.num_channels, dtype=torch.float64)

    def take(self, norm: nn.GroupNorm, inputs: tuple[Tensor]) -> None:
        """Adds the moments of one pass; a hook of `norm`."""
        raw = inputs[0].float()
        normalised = nn.functional.group_norm(raw, norm.num_groups, eps=norm.eps)
        count, axes = raw.numel() // raw.shape[1], (0, 2, 3)
        moments = (raw, normalised, raw * normalised, normalised.square())
        self._sums += count * torch.stack([moment.mean(axes) for moment in moments]).double().cpu()
        self._count += count

    def fit(self) -> None:
        """Sets the affine of `norm` to the line."""
        raw, normalised, product, square = self._sums / self._count
        variance = square - normalised.square()
        weight = (product - raw * normalised) / variance.clamp_min(self.norm.eps)
        self.norm.weight.copy_(weight)
        self.norm.bias.copy_(raw - weight * normalised)
