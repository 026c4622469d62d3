"""Files of a local disk that are whole or not there, alone or many at a time.

Place in the flow: `storage` writes local datasets by it. The law: a temporary file in a hidden folder of its own beside
the target (`.NAME.tmp/TOKEN`), fsync, rename, fsync of the target's folder, in this order. A killed write leaves at
most that hidden folder, which the next write of the same path clears; so no write lists a folder that holds more than
its own leftovers. Many files share the waits: all are synced before the first is renamed, each folder once.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from supir_shards.record import DatasetError

TEMPORARY = ".tmp"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
OPENING_ATTEMPTS = 8  # while a second writer of the same path takes its folder away each time
SYNCS_AT_ONCE = 8  # the disk's journal takes several for the price of one


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside ``path`` that takes its name, durably, when the block ends."""
    _make_folder(path.parent)
    temporary, opened = _opened(path)
    try:
        with opened as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename(temporary, path)
    except BaseException as error:
        _discard(temporary)
        _name(error, path)
        raise
    sync(path.parent)


def replace_all(files: Mapping[Path, bytes]) -> None:
    """Write files, each in one visible step; all are durable when this returns."""
    folders = {path.parent for path in files}
    for folder in folders:
        _make_folder(folder)
    temporaries: dict[Path, Path] = {}

    def write(path: Path) -> None:
        temporaries[path], opened = _opened(path)
        try:
            with opened as file:
                file.write(files[path])
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            _name(error, path)
            raise

    try:
        with ThreadPoolExecutor(SYNCS_AT_ONCE) as threads:
            list(threads.map(write, files))
        for path, temporary in temporaries.items():
            _rename(temporary, path)
    except BaseException:
        for temporary in temporaries.values():
            _discard(temporary)
        raise
    for folder in folders:
        sync(folder)


def is_temporary(path: str) -> bool:
    """Whether a file's path is that of a write under way or killed."""
    return any(name.startswith(".") and name.endswith(TEMPORARY) for name in path.split("/"))


def _opened(path: Path) -> tuple[Path, BinaryIO]:
    """A new file to fill in the hidden folder that only writes of this path use, which is cleared before."""
    folder = path.with_name(f".{path.name}{TEMPORARY}")
    # The name is unique, so that a second writer of the same part cannot mix its bytes into ours.
    temporary = folder / secrets.token_hex(4)
    for _ in range(OPENING_ATTEMPTS):
        with suppress(FileNotFoundError):  # another writer of the same path was done and took its folder away
            folder.mkdir(exist_ok=True)
            for leftover in folder.iterdir():
                leftover.unlink(missing_ok=True)
            return temporary, temporary.open("xb")
    raise _contended(path)


def _contended(path: Path) -> DatasetError:
    return DatasetError(f"{path} is being written by another process too; let only one of them run")


def _name(error: BaseException, path: Path) -> None:
    """Lets the error of a full disk say of which file; the system names none where a write fails."""
    if isinstance(error, OSError) and error.errno in FULL_DISK and error.filename is None:
        error.filename = str(path)


def _discard(temporary: Path) -> None:
    temporary.unlink(missing_ok=True)
    _remove_folder(temporary.parent)


def _remove_folder(folder: Path) -> None:
    with suppress(OSError):  # a second writer of the same path has a file in it
        folder.rmdir()


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
        _remove_folder(temporary.parent)
    except FileNotFoundError as error:
        raise _contended(path) from error


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably: a synced file is lost if a power cut undoes its folder."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Waits until a file's bytes, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
