"""What a run will take, said before anything is spent: parameters, bytes, steps, images.

Place in the flow: `run.py` says the figures of a run with its weights loaded, `rehearsal.py` those of one whose
weights need not be there, with the bytes of activations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from supir_model import Supir
from supir_model.sharding import unit_sizes
from supir_train.build import holds_bf16, shares_weights
from supir_train.config import TrainConfig
from supir_train.held_out import HeldOut
from supir_train.optimizers import optimizer_bytes
from supir_train.phase import Phase, PhaseName
from supir_train.world import World

FP32_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBytes:
    """Bytes that a phase holds from its second step on, but for activations.

    `parameters` are all weights, trained and frozen, those of a teacher too; `optimizer` is AdamW's two moments;
    `validation_copy` keeps the trained weights while the average stands in their place; gradients are not there then.
    With `shard: full` a process holds its share of all of them but the frozen weights.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    validation_copy: int

    @property
    def always(self) -> int:
        """Bytes that are held at every time."""
        return self.parameters + self.optimizer + self.average

    @property
    def training(self) -> int:
        """Bytes that are held at the end of a backward pass."""
        return self.always + self.gradients


def held_bytes(
    supir: Supir,
    phase: Phase,
    trained: Mapping[str, nn.Parameter],
    config: TrainConfig,
    world: World,
) -> HeldBytes:
    """Returns the bytes that one of the processes holds in a phase that trains these parameters.

    A teacher is as large as they are, and frozen.
    """
    total, moving = _count(dict(supir.named_parameters())), _count(trained)
    if config.stage == "distill":
        total += moving
    frozen_bytes = 2 if holds_bf16(config) else FP32_BYTES
    shares = world.size if shares_weights(config, world) else 1
    own = -(-moving * FP32_BYTES // shares)
    return HeldBytes(
        parameters=own + (total - moving) * frozen_bytes,
        gradients=own,
        optimizer=-(-optimizer_bytes(trained.values(), phase.optimize) // shares),
        average=own,
        validation_copy=own,
    )


def in_flight(supir: Supir) -> int:
    """Returns the bytes that a process with `shard: full` holds of whole units while it computes.

    These are the weights of the unit that computes and of the next, and the gradients of the one before.
    """
    return 3 * FP32_BYTES * max(unit_sizes(supir))


def plan(
    supir: Supir,
    phases: Sequence[Phase],
    parameters: Mapping[PhaseName, Mapping[str, nn.Parameter]],
    num_samples: int,
    held_out: HeldOut | None,
    config: TrainConfig,
    world: World,
) -> dict[str, Any]:
    """Returns the run's figures as JSON-serialisable values; `memory_bytes` leaves activations out.

    Args:
        parameters: the trained parameters of each phase, by its name.
        num_samples: samples in the dataset.
        held_out: what is validated; None for nothing.
        world: the processes that share the run.
    """
    return {
        "stage": config.stage,
        "run": str(config.run),
        "parameters": _count(dict(supir.named_parameters())),
        "dataset_samples": num_samples,
        "validation": _validation(held_out, config),
        "phases": [
            {
                "phase": phase.name,
                "trained_parameters": _count(parameters[phase.name]),
                "memory_bytes": (
                    held := held_bytes(supir, phase, parameters[phase.name], config, world)
                ).training,
                "optimizer_bytes": held.optimizer,
                "steps": phase.optimize.steps,
                "warmup_steps": phase.optimize.warmup_steps,
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
