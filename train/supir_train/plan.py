"""What a run will take, printed before anything is spent: parameters, bytes, steps, images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from supir_model import Supir
from supir_train.config import TrainConfig
from supir_train.held_out import HeldOut
from supir_train.phase import Phase, PhaseName

FP32_BYTES = 4
STATES = 5
"""fp32 values held for each trained parameter: weight, gradient, AdamW's two moments, average."""


def plan(
    supir: Supir,
    phases: Sequence[Phase],
    parameters: Mapping[PhaseName, Mapping[str, nn.Parameter]],
    num_samples: int,
    held_out: HeldOut | None,
    config: TrainConfig,
) -> dict[str, Any]:
    """Returns the run's figures as JSON-serialisable values; `memory_bytes` leaves activations out.

    Args:
        parameters: the trained parameters of each phase, by its name.
        num_samples: samples in the dataset.
        held_out: what is validated; None for nothing.
    """
    total = sum(parameter.numel() for parameter in supir.parameters())
    frozen_bytes = 2 if config.optimize.precision == "bf16" and config.stage != "prior" else FP32_BYTES
    return {
        "stage": config.stage,
        "run": str(config.run),
        "parameters": total,
        "dataset_samples": num_samples,
        "validation": _validation(held_out, config),
        "phases": [
            {
                "phase": phase.name,
                "trained_parameters": (trained := _count(parameters[phase.name])),
                "memory_bytes": trained * FP32_BYTES * STATES + (total - trained) * frozen_bytes,
                "optimizer_bytes": trained * FP32_BYTES * 2,
                "steps": phase.optimize.steps,
                "images": (images := phase.optimize.steps * phase.optimize.batch),
                "epochs": round(images / (num_samples * config.data.crops_per_image), 2),
            }
            for phase in phases
        ],
    }


def _validation(held_out: HeldOut | None, config: TrainConfig) -> dict[str, Any] | None:
    if held_out is None:
        return None
    restores = config.stage != "prior" or config.autoencoder.steps > 0
    return {
        "crops": len(held_out.draws),
        "photos": held_out.num_photos,
        "unusable_samples": len(held_out.bad),
        "pictures": min(config.validation.pictures, len(held_out.draws)) if restores else 0,
        "every": config.validation.every,
    }


def _count(parameters: Mapping[str, nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())
