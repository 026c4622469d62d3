"""A run and its checkpoints: which one it goes on from, whether that is its end, and what is put into the next.

Place in the flow: `run.py` asks at its start and hands `save` to the loop; `checkpoint.py` is the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from supir_console import UserError
from supir_train.best import best_checkpoint
from supir_train.build import shares_weights
from supir_train.checkpoint import (
    Checkpoint,
    Progress,
    list_checkpoints,
    load_checkpoint,
    open_checkpoint,
    save_checkpoint,
)
from supir_train.config import TrainConfig
from supir_train.model_origin import ModelOrigin
from supir_train.phase import Phase
from supir_train.phase_state import PhaseState, awaits_validation
from supir_train.world import World

if TYPE_CHECKING:
    from supir_train.run import Run


def best_so_far(run: Run, phase: Phase) -> float | None:
    """How good the best kept checkpoint of the phase is."""
    kept = list_checkpoints(run.config.run / "checkpoints")
    best = best_checkpoint(kept, run.config.validation.best, phase.name) if run.world.writes else None
    return run.world.from_first(best[1] if best else None)


def newest_checkpoint(config: TrainConfig, world: World) -> Checkpoint | None:
    """Returns the newest checkpoint of the run, or None; where weights are held in shares these are read later."""
    path = world.from_first(next(reversed(list_checkpoints(config.run / "checkpoints")), None))
    load = open_checkpoint if shares_weights(config, world) else load_checkpoint
    return load(path) if path else None


def require_steps_left(run: Run, at: Progress) -> None:
    """Refuses a run that is told to be shorter than it is.

    Raises:
        UserError: says so.
    """
    last = run.phases[-1]
    if at.phase == last.name and at.phase_step > last.optimize.steps:
        raise UserError(
            f"optimize.steps={last.optimize.steps} lies before step {at.phase_step}, where {run.config.run} stands; "
            "set it to that or more, or delete the newer folders of checkpoints to end at an older one"
        )


def is_complete(run: Run, checkpoint: Checkpoint) -> bool:
    """Returns whether the run has made its last step, and the model in its folder is that step's."""
    last, progress = run.phases[-1], checkpoint.progress
    done = progress.phase == last.name and progress.phase_step == last.optimize.steps
    return done and ModelOrigin.of(progress).is_of(run.config.run / "model")


def save(run: Run, phase: Phase, offset: int, state: PhaseState, folder: Path | None = None) -> Path:
    """Writes a checkpoint of the phase's state; returns where.

    To be called by all processes, of which the first writes, with shares each.

    Args:
        offset: steps of the phases before.
        folder: to write into; None for the run's checkpoints.
    """
    folder = folder or run.config.run / "checkpoints"
    sums = state.means.merged()
    if not (run.world.writes or state.is_sharded):
        return folder
    progress = Progress(
        step=offset + state.steps_done,
        phase=phase.name,
        phase_step=state.steps_done,
        position=state.position,
        sums=sums,
        scaling_factor=run.supir.vae.config["scaling_factor"],
        sources=run.sources,
        figures=state.figures,
    )
    checkpoint = Checkpoint(
        progress=progress,
        model={name: value for part in run.trained.values() for name, value in part.items()},
        ema=state.ema.values,
        optimizer=state.optimizer.state_dict(),
        adversary=phase.adversary.state() if phase.adversary else None,
    )
    # one more until it is known that its weights are numbers
    keep = run.config.keep_checkpoints + awaits_validation(state, phase, run.config)
    best = run.config.validation.best
    return save_checkpoint(folder, checkpoint, keep=keep, best=best, world=run.world)
