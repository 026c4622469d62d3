"""Checkpoints of a run: RUN/checkpoints/step-00000500/, complete or not there at all.

    model.safetensors   every parameter that this run trains, in any of its phases
    ema.safetensors     the weight average of the phase under way
    optimizer.pt        AdamW's two moments and step counts, in parameter order (read with weights_only)
    adversary.pt        the discriminator, its optimizer and step count, or None where the phase has none
    state.json          run step, phase, step in the phase, position in the data, sums of the figures that no line of
                        metrics holds yet, scaling factor of the latents, hashes, figures of this step's validation
    shares/             instead of the first three where the processes hold shares of them, see `shares.py`

No state of a random number generator is stored, since none outlives a step: noise is keyed by (seed, phase, image)
and data by (seed, key, epoch).
The law it keeps: written under another name, synced, then renamed, and never overwritten, so a kill at any moment
leaves the last one.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from supir_console import UserError
from supir_model.folder import give_usual_mode
from supir_model.sharding import is_share
from supir_shards.local_files import replacing
from supir_train.best import BestFigure, best_checkpoint
from supir_train.metrics import Sums
from supir_train.order import Place, Position
from supir_train.phase import PhaseName
from supir_train.shares import read_whole, write_shares
from supir_train.whole_folder import delete_folder, give_name, hidden, telling_of_full_disk
from supir_train.world import World

FORMAT_VERSION = 3
STATE = "state.json"
SHARES = "shares"


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
    """All that a stopped run needs to go on bit for bit; tensors that were read are on the CPU.

    `shares` is the folder of model, average and moments, where these have not been read yet.
    """

    progress: Progress
    model: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    adversary: dict[str, Any] | None
    shares: Path | None = None

    @property
    def is_sharded(self) -> bool:
        """Whether each process has a share of the tensors, which it writes itself."""
        return any(map(is_share, self.model.values()))


def save_checkpoint(
    folder: Path, checkpoint: Checkpoint, *, keep: int, best: BestFigure, world: World
) -> Path:
    """Writes the checkpoint under `folder` and deletes all but the newest `keep` and the best by `best`.

    One of this step that stands there has the same weights: it is told what the step's validation found.
    Returns its path. To be called by the process that writes; by all of them where each has a share.

    Raises:
        OSError: it could not be written; nothing of it is left, the earlier ones stand.
    """
    final = folder / f"step-{checkpoint.progress.step:08d}"
    stands = final.is_dir()
    if checkpoint.is_sharded:
        stands = world.from_first(stands)
    if not stands:
        _write_new(final, checkpoint, world)
    elif world.writes:
        with replacing(final / STATE) as file:
            file.write(_state(checkpoint, world))
    if world.writes:
        complete = list_checkpoints(folder)
        found = best_checkpoint(complete, best)
        for old in complete[:-keep]:
            if found is None or old != found[0]:
                delete_folder(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the complete checkpoints under `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def load_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint at `path`, read without running any code that it might hold.

    Raises:
        UserError: a file of it is damaged.
    """
    with _damage_told(path):
        opened = _read(path)
        if opened.shares is None:
            return opened
        model, ema, moments = read_whole(opened.shares)
        return replace(opened, model=model, ema=ema, optimizer={"state": moments}, shares=None)


def open_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint at `path` as `load_checkpoint` does, but for tensors in shares, which stay in their files.

    Raises:
        UserError: a file of it is damaged.
    """
    with _damage_told(path):
        return _read(path)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
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
        FileNotFoundError,
    ) as error:
        raise UserError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "delete that folder to go on from the one before it"
        ) from error


def _write_new(final: Path, checkpoint: Checkpoint, world: World) -> None:
    temporary = hidden(final)
    try:
        if world.writes:
            for half_written in final.parent.glob(".step-*"):
                shutil.rmtree(half_written)
            temporary.mkdir(parents=True)
        if checkpoint.is_sharded:
            world.from_first(None)  # the folder is there
            moments = checkpoint.optimizer["state"]
            write_shares(temporary / SHARES, checkpoint.model, checkpoint.ema, moments)
        if world.writes:
            with telling_of_full_disk(final):
                _write(temporary, checkpoint, world)
            give_name(final)
    finally:
        if world.writes:
            shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, checkpoint: Checkpoint, world: World) -> None:
    if not checkpoint.is_sharded:
        save_file(_contiguous(checkpoint.model), folder / "model.safetensors")
        save_file(_contiguous(checkpoint.ema), folder / "ema.safetensors")
        _write_torch(checkpoint.optimizer, folder / "optimizer.pt")
    give_usual_mode(folder.rglob("*.safetensors"))
    _write_torch(checkpoint.adversary, folder / "adversary.pt")
    (folder / STATE).write_bytes(_state(checkpoint, world))


def _state(checkpoint: Checkpoint, world: World) -> bytes:
    state = {"format_version": FORMAT_VERSION, **asdict(checkpoint.progress)}
    if checkpoint.is_sharded:
        state["shares"] = world.size
    return (json.dumps(state, indent=2) + "\n").encode()


def _read(path: Path) -> Checkpoint:
    state = json.loads((path / STATE).read_text(encoding="utf-8"))
    if state["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"checkpoint {path} has format {state['format_version']}, this version reads {FORMAT_VERSION}; go on with "
            "the version that wrote it, or start a new run from its RUN/model"
        )
    position = state["position"]
    shares = path / SHARES if "shares" in state else None
    if shares and len(list(shares.glob("*.safetensors"))) != state["shares"]:
        raise ValueError(f"of {state['shares']} shares some are not there")
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
        model={} if shares else load_file(path / "model.safetensors"),
        ema={} if shares else load_file(path / "ema.safetensors"),
        optimizer={} if shares else _torch_file(path / "optimizer.pt"),
        adversary=_torch_file(path / "adversary.pt"),
        shares=shares,
    )


def _write_torch(value: Any, path: Path) -> None:
    # Python's file, whose error says why: torch's own ends at an "unexpected pos".
    with path.open("wb") as file:
        torch.save(value, file)


def _torch_file(path: Path) -> Any:
    return torch.load(path, weights_only=True, map_location="cpu")


def _contiguous(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
