"""A run folder has one owner: the processes of one run hold it while they train, and another start is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from supir_console import UserError, require_writable_folder
from supir_shards.local_files import is_temporary
from supir_train.checkpoint import list_checkpoints
from supir_train.config import TrainConfig
from supir_train.config_history import CONFIG, require_same_config
from supir_train.world import World

LOCK = ".lock"


def require_usable(config: TrainConfig) -> None:
    """Refuses a folder that no start with this config can have; asks no other process and leaves nothing behind.

    Raises:
        UserError: the folder has another config or content, or cannot be written to.
    """
    _claim(config)
    require_writable_folder(config.run, "run:")


def require_available(config: TrainConfig, world: World) -> None:
    """Refuses early what `owned` would: nothing is loaded for a run that has no folder, and nothing is left behind.

    Raises:
        UserError: the folder has another owner, config or content, or cannot be written to.
    """
    refusal = None
    if world.writes:
        try:
            require_usable(config)
            if (config.run / LOCK).exists():
                with locked(config.run):
                    pass
        except UserError as error:
            refusal = error
    _raise_in_all(refusal, world)


@contextmanager
def owned(config: TrainConfig, world: World) -> Iterator[None]:
    """Holds the run folder for the processes of this run; another start is refused."""
    with ExitStack() as held:
        refusal = None
        if world.writes:
            try:
                _claim(config)
                held.enter_context(locked(config.run))
            except UserError as error:
                refusal = error
        _raise_in_all(refusal, world)
        yield


def _raise_in_all(refusal: UserError | None, world: World) -> None:
    refusal = world.from_first(refusal)
    if refusal:
        raise refusal


@contextmanager
def locked(run: Path, instead: str = "or set run=NEW") -> Iterator[None]:
    """Holds RUN/.lock, which the system lets go of when this process ends, however it ends; makes the folder.

    Args:
        instead: what a user can do who does not want to wait.

    Raises:
        UserError: another process holds it.
    """
    import fcntl

    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"run: {run} is being trained by another process; wait for it, {instead}"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield


def _claim(config: TrainConfig) -> None:
    if not (config.run / CONFIG).exists():
        # a first start that was killed before config.yaml stood leaves the lock, and a temporary file of the config
        names = [entry.name for entry in config.run.iterdir()] if config.run.is_dir() else []
        if not all(name == LOCK or is_temporary(name) for name in names):
            raise UserError(
                f"run: {config.run} is a folder with other content; name a new folder (--set run=NEW)"
            )
    elif list_checkpoints(config.run / "checkpoints"):
        require_same_config(config)
