"""What the loop needs to know of a fit: which parameters move, and the loss of a batch.

Place in the flow: the file of each stage builds a `Phase` or two (`build.make_phases`); `loop.py` runs them. A phase is
data and functions, so the loop knows no stage by name.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

from supir_model import Supir
from supir_train.adversary import Adversary
from supir_train.batch import Batch
from supir_train.image_noise import ImageNoise
from supir_train.optimize_config import OptimizeConfig

PhaseName = Literal["autoencoder", "prior", "encoder", "codec", "adapter", "distill", "estimator", "strength"]
Losses = dict[str, torch.Tensor]
"""By name; the scalar called "loss" is minimised, the others are logged. A vector holds one figure an image, of all
or of some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One fit of a run.

    Attributes:
        name: which parameters of the model move (`Supir.trainable`); stands in metrics and checkpoints.
        optimize: steps, batch and AdamW.
        degraded: whether batches carry `lq`.
        loss: (batch, noise) → scalars, means over the images of the batch; all randomness comes from the noise.
        restore: (batch, noise) → images (B, 3, S, S), about [-1, 1], to be held against `hq`; None where the fit makes
            none.
        adversary: the discriminator that learns beside the fit, if there is one.
        teacher: the network that the fit learns from, if there is one; it shares the frozen parts and never moves.
        begin: called once before the first step.
        finish: called once after the last step, with the averaged weights in place.
    """

    name: PhaseName
    optimize: OptimizeConfig
    degraded: bool
    loss: Callable[[Batch, ImageNoise], Losses]
    restore: Callable[[Batch, ImageNoise], torch.Tensor] | None = None
    adversary: Adversary | None = None
    teacher: Supir | None = None
    begin: Callable[[], None] = lambda: None
    finish: Callable[[], None] = lambda: None


def autocast(fit: OptimizeConfig, device: torch.device) -> AbstractContextManager[None]:
    """Returns the context in which losses are computed: bfloat16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fit.precision == "bf16")


def psnr_db(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Returns the PSNR (B,) of each image, dB, infinite where it is its reference.

    Args:
        image: (B, 3, H, W); clipped to [-1, 1] first.
        reference: (B, 3, H, W) in [-1, 1].
    """
    error = (image.clamp(-1, 1) - reference).float().square().mean(dim=(1, 2, 3))
    return 10.0 * torch.log10(4.0 / error)
