"""Classifier-free guidance and control whose strengths run linearly with sigma.

Place in the flow: makes the `denoise` that `sampler.py` calls, out of a `Supir` and one batch's conditioning.
Law: both branches see the same LQ latent; the guidance scale reads the churned sigma, the control scale the
schedule's sigma. A guidance scale of 1 needs no second branch and runs none.
Source: paper equation 3 (guidance written as D_u + g (D_c - D_u)); ramps as in the released defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from supir_model.diffusion import SIGMA_MAX
from supir_model.sampler import Denoise
from supir_model.text import TextConditioning, joined

if TYPE_CHECKING:
    from supir_model.supir import Supir

NEAR_ONE = 1e-4
"""A ramp from 1 misses it by 2e-5 at the schedule's largest sigma, since the ramps round that."""


@dataclass(frozen=True)
class LinearScale:
    """A strength that is `start` at the largest sigma and `end` at 0."""

    start: float
    end: float

    def at(self, sigma: float) -> float:
        """The strength at `sigma`; extrapolates above the largest sigma, as churn makes happen."""
        return (self.start - self.end) * sigma / SIGMA_MAX + self.end


def guided(
    supir: Supir,
    z_lq: Tensor,
    positive: TextConditioning,
    negative: TextConditioning,
    time_ids: Tensor,
    *,
    guidance_scale: LinearScale,
    control_scale: LinearScale,
) -> Denoise:
    """A `Denoise` for `sample_edm` and `sample_dpmpp_2m_sde`.

    Args:
        z_lq: (B, C, h, w) from `supir.encode_lq`.
        positive, negative: conditionings of B prompts each, of any lengths.
        time_ids: (B, 6) from `supir.time_ids`.
        guidance_scale: g of D_u + g (D_c - D_u).
        control_scale: 0 to 1.
    """
    with torch.no_grad():
        prepared = supir.prepare(z_lq, joined(negative, positive), time_ids.repeat(2, 1))
    positive_only = prepared.under(slice(len(z_lq), None))

    def denoise(x: Tensor, sigma_hat: float, sigma: float) -> Tensor:
        scale, control = guidance_scale.at(sigma_hat), control_scale.at(sigma)
        if abs(scale - 1.0) < NEAR_ONE:
            return supir.denoise_prepared(x, sigma_hat, positive_only, control)
        uncond, cond = supir.denoise_prepared(x, sigma_hat, prepared, control).chunk(2)
        return uncond + scale * (cond - uncond)

    return denoise
