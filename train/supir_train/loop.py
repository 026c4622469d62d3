"""The training loop: the same few lines for every phase of every stage.

One step: set the learning rate; for each of this process's micro-batches take the next batch, compute the phase's
loss with the noise of its images and add up gradients; sum them over the processes, divide by the images of the step;
clip; AdamW; let the discriminator learn, if there is one; move the weight average. Then log, validate, save and stop
where the config or a signal says so.

What feeds what: `seed` keys the order and content of batches (`order.py`, `data.py`) and the noise of each image
(`image_noise.py`). No global generator is read. So a run that was stopped and continued gives the weights of one that
was not, bit for bit (tests/train/test_train_resume.py), and other micro-batches or processes change rounding only
(tests/train/test_train_processes.py).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from supir_console import Progress as ProgressLine
from supir_console import UserError
from supir_train.batch import Batch
from supir_train.best import goodness
from supir_train.checkpoint import Checkpoint
from supir_train.config import TrainConfig
from supir_train.curves import Curves
from supir_train.data import training_batches
from supir_train.ema import WeightAverage
from supir_train.image_noise import image_noise
from supir_train.incidents import Incident, gathered, image_lines, told, write_incident
from supir_train.metrics import BadSamples, Means, StepLog, pair_lines
from supir_train.optimize_config import OptimizeConfig
from supir_train.order import Position
from supir_train.pace import Pace
from supir_train.phase import Phase, autocast
from supir_train.validation import Validation
from supir_train.world import World

COSINE_FLOOR = 0.01
"""Share of the peak learning rate that the cosine schedule ends at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a loop talks to: where it computes, with whom, where it writes, and how it learns that it shall stop."""

    device: torch.device
    world: World
    pace: Pace
    logs: Mapping[str, StepLog]
    """`metrics` and `traces` of the process that writes; the others have none."""
    curves: Curves | None
    """The same figures for TensorBoard, where it is installed and this process writes."""
    bad_samples: BadSamples
    should_stop: Callable[[int], bool]
    """Asked after each step with the number of steps of the run that are done."""
    passed_over: frozenset[int] = frozenset()
    """Steps of the run that move no weight, see `incidents.py`."""

    def progress(self, steps: int, phase: str) -> ProgressLine:
        """Returns the line that tells the user how the phase goes on; the process that writes shows it."""
        return ProgressLine(steps, phase, "steps", shown=self.world.writes)

    def log(self, line: Mapping[str, Any]) -> None:
        """Writes a line of metrics."""
        if self.world.writes:
            line = {**line, "time": round(time.time(), 3)}
            self.logs["metrics"].write(line)
            if self.curves:
                self.curves.write(line)

    def trace(self, place: Mapping[str, Any], used: Sequence[Batch]) -> None:
        """Writes what the pairs of a step were made from, those of all processes."""
        own = list(itertools.chain.from_iterable(map(pair_lines, used)))
        everyone = self.world.gather(own)
        if self.world.writes:
            for line in itertools.chain.from_iterable(everyone):
                self.logs["traces"].write({**place, **line})


@dataclass(slots=True, kw_only=True)
class PhaseState:
    """Everything of a phase that changes while it runs."""

    steps_done: int
    position: Position
    parameters: dict[str, nn.Parameter]
    ema: WeightAverage
    optimizer: torch.optim.AdamW
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
        optimizer=torch.optim.AdamW(
            parameters.values(), lr=fit.lr, betas=fit.betas, weight_decay=fit.weight_decay, fused=True
        ),
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


def run_phase(
    phase: Phase,
    state: PhaseState,
    *,
    config: TrainConfig,
    step_offset: int,
    around: Surroundings,
    save: Callable[..., Path],
) -> bool:
    """Runs the phase from `state` to its last step or until it is told to stop; returns whether it was told.

    Args:
        step_offset: steps of the run in earlier phases.
        save: writes a checkpoint of the state, elsewhere than among the run's if it is told a folder.

    Raises:
        UserError: the data cannot be used, or a loss, gradient or validation figure is no finite number.
    """
    fit, world = phase.optimize, around.world
    if state.steps_done >= fit.steps:
        return False
    images_a_forward = share(fit, world, config.data.crops_per_image)
    with around.pace.validating():
        validation = Validation(phase, config, images_a_forward, around.device, world)
    validate = partial(_validated, validation, config, around)
    batches = training_batches(
        config, images=images_a_forward, degraded=phase.degraded, start=state.position, world=world
    )
    micro_batches = fit.batch // world.size // images_a_forward
    if not state.steps_done:
        validate(state, _place(phase, state, step_offset))
    around.pace.begin_window()
    with around.progress(fit.steps - state.steps_done, phase.name) as progress:
        batches = around.pace.timed(batches)
        while state.steps_done < fit.steps:
            is_passed_over = step_offset + state.steps_done + 1 in around.passed_over
            step = _pass_over if is_passed_over else _step
            try:
                used, count = step(phase, state, batches, micro_batches, config, around)
            except NonFiniteStep as found:
                raise _incident(found, phase, state, step_offset, config, around, save) from found
            around.pace.count(count)
            done = state.steps_done
            place = _place(phase, state, step_offset)
            if is_passed_over:
                around.log(place | {"passed_over": 1})
            if done % config.trace_every == 0:
                around.trace(place, used)
            last, stop = done == fit.steps, world.any(around.should_stop(step_offset + done))
            if done % config.log_every == 0 or last:
                line = state.means.take()
                progress.note(f"loss {line.get('loss', math.nan):.4f}")
                around.log(place | line | {"images": done * fit.batch} | around.pace.line())
            is_best = (done % config.validation.every == 0 or last) and validate(state, place)
            if done % config.checkpoint_every == 0 or last or stop or is_best:
                with around.pace.apart():
                    around.bad_samples.write()
                    save(state)
            progress.advance()
            if stop:
                return True
    return False


def _validated(
    validation: Validation,
    config: TrainConfig,
    around: Surroundings,
    state: PhaseState,
    place: Mapping[str, Any],
) -> bool:
    """Validates the weight average and logs what is found; returns whether it is the best after any step so far.

    Raises:
        UserError: a figure is no finite number.
    """
    phase = validation.phase
    with around.pace.validating():
        found = validation(state.ema, f"step-{place['step']:08d}-{phase.name}")
    if not found.figures:
        return False
    for name, value in found.figures.items():
        _require_finite(name, value, phase, state.steps_done, config)
    around.log({**place, **found.figures, **({"sheet": found.sheet} if found.sheet else {})})
    if not state.steps_done:
        return False
    if state.steps_done < phase.optimize.steps and around.world.writes:
        around.pace.warn_of_cost(config.validation.every)
    state.figures = found.figures
    good = goodness(config.validation.best, found.figures)
    if good is None or (state.best is not None and good <= state.best):
        return False
    state.best = good
    return True


def share(fit: OptimizeConfig, world: World, crops_per_image: int) -> int:
    """Returns the number of images in one forward pass of one process.

    Raises:
        UserError: the images of a step, or those of a photo, cannot be shared evenly.
    """
    own, left = divmod(fit.batch, world.size)
    images = fit.micro_batch or own
    if left or own % images or images % crops_per_image:
        raise UserError(
            f"batch={fit.batch} in micro-batches of {images or fit.batch} images, {crops_per_image} a photo, cannot be "
            f"shared evenly by {world.size} processes; choose batch = processes * n * micro_batch, and micro_batch a "
            "multiple of data.crops_per_image"
        )
    return images


def learning_rate(fit: OptimizeConfig, step: int) -> float:
    """Returns the learning rate of step number `step` (0 for the first)."""
    warm = min(1.0, (step + 1) / (fit.warmup_steps + 1))
    if fit.schedule == "constant":
        return fit.lr * warm
    through = min(1.0, max(0, step - fit.warmup_steps) / max(1, fit.horizon - fit.warmup_steps))
    cosine = 0.5 * (1.0 + math.cos(math.pi * through))
    return fit.lr * warm * (COSINE_FLOOR + (1.0 - COSINE_FLOOR) * cosine)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """What the backward passes of a step leave beside the gradients: its batches and figures.

    `used` are this process's batches and `losses` their summed losses; `count` the images that all processes saw,
    `loss` their mean, `grad_norm` before clipping.
    """

    used: list[Batch]
    losses: list[torch.Tensor]
    count: int
    loss: float
    grad_norm: torch.Tensor


class NonFiniteStep(ArithmeticError):  # noqa: N818 - says what was found
    """The loss or the gradient of a step is no number; no weight was moved, the state is that before the step."""

    def __init__(self, made: Gradients) -> None:
        super().__init__(f"loss {made.loss}, gradient {float(made.grad_norm)}")
        self.made = made


def gradients(
    phase: Phase,
    state: PhaseState,
    batches: Iterator[Batch],
    micro_batches: int,
    *,
    seed: int,
    device: torch.device,
    world: World,
) -> Gradients:
    """Makes the clipped gradients of the next step, and moves nothing but `state.position` and `state.means`.

    Args:
        batches: from `state.position` on.
        micro_batches: how many of them this process takes.
        seed: the run's.
        device: where the model is.
        world: the processes that share the step.
    """
    fit = phase.optimize
    used: list[Batch] = []
    losses: list[torch.Tensor] = []
    count = 0
    while not count:  # a step all of whose samples are bad is made with the next ones
        for batch in itertools.islice(batches, micro_batches):
            used.append(batch.to(device))
            losses.append(_backward(phase, used[-1], state.means, seed))
        state.position = used[-1].position
        count = _images(used, world)
    trained = state.parameters.values()
    world.sum_gradients(trained)
    for parameter in trained:
        if parameter.grad is not None:
            parameter.grad.mul_(1.0 / count)
    grad_norm = nn.utils.clip_grad_norm_(trained, fit.grad_clip)
    loss = world.total(float(torch.stack(losses).double().sum())) / count
    return Gradients(used=used, losses=losses, count=count, loss=loss, grad_norm=grad_norm)


def _step(
    phase: Phase,
    state: PhaseState,
    batches: Iterator[Batch],
    micro_batches: int,
    config: TrainConfig,
    around: Surroundings,
) -> tuple[list[Batch], int]:
    """Returns this process's batches of the step, and the images that all processes saw in it."""
    fit, world = phase.optimize, around.world
    rate = learning_rate(fit, state.steps_done)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    position, counted = state.position, state.means.snapshot()
    made = gradients(
        phase, state, batches, micro_batches, seed=config.seed, device=around.device, world=world
    )
    _note_bad(made.used, around)
    if not (math.isfinite(made.loss) and math.isfinite(float(made.grad_norm))):
        state.position = position
        state.means.restore(counted)
        raise NonFiniteStep(made)
    state.optimizer.step()
    state.optimizer.zero_grad()
    if phase.adversary:
        with autocast(fit, around.device):
            phase.adversary.learn(world, made.count, state.means)
    state.steps_done += 1
    state.figures = {}
    state.ema.update(state.steps_done)
    state.means.add({"grad_norm": made.grad_norm, "lr": torch.tensor(rate)})
    return made.used, made.count


def _pass_over(
    _phase: Phase,
    state: PhaseState,
    batches: Iterator[Batch],
    micro_batches: int,
    _config: TrainConfig,
    around: Surroundings,
) -> tuple[list[Batch], int]:
    """Takes the batches of a step as `_step` does, and moves no weight."""
    used: list[Batch] = []
    count = 0
    while not count:
        used += itertools.islice(batches, micro_batches)
        count = _images(used, around.world)
    _note_bad(used, around)
    state.position = used[-1].position
    state.steps_done += 1
    state.figures = {}
    return used, count


def _images(used: Sequence[Batch], world: World) -> int:
    return round(world.total(sum(len(batch.keys) for batch in used)))


def _note_bad(used: Sequence[Batch], around: Surroundings) -> None:
    for batch in used:
        around.bad_samples.add(batch.bad)


def _incident(
    found: NonFiniteStep,
    phase: Phase,
    state: PhaseState,
    step_offset: int,
    config: TrainConfig,
    around: Surroundings,
    save: Callable[..., Path],
) -> UserError:
    """Keeps the step and the state before it; returns the error that ends the run."""
    world, made = around.world, found.made
    around.bad_samples.write()
    incident = Incident(
        step=step_offset + state.steps_done + 1,
        phase=phase.name,
        phase_step=state.steps_done + 1,
        seed=config.seed,
        loss=repr(made.loss),
        grad_norm=repr(float(made.grad_norm)),
        images_a_forward=share(phase.optimize, world, config.data.crops_per_image),
        processes=world.size,
        images=gathered(world.gather([line for batch in made.used for line in image_lines(batch)])),
    )
    return told(incident, write_incident(config.run, incident, partial(save, state), world), config)


def _backward(phase: Phase, batch: Batch, means: Means, seed: int) -> torch.Tensor:
    """Adds the gradients of the batch's loss, summed over its images; returns that sum."""
    if not batch.keys:
        return torch.zeros((), device=batch.hq.device)
    noise = image_noise(seed, phase.name, batch.numbers, images_a_step=phase.optimize.batch)
    with autocast(phase.optimize, batch.hq.device):
        losses = phase.loss(batch, noise)
    total = losses["loss"] * len(batch.keys)
    total.backward()
    means.add(losses, count=len(batch.keys))
    return total.detach()


def _place(phase: Phase, state: PhaseState, step_offset: int) -> dict[str, Any]:
    return {"step": step_offset + state.steps_done, "phase": phase.name, "phase_step": state.steps_done}


def _require_finite(name: str, value: float, phase: Phase, step: int, config: TrainConfig) -> None:
    """Stops a run that has left the numbers, before its weights are validated as good, or saved."""
    if not math.isfinite(value):
        raise UserError(
            f"the {name} of {phase.name} is {value} at step {step}; start again with a lower optimize.lr (now "
            f"{phase.optimize.lr:g}) or precision fp32 in a new run, or delete the newest of "
            f"{config.run / 'checkpoints'} and go on from an older one"
        )
