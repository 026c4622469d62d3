"""Everything of a phase that changes while it runs, new or as a checkpoint has it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from supir_model.sharding import is_share, own_share, share_like
from supir_train.checkpoint import Checkpoint
from supir_train.config import TrainConfig
from supir_train.ema import WeightAverage
from supir_train.metrics import Means
from supir_train.optimizers import AdamW8bit, make_optimizer
from supir_train.order import Position
from supir_train.phase import Phase
from supir_train.shares import read_shares
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
    is_stored: bool = False
    """Whether a checkpoint of this step stands."""
    best: float | None = None
    """Goodness of the best checkpoint, see `best.py`."""

    def count_step(self) -> None:
        """Notes that another step is done, of which nothing is validated or stored."""
        self.steps_done += 1
        self.figures, self.is_stored = {}, False

    @property
    def is_sharded(self) -> bool:
        """Whether the parameters, and all that goes with them, are held in shares."""
        return any(map(is_share, self.parameters.values()))


def awaits_validation(state: PhaseState, phase: Phase, config: TrainConfig) -> bool:
    """Returns whether the step is one that is validated, and was not yet."""
    done = state.steps_done
    is_validated = done % config.validation.every == 0 or done == phase.optimize.steps
    return bool(config.validation.crops) and is_validated and not state.figures


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
        state.figures, state.is_stored = resumed.progress.figures, True
        _restore_tensors(state, resumed)
    return state


def _restore_tensors(state: PhaseState, resumed: Checkpoint) -> None:
    """Puts a checkpoint's average and moments into the state; the weights too, if they lie in shares."""
    parameters = list(state.parameters.values())
    if resumed.shares:
        moments = read_shares(resumed.shares, state.parameters, state.ema.values)
    else:
        state.ema.restore(resumed.ema)
        moments = resumed.optimizer["state"]
        if not isinstance(
            state.optimizer, AdamW8bit
        ):  # whose moments lie in the order of memory, as they were saved
            moments = {
                index: {name: _like(value, parameters[index]) for name, value in held.items()}
                for index, held in moments.items()
            }
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _like(value: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """A moment held as its parameter is; a count of steps as it is.

    In the same order of memory too, which fused AdamW walks without a look at strides.
    """
    if value.shape != parameter.shape:
        return value
    moment = torch.zeros_like(parameter.detach(), dtype=value.dtype)
    own_share(moment).copy_(own_share(share_like(value, parameter)))
    return moment
