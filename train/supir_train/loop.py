"""The training loop: the same few lines for every phase of every stage.

One step: set the learning rate; for each micro-batch take the next batch, compute the phase's loss with the
generator of this (seed, phase, step, micro-batch) and add up gradients; clip; AdamW; let the
discriminator learn, if there is one; move the weight average.
Then log, validate, save and stop where the config or a signal says so.

What feeds what: `seed` keys the order and content of batches (`order.py`, `data.py`) and the generators here. No
global generator is read. So a run that was stopped and continued gives the weights of one that was not, bit for
bit (tests/train/test_train_resume.py), and the same test shows that a refactor changed nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from supir_console import Progress as ProgressLine
from supir_console import UserError
from supir_train.batch import Batch
from supir_train.checkpoint import Checkpoint
from supir_train.config import OptimizeConfig, TrainConfig
from supir_train.data import training_batches, validation_batches
from supir_train.ema import WeightAverage
from supir_train.metrics import BadSamples, Means, StepLog, pair_lines
from supir_train.order import Position
from supir_train.phase import Phase

COSINE_FLOOR = 0.01
"""Share of the peak learning rate that the cosine schedule ends at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a loop talks to: where it computes, writes, and learns that it shall stop."""

    device: torch.device
    metrics: StepLog
    traces: StepLog
    bad_samples: BadSamples
    should_stop: Callable[[int], bool]
    """Asked after each step with the number of steps of the run that are done."""


@dataclass(slots=True, kw_only=True)
class PhaseState:
    """Everything of a phase that changes while it runs."""

    steps_done: int
    position: Position
    parameters: dict[str, nn.Parameter]
    ema: WeightAverage
    optimizer: torch.optim.AdamW


def start_phase(phase: Phase, parameters: dict[str, nn.Parameter], resumed: Checkpoint | None) -> PhaseState:
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
        optimizer=torch.optim.AdamW(
            parameters.values(), lr=fit.lr, betas=fit.betas, weight_decay=fit.weight_decay, fused=True
        ),
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


def run_phase(
    phase: Phase,
    state: PhaseState,
    *,
    config: TrainConfig,
    step_offset: int,
    around: Surroundings,
    save: Callable[[PhaseState], object],
) -> bool:
    """Runs the phase from `state` to its last step or until it is told to stop; returns whether it was told.

    Args:
        step_offset: steps of the run in earlier phases.
        save: writes a checkpoint of the state.

    Raises:
        UserError: the data cannot be used, or a gradient or validation figure is no finite number.
    """
    fit = phase.optimize
    if state.steps_done >= fit.steps:
        return False
    validate = _Validation(phase, config, around)
    batches = training_batches(
        config, images=fit.images_per_forward, degraded=phase.degraded, start=state.position
    )
    if not state.steps_done:
        around.metrics.write(_place(phase, state, step_offset) | validate(state.ema))
    means, clock, images = Means(), time.monotonic(), 0
    with ProgressLine(fit.steps - state.steps_done, phase.name, "steps") as progress:
        while state.steps_done < fit.steps:
            figures, used = _step(phase, state, batches, config, around)
            means.add(figures)
            images += sum(len(batch.keys) for batch in used)
            done = state.steps_done
            if done % config.trace_every == 0:
                for line in itertools.chain.from_iterable(map(pair_lines, used)):
                    around.traces.write(_place(phase, state, step_offset) | line)
            last, stop = done == fit.steps, around.should_stop(step_offset + done)
            if done % config.log_every == 0 or last or stop:
                line = means.take()
                progress.note(f"loss {line['loss']:.4f}")
                seconds = time.monotonic() - clock
                rates = {"images": done * fit.batch, "images_per_s": images / seconds, "seconds": seconds}
                around.metrics.write(_place(phase, state, step_offset) | line | rates)
            if done % config.validation.every == 0 or last:
                validation = validate(state.ema)
                for name, value in validation.items():
                    _require_finite(name, value, phase, done, config)
                around.metrics.write(_place(phase, state, step_offset) | validation)
            if done % config.checkpoint_every == 0 or last or stop:
                save(state)
            progress.advance()
            if stop:
                return True
    return False


def learning_rate(fit: OptimizeConfig, step: int) -> float:
    """Returns the learning rate of step number `step` (0 for the first)."""
    warm = min(1.0, (step + 1) / (fit.warmup_steps + 1))
    if fit.schedule == "constant":
        return fit.lr * warm
    through = min(1.0, max(0, step - fit.warmup_steps) / max(1, fit.steps - fit.warmup_steps))
    cosine = 0.5 * (1.0 + math.cos(math.pi * through))
    return fit.lr * warm * (COSINE_FLOOR + (1.0 - COSINE_FLOOR) * cosine)


def keyed_generator(*identity: int | str) -> torch.Generator:
    """Returns a CPU generator that depends on nothing but `identity`."""
    digest = hashlib.sha256("/".join(str(part) for part in identity).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def autocast(fit: OptimizeConfig, device: torch.device) -> AbstractContextManager[None]:
    """Returns the context in which losses are computed: bfloat16 autocast, or nothing for fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fit.precision == "bf16")


def _step(
    phase: Phase, state: PhaseState, batches: Iterator[Batch], config: TrainConfig, around: Surroundings
) -> tuple[dict[str, torch.Tensor], list[Batch]]:
    fit, step = phase.optimize, state.steps_done
    rate = learning_rate(fit, step)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    forwards = fit.batch // fit.images_per_forward
    means: dict[str, torch.Tensor] = {}
    used: list[Batch] = []
    for micro in range(forwards):
        used.append(next(batches))
        batch = used[-1].to(around.device)
        around.bad_samples.add(batch.bad)
        with autocast(fit, around.device):
            losses = phase.loss(batch, keyed_generator(config.seed, phase.name, step, micro))
        (losses["loss"] / forwards).backward()
        for name, value in losses.items():
            means[name] = means.get(name, torch.zeros((), device=around.device)) + value.detach() / forwards
        state.position = batch.position
    means["grad_norm"] = nn.utils.clip_grad_norm_(state.parameters.values(), fit.grad_clip)
    _require_finite("gradient", float(means["grad_norm"]), phase, step + 1, config)
    means["lr"] = torch.tensor(rate)
    state.optimizer.step()
    state.optimizer.zero_grad()
    if phase.adversary:
        with autocast(fit, around.device):
            means |= phase.adversary.learn()
    state.steps_done = step + 1
    state.ema.update(state.steps_done)
    return means, used


class _Validation:
    """The held-out loss of the weight average, with the same crops, timesteps and noise at every call."""

    def __init__(self, phase: Phase, config: TrainConfig, around: Surroundings) -> None:
        self._phase, self._config, self._device = phase, config, around.device
        images = phase.optimize.images_per_forward
        wanted = config.validation.crops > 0
        self._batches = validation_batches(config, images=images, degraded=phase.degraded) if wanted else []
        for batch in self._batches:
            around.bad_samples.add(batch.bad)

    @torch.no_grad()
    def __call__(self, ema: WeightAverage) -> dict[str, float]:
        means = Means()
        with ema.in_model():
            for number, batch in enumerate(self._batches):
                generator = keyed_generator(self._config.seed, "validation", number)
                with autocast(self._phase.optimize, self._device):
                    losses = self._phase.loss(batch.to(self._device), generator)
                means.add(losses, count=len(batch.keys))
        return {f"validation_{name}": value for name, value in means.take().items()}


def _place(phase: Phase, state: PhaseState, step_offset: int) -> dict[str, Any]:
    return {"step": step_offset + state.steps_done, "phase": phase.name, "phase_step": state.steps_done}


def _require_finite(name: str, value: float, phase: Phase, step: int, config: TrainConfig) -> None:
    """Stops a run that has left the numbers, before its weights are changed, validated as good, or saved."""
    if not math.isfinite(value):
        raise UserError(
            f"the {name} of {phase.name} is {value} at step {step}; start again with a lower optimize.lr (now "
            f"{phase.optimize.lr:g}) or precision fp32 in a new run, or delete the newest of "
            f"{config.run / 'checkpoints'} and go on from an older one"
        )
