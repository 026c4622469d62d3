"""Everything of a phase that changes while it runs, new or as a checkpoint has it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from supir_train.checkpoint import Checkpoint
from supir_train.ema import WeightAverage
from supir_train.metrics import Means
from supir_train.optimizers import make_optimizer
from supir_train.order import Position
from supir_train.phase import Phase
from supir_train.world import World


@dataclass(slots=True, kw_only=True)
class PhaseState:
    """Everything of a phase that changes while it runs."""

    steps_done: int
    position: Position
    parameters: dict[str, nn.Parameter]
    ema: WeightAverage
    optimizer: torch.optim.Optimizer
    means: Means
    """Of the figures since the last line of metrics."""
    figures: dict[str, float] = field(default_factory=dict)
    """Of the validation of this step, if it had one."""
    best: float | None = None
    """Goodness of the best checkpoint, see `best.py`."""


def start_phase(
    phase: Phase, parameters: dict[str, nn.Parameter], resumed: Checkpoint | None, world: World
) -> PhaseState:
    """Returns the state at the phase's beginning, or at `resumed`, whose model weights are already in place.

    Args:
        parameters: the phase's parameters by name; no other parameter of the model asks for a gradient.
    """
    fit = phase.optimize
    state = PhaseState(
        steps_done=0,
        position=Position(),
        parameters=parameters,
        ema=WeightAverage(parameters, fit.ema_decay),
        optimizer=make_optimizer(parameters.values(), fit),
        means=Means(world, resumed.progress.sums if resumed else None),
    )
    if phase.adversary:
        phase.adversary.to(next(iter(parameters.values())).device)
        if resumed and resumed.adversary is not None:
            phase.adversary.restore(resumed.adversary)
    if resumed:
        state.steps_done, state.position = resumed.progress.phase_step, resumed.progress.position
        state.ema.restore(resumed.ema)
        state.optimizer.load_state_dict(resumed.optimizer)
    return state
