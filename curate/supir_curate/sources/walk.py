"""Every file below a local folder, links to folders followed, no folder twice and none without end.

Place in the flow: `folder` lists local sources here; object stores have no links. The law: a folder is listed once,
whatever leads there: what lies below the source by itself first, then what links lead to, in their order. A link to a
folder that is listed already, or that holds the source, is named and not followed; a folder that cannot be listed is
named with its error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Found(NamedTuple):
    """What lies below a folder, by names below it, as the system gives them, sorted.

    Args:
        files: all that is no folder, pipes and broken links too.
        links: to folders that were not followed.
        faults: folders that could not be listed.
    """

    files: list[str]
    links: list[str]
    faults: list[tuple[str, OSError]]


def walk(root: Path) -> Found:
    """Returns what lies below a folder.

    Args:
        root: of the walk.
    """
    found = Found([], [], [])
    resolved = root.resolve()
    listed = {_identity(resolved)}
    around = {_identity(parent) for parent in resolved.parents}
    links = _walk_real(root, "", found, listed)
    while links:
        further: list[str] = []
        for name in sorted(links):
            identity = _identity(root / name)
            if identity in listed or identity in around:
                found.links.append(name)
                continue
            listed.add(identity)
            further += _walk_real(root, name, found, listed)
        links = further
    for names in (found.files, found.links, found.faults):
        names.sort(key=lambda one: one if isinstance(one, str) else one[0])
    return found


def _walk_real(root: Path, start: str, found: Found, listed: set[tuple[int, int]]) -> list[str]:
    """Lists a folder and the real folders below it; returns the links to folders that it met."""
    links, waiting = [], [start]
    while waiting:
        folder = waiting.pop()
        try:
            for name, entry in _entries(root, folder):
                if not _is_folder(entry):
                    found.files.append(name)
                elif entry.is_symlink():
                    links.append(name)
                elif (identity := _identity(Path(entry.path))) not in listed:
                    listed.add(identity)
                    waiting.append(name)
        except OSError as error:
            found.faults.append((folder, error))
    return links


def _entries(root: Path, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(root / folder) as entries:
        for entry in entries:
            yield (f"{folder}/{entry.name}" if folder else entry.name), entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
