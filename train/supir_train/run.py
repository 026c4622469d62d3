"""One run from config to RUN/model: loads, resumes, runs the phases in order, exports.

    RUN/config.yaml                  the resolved config, and config_history.jsonl, see `config_history.py`
    RUN/metrics.jsonl                losses and validation figures, see `metrics.py`
    RUN/events/                      the same for TensorBoard, see `curves.py`
    RUN/sheets/                      restored held-out pairs, see `restoration.py`
    RUN/traces.jsonl                 what the pairs of some steps were made from, see `metrics.py`
    RUN/checkpoints/step-00000500/   see `checkpoint.py`
    RUN/bad_samples.jsonl            samples that gave no crop, if there were any
    RUN/model/                       the averaged weights, for supir-infer --model and for the next stage's init

The law it keeps: a rerun of the same command goes on where the last checkpoint stands, and does nothing when
the run is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from supir_model import Supir
from supir_model.memory import checkpoint_activations, lay_out_channels_last
from supir_model.sharding import shard_trained, whole
from supir_train.build import (
    hold_frozen_in_bf16,
    load_start,
    make_phases,
    require_tools,
    shares_weights,
)
from supir_train.checkpoint import Checkpoint, Progress
from supir_train.compiled import compile_for_training
from supir_train.config import TrainConfig
from supir_train.config_history import record_config
from supir_train.cost import plan
from supir_train.curves import open_curves
from supir_train.data import check_data
from supir_train.device import chosen_device
from supir_train.export import place_weights, write_final_model
from supir_train.held_out import HeldOut
from supir_train.held_out_batches import choose_held_out
from supir_train.incidents import list_incidents, require_few_incidents
from supir_train.loop import run_phase
from supir_train.metrics import BadSamples, StepLog
from supir_train.micro_batch import share
from supir_train.model_origin import ModelOrigin
from supir_train.pace import Pace
from supir_train.phase import Phase, PhaseName
from supir_train.phase_state import start_phase
from supir_train.provenance import require_same_sources, source_hashes
from supir_train.restoration import drop_other_sheets, require_best_measure
from supir_train.run_checkpoints import (
    best_so_far,
    is_complete,
    newest_checkpoint,
    require_steps_left,
    save,
)
from supir_train.run_context import RunContext
from supir_train.run_folder import owned
from supir_train.world import ALONE, World, telling_of_lost_processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: `model` is None when it was stopped before its last step.

    `validation_share` is the share of this start's time that went into validations, 0 to 1; `passed_over` are the steps
    of the run that moved no weight, see `incidents.py`.
    """

    steps: int
    model: Path | None
    bad_samples: int
    validation_share: float
    passed_over: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that is ready to start: the model with its starting weights, and the fits in their order.

    `trained` holds the parameters of each phase, by phase name and parameter name; `num_samples` counts the dataset;
    `held_out` are the crops that are validated, None without validation; `sources` are the hashes of what is read from
    elsewhere; `world` the processes that share the work.
    """

    config: TrainConfig
    num_samples: int
    held_out: HeldOut | None
    supir: Supir
    phases: tuple[Phase, ...]
    trained: dict[PhaseName, dict[str, nn.Parameter]]
    sources: dict[str, str]
    world: World

    def plan(self) -> dict[str, Any]:
        """What the run will take."""
        return plan(
            self.supir, self.phases, self.trained, self.num_samples, self.held_out, self.config, self.world
        )


def prepare(config: TrainConfig, world: World = ALONE) -> Run:
    """Returns the run with its weights loaded on its device.

    Args:
        config: the whole run.
        world: the processes that share it.

    Raises:
        UserError: the device, the recipe, a held-out photo or the metric of the best checkpoint is not there, the
            recipe is wrong, the batch cannot be shared, or optimizer or compiler do not run here.
        DatasetError: a dataset or its captions are not there or not finished.
        FileNotFoundError: the weights are not there.
        ModelFileError: the weights are damaged or incomplete.
    """
    device = chosen_device(config.device, world)
    require_tools(config, device)
    num_samples = check_data(config)
    sources = source_hashes(config)
    held_out = choose_held_out(config) if config.validation.crops else None
    require_best_measure(config.validation.best)
    supir = load_start(config)
    if config.gradient_checkpointing:
        checkpoint_activations(supir)
    phases = make_phases(supir, config)
    for phase in phases:
        share(phase.optimize, world, config.data.crops_per_image)
    trained = {phase.name: supir.trainable(phase.name) for phase in phases}
    for network in (supir, *(phase.teacher for phase in phases if phase.teacher)):
        hold_frozen_in_bf16(network, config, [value for part in trained.values() for value in part.values()])
        lay_out_channels_last(network.to(device))
    if config.compile_blocks:
        compile_for_training(supir)
    return Run(
        config=config,
        num_samples=num_samples,
        held_out=held_out,
        supir=supir,
        phases=phases,
        trained=trained,
        sources=sources,
        world=world,
    )


def train(run: Run, should_stop: Callable[[int], bool] = lambda _: False) -> Outcome:
    """Runs what is left of the run and exports it.

    Args:
        run: as `prepare` gives it; its weights are changed in place.
        should_stop: asked after each step, and often while it is validated, with the steps done; True ends the run with
            a checkpoint.

    Raises:
        UserError: the run folder belongs to another config, or the data cannot be used.
    """
    config, folder, world = run.config, run.config.run, run.world
    with owned(config, world):
        bad_samples = BadSamples(folder / "bad_samples.jsonl", world)
        resumed = newest_checkpoint(config, world)
        if resumed and is_complete(run, resumed):
            steps = resumed.progress.step
            return Outcome(
                steps=steps,
                model=folder / "model",
                bad_samples=len(bad_samples),
                validation_share=0.0,
                passed_over=tuple(list_incidents(folder)),
            )
        at = resumed.progress if resumed else None
        if resumed:
            _go_on_from(resumed, run)
        passed_over = require_few_incidents(config, world)
        if world.writes:
            record_config(config, at.step if at else 0)
        logs = _open_logs(folder, at) if world.writes else {}
        curves = open_curves(folder, logs["metrics"].kept) if world.writes else None
        context = RunContext(
            device=run.supir.device,
            world=world,
            pace=Pace(world, run.supir.device),
            logs=logs,
            curves=curves,
            bad_samples=bad_samples,
            should_stop=should_stop,
            passed_over=passed_over,
        )
        bad_samples.add(run.held_out.bad if run.held_out else ())
        with closing(curves) if curves else nullcontext():
            steps, is_done = _run_phases(run, resumed, context)
        bad_samples.write()
        model = _write_model(run, steps) if is_done else None
        return Outcome(
            steps=steps,
            model=model,
            bad_samples=len(bad_samples),
            validation_share=context.pace.validation_share,
            passed_over=tuple(sorted(passed_over)),
        )


def _go_on_from(resumed: Checkpoint, run: Run) -> None:
    """Puts the checkpoint's weights into the model, if the run is the one that it was begun as."""
    require_same_sources(resumed.progress.sources, run.sources, run.config)
    require_steps_left(run, resumed.progress)
    place_weights(run.supir, run.trained, resumed)


def _open_logs(folder: Path, at: Progress | None) -> dict[str, StepLog]:
    """The logs that are written by step, without what lies after `at`."""
    logs = {
        name: StepLog(
            folder / f"{name}.jsonl",
            step=at.step if at else 0,
            phase=at.phase if at else None,
            is_validated=at is None or bool(at.figures),
        )
        for name in ("metrics", "traces")
    }
    drop_other_sheets(folder, {line["sheet"] for line in logs["metrics"].kept if "sheet" in line})
    return logs


def _write_model(run: Run, steps: int) -> Path:
    last = run.phases[-1]
    origin = ModelOrigin(
        step=steps, phase=last.name, phase_step=last.optimize.steps, sources=dict(run.sources)
    )
    return write_final_model(run.supir, run.trained, run.config, origin, run.world)


def _run_phases(run: Run, resumed: Checkpoint | None, context: RunContext) -> tuple[int, bool]:
    """Returns the steps of the run that are done, and whether these are all."""
    first = [phase.name for phase in run.phases].index(resumed.progress.phase) if resumed else 0
    offset = sum(phase.optimize.steps for phase in run.phases[:first])
    for phase in run.phases[first:]:
        parameters = run.supir.trainable(phase.name)
        if resumed is None:
            phase.begin()
            # Processors of different kinds round differently: all start from one process's numbers.
            run.world.copy_from_first(parameters.values())
        if shares_weights(run.config, run.world):
            shard_trained(run.supir, run.world.mesh(run.supir.device))
            parameters = run.trained[phase.name] = run.supir.trainable(phase.name)
        state = start_phase(phase, parameters, resumed, run.world)
        state.best = best_so_far(run, phase)
        resumed = None
        with telling_of_lost_processes():
            stopped = run_phase(
                phase,
                state,
                config=run.config,
                step_offset=offset,
                context=context,
                save=partial(save, run, phase, offset),
                whole=partial(whole, run.supir),
                held_out=run.held_out,
            )
        offset += state.steps_done
        if stopped:
            return offset, False
        state.ema.store_in_model()
        phase.finish()
    return offset, True
