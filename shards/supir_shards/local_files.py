"""Files of a local disk that are whole or not there, alone or many at a time.

Place in the flow: `storage` writes local datasets by it. The law: a hidden temporary name in the same folder, fsync,
rename, fsync of the folder, in this order. A killed write leaves at most a hidden temporary file, which the next write
of the same path removes. Many files share the waits: all are synced before the first is renamed, each folder once.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from supir_shards.record import DatasetError

TEMPORARY = ".tmp"
SYNCS_AT_ONCE = 8  # the disk's journal takes several for the price of one


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside ``path`` that takes its name, durably, when the block ends."""
    _make_folder(path.parent)
    for leftover in path.parent.glob(f".{path.name}.*{TEMPORARY}"):
        leftover.unlink(missing_ok=True)
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def replace_all(files: Mapping[Path, bytes]) -> None:
    """Write files, each in one visible step; all are durable when this returns."""
    folders = {path.parent for path in files}
    for folder in folders:
        _make_folder(folder)
    _remove_leftovers(files, folders)
    temporaries = {path: _temporary(path) for path in files}
    try:
        with ThreadPoolExecutor(SYNCS_AT_ONCE) as threads:
            list(threads.map(_write_synced, temporaries.values(), files.values()))
        for path, temporary in temporaries.items():
            _rename(temporary, path)
    except BaseException:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
        raise
    for folder in folders:
        _sync_folder(folder)


def is_temporary(name: str) -> bool:
    """Whether a file's name is that of a write under way or killed."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def _temporary(path: Path) -> Path:
    # The name is unique, so that a second writer of the same part cannot mix its bytes into ours.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")


def _remove_leftovers(files: Mapping[Path, bytes], folders: set[Path]) -> None:
    for folder in folders:
        for entry in os.scandir(folder):
            # .NAME.TOKEN.tmp
            if is_temporary(entry.name) and folder / entry.name[1:].rsplit(".", 2)[0] in files:
                Path(entry.path).unlink(missing_ok=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path} is being written by another process too; let only one of them run"
        ) from error


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, durably: a synced file is lost if a power cut undoes its folder."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
