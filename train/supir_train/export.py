"""Makes a model of a run's weights: at the end of the run, or of any checkpoint that it keeps.

Place in the flow: `run.py` ends with `write_final_model`; `supir-train export` calls `export`. The laws it keeps: a
checkpoint gives what the run would have given if it had ended there, byte for byte, and no step is trained for it; a
model folder is there whole or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from supir_console import UserError, require_writable_file, require_writable_folder
from supir_model import Supir
from supir_model.checkpoint import save_checkpoint as save_official
from supir_model.sharding import whole_tensor
from supir_train.best import best_checkpoint
from supir_train.build import holds_bf16, load_start, make_phases, shares_weights
from supir_train.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from supir_train.config import TrainConfig
from supir_train.config_history import CONFIG, begun_config
from supir_train.model_origin import ModelOrigin
from supir_train.phase import PhaseName
from supir_train.provenance import require_same_sources, weight_hashes
from supir_train.run_folder import locked
from supir_train.whole_folder import give_name, hidden, telling_of_full_disk
from supir_train.world import World

Trained = Mapping[PhaseName, Mapping[str, torch.Tensor]]
"""Parameters by the phase that trains them and by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written: the model folder, the official file if one was asked for, and what they were made from."""

    step: int
    model: Path
    official: Path | None
    figures: dict[str, float]


def export(
    run: Path, *, step: int | None, best: bool, output: Path | None, official: Path | None
) -> Exported:
    """Writes the model of a kept checkpoint.

    Args:
        run: the run folder.
        step: step of the checkpoint; None for the newest, or with `best` the best.
        best: the best by the run's `validation.best`.
        output: folder of the model; None for RUN/model, which is replaced, and which the next start of the run makes
            of its last step again.
        official: file that gets control encoder, connectors and robust encoder in the layout of the authors' files.

    Raises:
        UserError: there is no such run or checkpoint, the weights that it began with have changed, the output is
            taken, the run is being trained, or the network has no official layout.
    """
    if not (run / CONFIG).is_file():
        raise UserError(
            f"{run} is no run folder: it has no {CONFIG}; give the folder that `run` names in the config"
        )
    _require_free(run, output, official)
    config = begun_config(run).model_copy(update={"run": run})
    # RUN/model is the run's own; elsewhere one may write while it is trained
    with nullcontext() if output else locked(run, "or give -o FOLDER"):
        checkpoint = load_checkpoint(_find(config, step=step, best=best))
        supir = _averaged(config, checkpoint)
        if official:
            _write_official(supir, official)
        model = write_model(supir, output or run / "model", ModelOrigin.of(checkpoint.progress))
    return Exported(
        step=checkpoint.progress.step, model=model, official=official, figures=checkpoint.progress.figures
    )


def write_final_model(
    supir: Supir, trained: Trained, config: TrainConfig, origin: ModelOrigin, world: World
) -> Path:
    """Writes RUN/model from the weights that a run ended with; to be called by all processes, of which one writes.

    Raises:
        UserError: the weights that the run began with have changed, and what it did not train is read from them again.
    """
    final = config.run / "model"
    is_sharded = shares_weights(config, world)
    whole = (
        {name: _whole(parameters, world) for name, parameters in trained.items()} if is_sharded else trained
    )
    if world.writes:
        # Frozen networks were rounded to bfloat16 for training; what is exported must be what was loaded.
        if is_sharded or holds_bf16(config):
            require_same_sources(origin.sources, weight_hashes(config), config)
            supir = with_unrounded(supir, whole, config)
        write_model(supir, final, origin)
    return world.from_first(final)


def _whole(parameters: Mapping[str, torch.Tensor], world: World) -> dict[str, torch.Tensor]:
    """Parameters that are held in shares as a whole, on the CPU of the process that writes."""
    gathered: dict[str, torch.Tensor] = {}
    for name, parameter in parameters.items():
        values = whole_tensor(parameter.detach())
        if world.writes:
            gathered[name] = values.to("cpu")
    return gathered


def write_model(supir: Supir, folder: Path, origin: ModelOrigin) -> Path:
    """Writes the model in `save_pretrained`'s layout, in the place of what is there; returns `folder`.

    Raises:
        OSError: it could not be written; nothing of it is left, what was there stands.
    """
    temporary = hidden(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with telling_of_full_disk(folder):
            supir.save_pretrained(temporary)
            origin.write(temporary)
            give_name(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write_official(supir: Supir, file: Path) -> None:
    try:
        with telling_of_full_disk(file):
            save_official(supir, file)
    except ValueError as error:
        raise UserError(f"--official {file}: {error}") from error


@torch.no_grad()
def place_weights(supir: Supir, trained: Trained, checkpoint: Checkpoint) -> None:
    """Overwrites what the run trains by the checkpoint's weights, not the averages; those in shares are read later."""
    for parameters in trained.values():
        for name, parameter in parameters.items():
            if checkpoint.shares is None:
                parameter.copy_(checkpoint.model[name])
    supir.vae.register_to_config(scaling_factor=checkpoint.progress.scaling_factor)


@torch.no_grad()
def with_unrounded(supir: Supir, trained: Trained, config: TrainConfig) -> Supir:
    """Returns the starting weights, read again, with the trained ones of `supir` in their place."""
    whole = load_start(config)
    own = dict(whole.named_parameters())
    for parameters in trained.values():
        for name, parameter in parameters.items():
            own[name].copy_(parameter)
    whole.vae.register_to_config(scaling_factor=supir.vae.config["scaling_factor"])
    return whole


def _require_free(run: Path, output: Path | None, official: Path | None) -> None:
    if output and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"-o {output} is there already; name a new folder")
    if official and official.suffix != ".safetensors":
        raise UserError(f"--official {official} must end in .safetensors")
    if official and official.exists():
        raise UserError(f"--official {official} is there already; name a new file")
    if output:
        require_writable_folder(output, "-o")
    else:
        require_writable_folder(run, "RUN")
    if official:
        require_writable_file(official, "--official")


def _find(config: TrainConfig, *, step: int | None, best: bool) -> Path:
    kept = list_checkpoints(config.run / "checkpoints")
    if not kept:
        raise UserError(f"{config.run} keeps no checkpoint yet; train to the first (checkpoint_every)")
    if best:
        found = best_checkpoint(kept, config.validation.best)
        if found is None:
            raise UserError(
                f"no checkpoint that {config.run} keeps was validated by {config.validation.best}; choose with --step"
            )
        return found[0]
    if step is None:
        return kept[-1]
    steps = {int(path.name.removeprefix("step-")): path for path in kept}
    if step not in steps:
        raise UserError(
            f"{config.run} keeps no checkpoint of step {step}; it keeps {', '.join(map(str, steps))}"
        )
    return steps[step]


@torch.no_grad()
def _averaged(config: TrainConfig, checkpoint: Checkpoint) -> Supir:
    """The whole model on the CPU with the checkpoint's averaged weights, ended as the run ends its last phase."""
    progress = checkpoint.progress
    supir = load_start(config)
    # the data need not be there any more: a model holds nothing of them beside the checkpoint's weights
    require_same_sources(progress.sources, weight_hashes(config), config)
    phases = make_phases(supir, config)
    last = phases[-1]
    if progress.phase != last.name:
        raise UserError(
            f"step {progress.step} lies in the {progress.phase} fit, of which no model is made before {last.name} has "
            "begun; choose a later checkpoint with --step"
        )
    place_weights(supir, {phase.name: supir.trainable(phase.name) for phase in phases}, checkpoint)
    for name, parameter in supir.trainable(last.name).items():
        parameter.copy_(checkpoint.ema[name])
    last.finish()
    return supir
