"""Closed-form models in the place of the network, and ramps that remember what they gave.

Place in the flow: `parity_sampler.py` walks its trajectories with these. `Direct` stands for
`Supir.denoise_prepared`, `Indexed` only for `Supir.eps`, so that guidance, ramps, snapping and scaling are the
package's own. K is a number a sample, P a pattern, C the control latent, s the control scale.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from supir_model.guidance import LinearScale
from supir_model.prepared import PreparedConditioning
from supir_model.supir import Supir
from supir_model.text import TextConditioning


class Direct:
    """D(x, sigma) = (1 - q) x + q (k P + s C) in the place of `Supir`, as `guided` calls it."""

    def __init__(self, pattern: Tensor) -> None:
        self.pattern = pattern

    def prepare(self, z_lq: Tensor, conditioning: TextConditioning, time_ids: Tensor) -> PreparedConditioning:
        """C and the k of every prompt."""
        return _prepared(z_lq, conditioning, time_ids)

    def denoise_prepared(
        self, x: Tensor, sigma: float, prepared: PreparedConditioning, control_scale: float
    ) -> Tensor:
        """D (R, C, h, w) at exactly this sigma, of B latents under R prompts."""
        q, pull = sigma**2 / (1 + sigma**2), _pull(self.pattern, prepared, control_scale)
        return (1 - q) * x.repeat(len(pull) // len(x), 1, 1, 1) + q * pull


class Indexed(Supir):
    """A `Supir` whose eps is a closed form of the scaled input and the table index."""

    def __init__(self, pattern: Tensor) -> None:
        parts: dict[str, Any] = {
            name: nn.Identity() for name in ("unet", "control", "connectors", "vae", "robust_encoder", "text")
        }
        parts["unet"].dtype = torch.float32
        super().__init__(**parts)
        self.pattern = pattern
        self.indices: list[int] = []

    def prepare(
        self, z_lq: Tensor | None, conditioning: TextConditioning, time_ids: Tensor
    ) -> PreparedConditioning:
        """C and the k of every prompt."""
        assert z_lq is not None, "the fixtures always have a control latent"
        return _prepared(z_lq, conditioning, time_ids)

    def eps(
        self, x_in: Tensor, timestep: Tensor, prepared: PreparedConditioning, control_scale: float = 1.0
    ) -> Tensor:
        """(0.2 + 0.7 tau) x_in - (0.5 - 0.3 tau)(k P + s C) with tau = index / 1000, (R, C, h, w)."""
        self.indices.append(int(timestep[0]))
        tau, pull = float(timestep[0]) / 1000, _pull(self.pattern, prepared, control_scale)
        return (0.2 + 0.7 * tau) * x_in.repeat(len(pull) // len(x_in), 1, 1, 1) - (0.5 - 0.3 * tau) * pull


def _prepared(z_lq: Tensor, conditioning: TextConditioning, time_ids: Tensor) -> PreparedConditioning:
    """The closed forms read `pooled`, which is k, and `hint`, which is C."""
    k = conditioning.pooled
    return PreparedConditioning(
        context=conditioning.context,
        pooled=k,
        time_ids=time_ids,
        unet_embedding=k,
        control_embedding=k,
        hint=z_lq,
    )


def _pull(pattern: Tensor, prepared: PreparedConditioning, control_scale: float) -> Tensor:
    """K P + s C, one a prompt: every latent under the first prompt, then every one under the second."""
    assert prepared.hint is not None, "made by _prepared"
    copies = len(prepared.pooled) // len(pattern)
    repeated, hint = (tensor.repeat(copies, 1, 1, 1) for tensor in (pattern, prepared.hint))
    return prepared.pooled.reshape(-1, 1, 1, 1) * repeated + control_scale * hint


class Watched:
    """A ramp that remembers what it gave."""

    def __init__(self, start: float, end: float) -> None:
        self.scale = LinearScale(start, end)
        self.given: list[float] = []

    def at(self, sigma: float) -> float:
        """The strength at `sigma`."""
        self.given.append(self.scale.at(sigma))
        return self.given[-1]
