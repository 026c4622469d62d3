"""A model put together of a pipeline's parts, each of which may lie elsewhere until it is used.

Place in the flow: `pipeline` makes one for each call. diffusers' whole-model offloading brings a part to its device
when the part's `forward` is called; SUPIR reaches into some parts without calling it, so they are brought before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from supir_model import Supir, TextConditioning
from supir_model.prepared import PreparedConditioning

if TYPE_CHECKING:
    from supir_infer.pipeline import SupirPipeline


class OffloadedSupir(Supir):
    """The pipeline's parts as one `Supir`; `device` is where they compute, not where they lie.

    Args:
        pipeline: its parts are shared.
    """

    def __init__(self, pipeline: SupirPipeline) -> None:
        super().__init__(
            unet=pipeline.unet,
            control=pipeline.control,
            connectors=pipeline.connectors,
            vae=pipeline.vae,
            text=pipeline.text_encoders(),
            robust_encoder=pipeline.robust_encoder,
            estimator=pipeline.estimator,
            strength_map=pipeline.strength_map,
        )
        where = torch.device(pipeline._execution_device)
        # tensors on "cpu:0" say that they are on "cpu"
        self._computes_on = torch.device("cpu") if where.type == "cpu" else where

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self._computes_on

    def encode_prompt(self, prompts: Sequence[str]) -> TextConditioning:
        """As `Supir.encode_prompt`."""
        _bring(self.text.text_encoder, self.text.text_encoder_2)
        return super().encode_prompt(prompts)

    def encode_lq(self, lq: Tensor) -> Tensor:
        """As `Supir.encode_lq`."""
        _bring(self.vae)
        return super().encode_lq(lq)

    def decode(self, latent: Tensor) -> Tensor:
        """As `Supir.decode`."""
        _bring(self.vae)
        return super().decode(latent)

    def prepare(
        self, z_lq: Tensor | None, conditioning: TextConditioning, time_ids: Tensor
    ) -> PreparedConditioning:
        """As `Supir.prepare`."""
        _bring(self.unet, self.control)
        return super().prepare(z_lq, conditioning, time_ids)

    def eps(
        self, x_in: Tensor, timestep: Tensor, prepared: PreparedConditioning, control_scale: float = 1.0
    ) -> Tensor:
        """As `Supir.eps`."""
        _bring(self.unet, self.control, self.connectors)
        return super().eps(x_in, timestep, prepared, control_scale)


def _bring(*parts: nn.Module) -> None:
    for part in parts:
        hook: Any = getattr(part, "_hf_hook", None)
        if hook is not None and hasattr(hook, "execution_device"):
            first = next(part.parameters())
            if first.device != torch.device(hook.execution_device):
                hook.pre_forward(part)
