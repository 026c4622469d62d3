"""`stage: estimator`: the degradation estimator learns from traces what was done to a picture.

Place in the flow: beside the other stages; it needs no prior, and the restorer asks its result how much to restore.
The law it keeps: four targets come from the trace alone (`supir_degrade.targets`), the fifth from the pair itself.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from supir_degrade import Trace
from supir_degrade.targets import estimate_targets
from supir_model import Supir
from supir_model.estimator import HIGHEST_PSNR_DB, Degradation, denormalised, normalised
from supir_train.batch import Batch
from supir_train.config import TrainConfig
from supir_train.image_noise import ImageNoise
from supir_train.phase import Losses, Phase, psnr_db


def estimator_phase(supir: Supir, config: TrainConfig) -> Phase:
    """Returns the fit of the estimator by the Huber loss; logged are the mean absolute errors in each target's unit."""

    def loss(batch: Batch, _: ImageNoise) -> Losses:
        assert batch.lq is not None, "stage estimator loads degraded pairs"
        assert supir.estimator is not None, "the run has made one"
        found = supir.estimator(batch.lq).float()
        wanted = _targets(batch)
        errors = _errors(denormalised(found.detach()), wanted)
        return {
            "loss": functional.smooth_l1_loss(found, normalised(wanted).to(found.device), beta=0.2),
            **errors,
        }

    return Phase(name="estimator", optimize=config.optimize, degraded=True, loss=loss)


def _targets(batch: Batch) -> list[Degradation]:
    assert batch.lq is not None, "stage estimator loads degraded pairs"
    decibels = psnr_db(batch.lq, batch.hq).clamp(max=HIGHEST_PSNR_DB).tolist()
    return [_target(trace, decibel) for trace, decibel in zip(batch.traces, decibels, strict=True)]


def _target(trace: Trace, decibel: float) -> Degradation:
    targets = {name.removeprefix("target."): value for name, value in estimate_targets(trace).items()}
    return Degradation(**targets, psnr_db=decibel)


def _errors(found: list[Degradation], wanted: list[Degradation]) -> Losses:
    return {
        f"error_{name}": torch.tensor(
            [abs(getattr(a, name) - getattr(b, name)) for a, b in zip(found, wanted, strict=True)]
        )
        for name in Degradation.__slots__
    }
