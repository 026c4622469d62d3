"""Folders that are there whole or not at all: checkpoints and models.

Place in the flow: `checkpoint.py` and `export.py` write and delete by it. The laws it keeps: what is written has
another name until it is on the disk, what is deleted loses its name first.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from supir_model.out_of_memory import is_out_of_memory
from supir_shards.local_files import FULL_DISK, sync

FULL_DISK_CODES = tuple(f"os error {code}" for code in FULL_DISK)
"""How the writer of weights, which is not Python's, names a full disk."""


def hidden(folder: Path) -> Path:
    """The name that a folder has while it is written or deleted; a dot leaves it out of the lists of whole ones."""
    return folder.with_name(f".{folder.name}")


def give_name(folder: Path) -> None:
    """Syncs `hidden(folder)` and gives it its name, in the place of what has it.

    A kill leaves the one or the other under the name, or none of them, and never a part.
    """
    old = hidden(hidden(folder))
    sync_all(hidden(folder))
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    hidden(folder).rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def delete_folder(folder: Path) -> None:
    """Deletes a folder, which a kill leaves whole, or under its hidden name."""
    shutil.rmtree(hidden(folder), ignore_errors=True)
    folder.rename(hidden(folder))
    shutil.rmtree(hidden(folder))


@contextmanager
def telling_of_full_disk(target: Path) -> Iterator[None]:
    """Turns how the writers of weights tell of a full disk into an error of the file system.

    Raises:
        OSError: says that `target` could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, OSError) and error.filename:  # it says all: a write that fails names no file
            raise
        if is_out_of_memory(error):  # gathering what is written takes some
            raise
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        advice = "make room, the same command goes on" if _is_full(cause) else "the same command goes on"
        raise OSError(f"{target} could not be written: {cause}; {advice}") from error


def sync_all(folder: Path) -> None:
    """Waits until the folder and all below it are on the disk: a name given before may stand for empty files."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def _is_full(error: BaseException) -> bool:
    code = error.errno if isinstance(error, OSError) else None
    return code in FULL_DISK or any(name in str(error) for name in FULL_DISK_CODES)
