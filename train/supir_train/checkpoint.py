"""Checkpoints of a run: RUN/checkpoints/step-00000500/, complete or not there at all.

    model.safetensors   every parameter that this run trains, in any of its phases
    ema.safetensors     the weight average of the phase under way
    optimizer.pt        AdamW's two moments and step counts, in parameter order (read with weights_only)
    adversary.pt        the discriminator, its optimizer and step count, or None where the phase has none
    state.json          run step, phase, step in the phase, position in the data, sums of the figures that no line of
                        metrics holds yet, scaling factor of the latents, hashes, figures of this step's validation

No state of a random number generator is stored, since none outlives a step: noise is keyed by (seed, phase, image)
and data by (seed, key, epoch).
The law it keeps: written under another name, synced, then renamed, so a kill at any moment leaves the last one.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from supir_console import UserError
from supir_train.best import BestFigure, best_checkpoint
from supir_train.metrics import Sums
from supir_train.order import Place, Position
from supir_train.phase import PhaseName

FORMAT_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: `step` counts over all phases, `phase_step` within `phase`.

    `sources` holds the hashes of what the run was begun with and reads again when it goes on, see `provenance.py`;
    `figures` what the validation of this very step found, nothing without one.
    """

    step: int
    phase: PhaseName
    phase_step: int
    position: Position
    sums: Sums
    scaling_factor: float
    sources: dict[str, str]
    figures: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All that a stopped run needs to go on bit for bit; tensors are on the CPU."""

    progress: Progress
    model: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    adversary: dict[str, Any] | None


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int, best: BestFigure) -> Path:
    """Writes the checkpoint under `folder` and deletes all but the newest `keep` and the best by `best`.

    Returns its path.

    Raises:
        OSError: it could not be written; nothing of it is left, the earlier ones stand.
    """
    final = folder / f"step-{checkpoint.progress.step:08d}"
    temporary = folder / f".{final.name}"
    for half_written in folder.glob(".step-*"):
        shutil.rmtree(half_written)
    try:
        temporary.mkdir(parents=True)
        _write(temporary, checkpoint)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    except (SafetensorError, RuntimeError) as error:  # how the two writers tell of a full disk
        raise OSError(
            f"{final} could not be written: {error}; make room, the same command goes on"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(folder)
    complete = list_checkpoints(folder)
    found = best_checkpoint(complete, best)
    for old in complete[:-keep]:
        if found is None or old != found[0]:
            shutil.rmtree(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the complete checkpoints under `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def load_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint at `path`, read without running any code that it might hold.

    Raises:
        UserError: a file of it is damaged.
    """
    try:
        return _read(path)
    except UserError:
        raise
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        EOFError,
    ) as error:
        raise UserError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "delete that folder to go on from the one before it"
        ) from error


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    save_file(_contiguous(checkpoint.model), folder / "model.safetensors")
    save_file(_contiguous(checkpoint.ema), folder / "ema.safetensors")
    torch.save(checkpoint.optimizer, folder / "optimizer.pt")
    torch.save(checkpoint.adversary, folder / "adversary.pt")
    state = {"format_version": FORMAT_VERSION, **asdict(checkpoint.progress)}
    (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        _sync(path)


def _read(path: Path) -> Checkpoint:
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if state["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"checkpoint {path} has format {state['format_version']}, this version reads {FORMAT_VERSION}; go on with "
            "the version that wrote it, or start a new run from its RUN/model"
        )
    position = state["position"]
    return Checkpoint(
        progress=Progress(
            step=state["step"],
            phase=state["phase"],
            phase_step=state["phase_step"],
            position=Position(
                draws=position["draws"],
                photos=Place(**position["photos"]),
                negatives=Place(**position["negatives"]),
            ),
            sums={name: (total, count) for name, (total, count) in state["sums"].items()},
            scaling_factor=state["scaling_factor"],
            sources=state["sources"],
            figures=state["figures"],
        ),
        model=load_file(path / "model.safetensors"),
        ema=load_file(path / "ema.safetensors"),
        optimizer=torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu"),
        adversary=torch.load(path / "adversary.pt", weights_only=True, map_location="cpu"),
    )


def _contiguous(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
