"""The training loop: the same few lines for every phase of every stage.

One step: set the learning rate; for each of this process's micro-batches take the next batch, compute the phase's
loss with the noise of its images and add up gradients; sum them over the processes, divide by the images of the step;
clip; AdamW; let the discriminator learn, if there is one; move the weight average. Then log, save, validate and stop
where the config or a signal says so.

What feeds what: `seed` keys the order and content of batches (`order.py`, `data.py`) and the noise of each image
(`image_noise.py`). No global generator is read. So a run that was stopped and continued gives the weights of one that
was not, bit for bit (tests/train/test_train_resume.py), and other micro-batches or processes change rounding only
(tests/train/test_train_processes.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from supir_console import Progress as ProgressLine
from supir_console import UserError
from supir_train.batch import Batch
from supir_train.best import goodness
from supir_train.config import TrainConfig
from supir_train.data import training_batches
from supir_train.held_out import HeldOut
from supir_train.incidents import Incident, gathered, image_lines, told, write_incident
from supir_train.micro_batch import StepSplit
from supir_train.phase import Phase
from supir_train.phase_state import PhaseState, awaits_validation
from supir_train.run_context import RunContext
from supir_train.step import NonFiniteStep, pass_over, take_step
from supir_train.validation import Validation


def run_phase(
    phase: Phase,
    state: PhaseState,
    *,
    config: TrainConfig,
    step_offset: int,
    context: RunContext,
    save: Callable[..., Path],
    whole: Callable[[], AbstractContextManager[None]],
    held_out: HeldOut | None,
) -> bool:
    """Runs the phase from `state` to its last step or until it is told to stop; returns whether it was told.

    Args:
        step_offset: steps of the run in earlier phases.
        save: writes a checkpoint of the state, elsewhere than among the run's if it is told a folder.
        whole: returns the context in which every process has all weights, where each holds a share otherwise.
        held_out: the crops that are validated, None without validation.

    Raises:
        UserError: the data cannot be used, or a loss, gradient or validation figure is no finite number.
    """
    fit, world = phase.optimize, context.world
    is_at_end = state.steps_done >= fit.steps
    if is_at_end and not (state.steps_done and awaits_validation(state, phase, config)):
        return False
    split = StepSplit.of(fit, config.data, world)
    with context.pace.validating():
        validation = Validation(phase, config, split, context.device, world, whole, held_out)
    loop = _Loop(
        phase=phase,
        state=state,
        config=config,
        step_offset=step_offset,
        context=context,
        save=save,
        validation=validation,
        split=split,
        begun_at=state.steps_done,
    )
    batches = training_batches(
        config, images=split.images, degraded=phase.degraded, start=state.position, world=world
    )
    with closing(batches):
        return loop.run(batches)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    """A phase with all that its steps need; arguments as in `run_phase`."""

    phase: Phase
    state: PhaseState
    config: TrainConfig
    step_offset: int
    context: RunContext
    save: Callable[..., Path]
    validation: Validation
    split: StepSplit
    begun_at: int
    """Steps of the phase that earlier starts have made."""

    def run(self, batches: Iterator[Batch]) -> bool:
        """Takes the steps that are left; returns whether it was told to stop.

        Args:
            batches: this process's, from the state on.
        """
        state, context, fit = self.state, self.context, self.phase.optimize
        if awaits_validation(state, self.phase, self.config) and self._validate():
            return True
        context.pace.begin_window()
        with context.progress(self.phase.name, fit.steps, state.steps_done) as progress:
            batches = context.pace.timed(batches)
            while state.steps_done < fit.steps:
                used = self._advance(batches)
                stop = context.world.any(context.should_stop(self._step_of_run))
                self._report(used, progress)
                progress.advance()
                if self._keep(stop):
                    return True
        return False

    @property
    def _step_of_run(self) -> int:
        return self.step_offset + self.state.steps_done

    @property
    def _place(self) -> dict[str, Any]:
        """What each line of a log says of where it stands."""
        return {
            "step": self._step_of_run,
            "phase": self.phase.name,
            "phase_step": self.state.steps_done,
        }

    @property
    def _is_last(self) -> bool:
        return self.state.steps_done == self.phase.optimize.steps

    def _advance(self, batches: Iterator[Batch]) -> list[Batch]:
        """Takes the next step, or passes over it; returns this process's batches of it."""
        phase, state, context, split = self.phase, self.state, self.context, self.split
        images_a_forward = split.forward
        if self._step_of_run + 1 in context.passed_over:
            used, count = pass_over(state, batches, split, context)
            context.log(self._place | {"passed_over": 1})
        else:
            try:
                used, count = take_step(phase, state, batches, split, self.config.seed, context)
            except NonFiniteStep as found:
                raise self._incident(found) from found
        self._note_halving(images_a_forward)
        context.pace.count(count)
        return used

    def _report(self, used: list[Batch], progress: ProgressLine) -> None:
        """Writes the traces and the line of metrics of the step, if it is one that has them."""
        state, context, done = self.state, self.context, self.state.steps_done
        if done % self.config.trace_every == 0:
            context.trace(self._place, used)
        if done % self.config.log_every == 0 or self._is_last:
            line = state.means.take()
            progress.note(f"loss {line.get('loss', math.nan):.4f}")
            images = {"images": done * self.phase.optimize.batch}
            context.log(self._place | line | images | context.pace.line())

    def _keep(self, stop: bool) -> bool:
        """Writes the step's checkpoint and validates it, if it is one that has them; returns whether to stop.

        Whoever stops a run does not wait for a validation: the next start makes it. Nor does what was trained.
        """
        state, config = self.state, self.config
        if state.steps_done % config.checkpoint_every == 0 or self._is_last or stop:
            self._store()
        if not stop and awaits_validation(state, self.phase, config):
            stop = self._validate()
            if stop and not state.is_stored:
                self._store()
        return stop

    def _store(self) -> None:
        with self.context.pace.apart():
            self.context.bad_samples.write()
            self.save(self.state)
        self.state.is_stored = True

    def _validate(self) -> bool:
        """Validates the weight average, logs what is found, and stores it with the step's checkpoint or the best step.

        Returns whether it was told to stop meanwhile: then nothing is found.

        Raises:
            UserError: a figure is no finite number.
        """
        phase, state, context = self.phase, self.state, self.context
        images_a_forward = self.split.forward
        with context.pace.validating():
            found = self.validation(
                state.ema,
                f"step-{self._step_of_run:08d}-{phase.name}",
                lambda: context.should_stop(self._step_of_run),
            )
        self._note_halving(images_a_forward)
        if found is None:
            return True
        for name, value in found.figures.items():
            _require_finite(name, value, phase, state.steps_done, self.config)
        context.log({**self._place, **found.figures, **({"sheet": found.sheet} if found.sheet else {})})
        every = self.config.validation.every
        if state.steps_done - self.begun_at >= every and not self._is_last and context.world.writes:
            context.pace.warn_of_cost(every)
        if state.steps_done:
            state.figures = found.figures
            if self._is_best(found.figures) or state.is_stored:
                self._store()
        return False

    def _is_best(self, figures: dict[str, float]) -> bool:
        """Notes and returns whether a validation is the best after any step so far."""
        state = self.state
        good = goodness(self.config.validation.best, figures)
        if good is None or (state.best is not None and good <= state.best):
            return False
        state.best = good
        return True

    def _note_halving(self, before: int) -> None:
        if self.split.forward != before:
            self.context.log(self._place | {"micro_batch": self.split.forward})

    def _incident(self, found: NonFiniteStep) -> UserError:
        """Keeps the step and the state before it; returns the error that ends the run."""
        phase, state, world, made = self.phase, self.state, self.context.world, found.made
        self.context.bad_samples.write()
        incident = Incident(
            step=self._step_of_run + 1,
            phase=phase.name,
            phase_step=state.steps_done + 1,
            seed=self.config.seed,
            loss=repr(made.loss),
            grad_norm=repr(float(made.grad_norm)),
            images_a_batch=self.split.images,
            images_a_forward=self.split.forward,
            processes=world.size,
            images=gathered(world.gather([line for batch in made.used for line in image_lines(batch)])),
        )
        folder = write_incident(self.config.run, incident, partial(self.save, state), world)
        return told(incident, folder, self.config)


def _require_finite(name: str, value: float, phase: Phase, step: int, config: TrainConfig) -> None:
    """Stops a run that has left the numbers, before its weights are taken for good ones."""
    if not math.isfinite(value) and not step:
        raise UserError(
            f"the {name} of {phase.name} is {value} before the first step: the weights of init={config.init} hold what "
            "is no number, or precision bf16 does not do for them; give others, or precision fp32"
        )
    if not math.isfinite(value):
        raise UserError(
            f"the {name} of {phase.name} is {value} at step {step}; start again with a lower optimize.lr (now "
            f"{phase.optimize.lr:g}) or precision fp32 in a new run, or delete the newest of "
            f"{config.run / 'checkpoints'} and go on from an older one"
        )
