"""Everything of a sampling run that no step changes, computed once.

Place in the flow: `Supir.prepare` makes it, `Supir.eps` and `Supir.denoise_prepared` read it at every step.
Legend: B latents, R prompts, a multiple of B: every latent under several
prompts, all latents under the first one first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from supir_model.text import trimmed


@dataclass(frozen=True, slots=True)
class PreparedConditioning:
    """What depends on the LQ image, the prompts and the size only, and so is the same at every step.

    Args:
        context: (R, T, D) text tokens.
        pooled: (R, P) pooled text.
        time_ids: (R, 6) size vector.
        unet_embedding: (R, 4·w0) text and size in the UNet's time embedding.
        control_embedding: (R, 4·w0) the same of the control encoder; None without an LQ image.
        hint: (B, w0, h, w) the LQ latent behind the hint convolution; None without an LQ image.
        mask: (R, T) bool, True on a prompt's own tokens; None where every prompt fills the context.
    """

    context: Tensor
    pooled: Tensor
    time_ids: Tensor
    unet_embedding: Tensor
    control_embedding: Tensor | None
    hint: Tensor | None
    mask: Tensor | None = None

    def under(self, prompts: slice) -> PreparedConditioning:
        """The same latents under some of the prompts."""
        control = self.control_embedding
        context, mask = trimmed(self.context[prompts], None if self.mask is None else self.mask[prompts])
        return PreparedConditioning(
            context=context,
            pooled=self.pooled[prompts],
            time_ids=self.time_ids[prompts],
            unet_embedding=self.unet_embedding[prompts],
            control_embedding=None if control is None else control[prompts],
            hint=self.hint,
            mask=mask,
        )


def repeated(tensor: Tensor, copies: int) -> Tensor:
    """`copies` times the batch, one after the other; `Tensor.repeat` would give up the channels-last layout."""
    return tensor if copies == 1 else torch.cat([tensor] * copies)
