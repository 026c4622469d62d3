"""One step of a phase: gradients of its micro-batches, summed over the processes; AdamW; discriminator; average.

Place in the flow: `loop.py` takes or passes over one step after the other, `replay.py` makes the gradients of one
again. The law it keeps: a step is made whole, or, where its numbers are none, the state is that before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from supir_model.sharding import whole_tensor
from supir_train.batch import Batch
from supir_train.image_noise import image_noise
from supir_train.metrics import Means
from supir_train.micro_batch import StepSplit
from supir_train.phase import Phase, autocast
from supir_train.phase_state import PhaseState
from supir_train.run_context import RunContext
from supir_train.schedule import learning_rate
from supir_train.world import World


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
    split: StepSplit,
    *,
    seed: int,
    device: torch.device,
    world: World,
) -> Gradients:
    """Makes the clipped gradients of the next step, and moves nothing but `state.position` and `state.means`.

    Args:
        batches: from `state.position` on.
        split: how many of them this process takes, and how many images at a time.
        seed: the run's.
        device: where the model is.
        world: the processes that share the step.

    Raises:
        UserError: memory does not suffice for one image.
    """
    used: list[Batch] = []
    counted = state.means.snapshot()
    wanted = count = 0

    def accumulated(images: int) -> list[torch.Tensor]:
        """The summed losses of the step's batches, made from the first one on."""
        state.optimizer.zero_grad()
        state.means.restore(counted)
        if phase.adversary:
            phase.adversary.forget()
        taken = _taken(batches, wanted, used)
        if state.is_sharded:
            taken = (batch if batch.keys else _filler(phase, batch, split.crop_px) for batch in taken)
        return [_backward(phase, batch, images, state.means, seed, device) for batch in taken]

    while not count:  # a step all of whose samples are bad is made with the next ones
        wanted += split.batches
        losses = (split.unhalved if state.is_sharded else split.fitted)(accumulated)
        state.position = used[-1].position
        count = _images(used, world)
    grad_norm = _clipped(state, count, phase.optimize.grad_clip, world)
    loss = world.total(float(torch.stack(losses).double().sum())) / count
    return Gradients(used=used, losses=losses, count=count, loss=loss, grad_norm=grad_norm)


def _clipped(state: PhaseState, count: int, largest: float, world: World) -> torch.Tensor:
    """Makes the sums of the processes' gradients the mean over `count` images, no longer than `largest`.

    Returns the length that it had.
    """
    trained = state.parameters.values()
    if not state.is_sharded:  # shares are summed as they are made
        world.sum_gradients(trained)
    for parameter in trained:
        if parameter.grad is not None:
            parameter.grad.mul_(1.0 / count)
    return whole_tensor(nn.utils.clip_grad_norm_(trained, largest))


def _taken(batches: Iterator[Batch], count: int, used: list[Batch]) -> Iterator[Batch]:
    """Yields the step's first `count` batches: those in `used`, then new ones, which it keeps there."""
    yield from list(used)
    for batch in itertools.islice(batches, count - len(used)):
        used.append(batch)
        yield batch


def take_step(
    phase: Phase,
    state: PhaseState,
    batches: Iterator[Batch],
    split: StepSplit,
    seed: int,
    context: RunContext,
) -> tuple[list[Batch], int]:
    """Takes the next step; returns this process's batches of it, and the images that all processes saw in it.

    Args:
        batches, split, seed: as in `gradients`.
        context: of the run.

    Raises:
        NonFiniteStep: its loss or gradient is no number.
    """
    fit, world = phase.optimize, context.world
    rate = learning_rate(fit, state.steps_done)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    position, counted = state.position, state.means.snapshot()
    made = gradients(phase, state, batches, split, seed=seed, device=context.device, world=world)
    context.note_bad(made.used)
    if not (math.isfinite(made.loss) and math.isfinite(float(made.grad_norm))):
        state.position = position
        state.means.restore(counted)
        raise NonFiniteStep(made)
    state.optimizer.step()
    state.optimizer.zero_grad()
    if phase.adversary:
        with autocast(fit, context.device):
            phase.adversary.learn(world, made.count, state.means, split)
    state.count_step()
    state.ema.update(state.steps_done)
    state.means.add({"grad_norm": made.grad_norm, "lr": torch.tensor(rate)})
    return made.used, made.count


def pass_over(
    state: PhaseState, batches: Iterator[Batch], split: StepSplit, context: RunContext
) -> tuple[list[Batch], int]:
    """Takes the batches of a step as `take_step` does, and moves no weight."""
    used: list[Batch] = []
    count = 0
    while not count:
        used += itertools.islice(batches, split.batches)
        count = _images(used, context.world)
    context.note_bad(used)
    state.position = used[-1].position
    state.count_step()
    return used, count


def _images(used: Sequence[Batch], world: World) -> int:
    return round(world.total(sum(len(batch.keys) for batch in used)))


def _backward(
    phase: Phase, batch: Batch, images: int, means: Means, seed: int, device: torch.device
) -> torch.Tensor:
    """Adds the gradients of the batch's loss, summed over its images, so many at a time; returns that sum."""
    if not batch.prompts:
        return torch.zeros((), device=device)
    parts = [_part_backward(phase, part.to(device), means, seed) for part in batch.parts(images)]
    return torch.stack(parts).sum()


def _filler(phase: Phase, batch: Batch, crop_px: int) -> Batch:
    """A black image for a batch without any: where weights are held in shares, all processes run the same passes.

    It has no key, and so counts for nothing.
    """
    black = torch.zeros(1, 3, crop_px, crop_px)
    return replace(batch, numbers=(0,), prompts=("",), hq=black, lq=black if phase.degraded else None)


def _part_backward(phase: Phase, batch: Batch, means: Means, seed: int) -> torch.Tensor:
    kept = list(phase.adversary.kept) if phase.adversary else []
    noise = image_noise(seed, phase.name, batch.numbers, images_a_step=phase.optimize.batch)
    with autocast(phase.optimize, batch.hq.device):
        losses = phase.loss(batch, noise)
    total = losses["loss"] * len(batch.keys)
    total.backward()
    if batch.keys:
        means.add(losses, count=len(batch.keys))
    elif phase.adversary:
        phase.adversary.kept = kept
    return total.detach()
