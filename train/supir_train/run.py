"""One run from config to RUN/model: loads, resumes, runs the phases in order, exports.

    RUN/config.yaml                  the resolved config; a continuation must agree with it
    RUN/metrics.jsonl                losses and validation losses, see `metrics.py`
    RUN/traces.jsonl                 what the pairs of some steps were made from, see `metrics.py`
    RUN/checkpoints/step-00000500/   see `checkpoint.py`
    RUN/bad_samples.jsonl            samples that gave no crop, if there were any
    RUN/model/                       the averaged weights, for supir-infer --model and for the next stage's init

The law it keeps: a rerun of the same command goes on where the last checkpoint stands, and does nothing when
the run is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from supir_console import Config, UserError, config_yaml, load_config
from supir_model import Supir, load_supir
from supir_model.memory import lay_out_channels_last
from supir_train.adapter import adapter_phase
from supir_train.checkpoint import (
    Checkpoint,
    Progress,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from supir_train.config import FREE_KEYS, TrainConfig
from supir_train.data import check_data
from supir_train.encoder import encoder_phase
from supir_train.loop import PhaseState, Surroundings, run_phase, start_phase
from supir_train.metrics import BadSamples, StepLog
from supir_train.phase import Phase, PhaseName
from supir_train.plan import plan
from supir_train.prior import autoencoder_phase, prior_phase
from supir_train.renew import renew_adapter
from supir_train.sources import require_same_sources, source_hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended: `model` is None when it was stopped before its last step."""

    steps: int
    model: Path | None
    bad_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that is ready to start: the model with its starting weights, and the fits in their order.

    `trained` holds the parameters of each phase, by phase name and parameter name; `num_samples` counts the dataset;
    `sources` are the hashes of what is read from elsewhere.
    """

    config: TrainConfig
    num_samples: int
    supir: Supir
    phases: tuple[Phase, ...]
    trained: dict[PhaseName, dict[str, nn.Parameter]]
    sources: dict[str, str]

    def plan(self) -> dict[str, Any]:
        """What the run will take."""
        return plan(self.supir, self.phases, self.trained, self.num_samples, self.config)


def prepare(config: TrainConfig) -> Run:
    """Returns the run with its weights loaded on its device.

    Raises:
        UserError: the device or the recipe is not there, or the recipe is wrong.
        DatasetError: a dataset or its captions are not there or not finished.
        FileNotFoundError: the weights are not there.
        ModelFileError: the weights are damaged or incomplete.
    """
    device = _device(config.device)
    num_samples = check_data(config)
    supir = _load(config)
    if config.stage == "adapter" and config.adapter.start == "unet":
        renew_adapter(supir, config.seed)
    if config.gradient_checkpointing:
        supir.unet.enable_gradient_checkpointing()
        supir.control.enable_gradient_checkpointing()
    phases = _phases(supir, config)
    trained = {phase.name: supir.trainable(phase.name) for phase in phases}
    if _holds_bf16(config):
        moving = {id(parameter) for part in trained.values() for parameter in part.values()}
        for parameter in supir.parameters():
            if id(parameter) not in moving:
                parameter.data = parameter.data.to(torch.bfloat16)
    lay_out_channels_last(supir.to(device))
    return Run(
        config=config,
        num_samples=num_samples,
        supir=supir,
        phases=phases,
        trained=trained,
        sources=source_hashes(config),
    )


def train(run: Run, should_stop: Callable[[int], bool] = lambda _: False) -> Outcome:
    """Runs what is left of the run and exports it.

    Args:
        run: as `prepare` gives it; its weights are changed in place.
        should_stop: asked after each step with the steps done; True ends the run with a checkpoint.

    Raises:
        UserError: the run folder belongs to another config, or the data cannot be used.
    """
    config, folder = run.config, run.config.run
    _claim(config)
    bad_samples = BadSamples(folder / "bad_samples.jsonl")
    resumed = _newest_checkpoint(folder)
    if resumed and _is_complete(run, resumed):
        return Outcome(steps=resumed.progress.step, model=folder / "model", bad_samples=len(bad_samples))
    at = resumed.progress if resumed else None
    around = Surroundings(
        device=run.supir.device,
        metrics=StepLog(folder / "metrics.jsonl", step=at.step if at else 0, phase=at.phase if at else None),
        traces=StepLog(folder / "traces.jsonl", step=at.step if at else 0, phase=at.phase if at else None),
        bad_samples=bad_samples,
        should_stop=should_stop,
    )
    if resumed:
        require_same_sources(resumed.progress.sources, run.sources, config)
        _place_weights(run, resumed)
    first = [phase.name for phase in run.phases].index(resumed.progress.phase) if resumed else 0
    offset = sum(phase.optimize.steps for phase in run.phases[:first])
    for phase in run.phases[first:]:
        if resumed is None:
            phase.begin()
        state = start_phase(phase, run.supir.trainable(phase.name), resumed)
        resumed = None
        save = partial(_save, run, phase, offset)
        stopped = run_phase(phase, state, config=config, step_offset=offset, around=around, save=save)
        offset += state.steps_done
        if stopped and (phase is not run.phases[-1] or state.steps_done < phase.optimize.steps):
            return Outcome(steps=offset, model=None, bad_samples=len(bad_samples))
        state.ema.store_in_model()
        phase.finish()
    return Outcome(steps=offset, model=_export(run), bad_samples=len(bad_samples))


def _load(config: TrainConfig) -> Supir:
    if config.init == "mini":
        return load_supir(preset="mini")
    if config.init == "fresh":
        return load_supir(preset=config.preset, weights=None, seed=config.seed)
    if not Path(config.init).exists():
        raise UserError(
            f"init: {config.init!r} is not there; give mini, fresh, RUN/model, a diffusers SDXL folder or an SDXL file"
        )
    return load_supir(config.init, config.checkpoint, seed=config.seed)


def _holds_bf16(config: TrainConfig) -> bool:
    return config.stage != "prior" and config.optimize.precision == "bf16"


def _phases(supir: Supir, config: TrainConfig) -> tuple[Phase, ...]:
    match config.stage:
        case "prior" if config.autoencoder.steps:
            return autoencoder_phase(supir, config), prior_phase(supir, config)
        case "prior":
            return (prior_phase(supir, config),)
        case "encoder":
            return (encoder_phase(supir, config),)
        case "adapter":
            return (adapter_phase(supir, config),)


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "cpu")
    if name.startswith("cuda") and not has_cuda:
        raise UserError(f"device: {name} was asked for, but this torch sees no CUDA device; use device: cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device: {name!r} is unknown; use auto, cpu, cuda or cuda:N") from error


def _claim(config: TrainConfig) -> None:
    path = config.run / "config.yaml"
    if not path.exists():
        if config.run.is_dir() and any(config.run.iterdir()):
            raise UserError(
                f"run: {config.run} is a folder with other content; name a new folder (--set run=NEW)"
            )
        config.run.mkdir(parents=True, exist_ok=True)
    else:
        before, now = _flat(load_config(TrainConfig, path)), _flat(config)
        changed = [key for key in now if before[key] != now[key] and key not in FREE_KEYS]
        if changed and list_checkpoints(config.run / "checkpoints"):
            differences = ", ".join(f"{key} was {before[key]!r}, is {now[key]!r}" for key in changed)
            raise UserError(
                f"{config.run} was begun with another config: {differences}; put it back, or set run=NEW"
            )
    path.write_text(config_yaml(config), encoding="utf-8")


def _flat(config: Config, prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        values |= _flat(value, f"{prefix}{name}.") if isinstance(value, Config) else {prefix + name: value}
    return values


def _newest_checkpoint(folder: Path) -> Checkpoint | None:
    paths = list_checkpoints(folder / "checkpoints")
    return load_checkpoint(paths[-1]) if paths else None


def _is_complete(run: Run, checkpoint: Checkpoint) -> bool:
    last, progress = run.phases[-1], checkpoint.progress
    done = progress.phase == last.name and progress.phase_step == last.optimize.steps
    return done and (run.config.run / "model").is_dir()


@torch.no_grad()
def _place_weights(run: Run, checkpoint: Checkpoint) -> None:
    for parameters in run.trained.values():
        for name, parameter in parameters.items():
            parameter.copy_(checkpoint.model[name])
    run.supir.vae.register_to_config(scaling_factor=checkpoint.progress.scaling_factor)


def _save(run: Run, phase: Phase, offset: int, state: PhaseState) -> None:
    progress = Progress(
        step=offset + state.steps_done,
        phase=phase.name,
        phase_step=state.steps_done,
        position=state.position,
        scaling_factor=run.supir.vae.config["scaling_factor"],
        sources=run.sources,
    )
    checkpoint = Checkpoint(
        progress=progress,
        model={name: value for part in run.trained.values() for name, value in part.items()},
        ema=state.ema.values,
        optimizer=state.optimizer.state_dict(),
        adversary=phase.adversary.state() if phase.adversary else None,
    )
    save_checkpoint(run.config.run / "checkpoints", checkpoint, keep=run.config.keep_checkpoints)


@torch.no_grad()
def _export(run: Run) -> Path:
    supir = run.supir
    if _holds_bf16(run.config):
        # Frozen networks were rounded to bfloat16 for training; what is exported must be what was loaded.
        supir = _load(run.config)
        own = dict(supir.named_parameters())
        for parameters in run.trained.values():
            for name, parameter in parameters.items():
                own[name].copy_(parameter)
    final, temporary = run.config.run / "model", run.config.run / ".model"
    shutil.rmtree(temporary, ignore_errors=True)
    supir.save_pretrained(temporary)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    return final
