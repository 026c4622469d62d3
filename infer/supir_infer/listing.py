"""Which files are pictures: those named like one, and of the others those whose first bytes are one's.

Place in the flow: `earlier_results` and `matching` list here. The law: as in curation, hidden names are passed over,
and what is left out is counted; linked folders are followed, each folder once however many links lead to it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from supir_images.formats import HEAD_BYTES, KINDS, kind_of, kind_of_suffix
from supir_images.hidden import hidden_name

SUFFIXES = tuple(suffix for kind in KINDS.values() if kind.has_reader for suffix in kind.suffixes)
"""Of files that are taken for pictures; one whose reader is not installed is a picture that cannot be read."""
MET_BEFORE, UNREADABLE = "(link to a folder met before)", "(folder that cannot be read)"
NO_FILE = "(pipe, socket or device)"
"""Names that `left_out` has for what is no file."""


class Listing(NamedTuple):
    """The pictures below a folder, sorted, and the number of other files by suffix, hidden name or kind of folder."""

    pictures: list[Path]
    left_out: dict[str, int]


def list_pictures(folder: Path) -> Listing:
    """Returns what is below a folder.

    A link that leads nowhere, and a file that cannot be looked into, count as they are named: it is for the caller to
    say that they cannot be read.
    """
    pictures, left_out = [], Counter[str]()
    for path in sorted(_files(folder, left_out)):
        if hidden := hidden_name(path.relative_to(folder).as_posix()):
            left_out[hidden] += 1
        elif not _may_be_read(path):
            left_out[NO_FILE] += 1
        elif is_picture(path):
            pictures.append(path)
        else:
            left_out[path.suffix.lower() or "(no suffix)"] += 1
    return Listing(pictures, dict(left_out.most_common()))


def is_picture(path: Path) -> bool:
    """Returns whether a file is named like a picture, or begins like one; camera raw begins like a TIFF and is none."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return False
    return kind_of(head) is not None and kind_of_suffix(path.name) != "raw"


def _files(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """Every path that is no folder; counts the folders that are not entered."""

    def unreadable(_: OSError) -> None:
        left_out[UNREADABLE] += 1

    met = {_identity(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        # what lies here itself is met before what links lead to
        folders.sort(key=lambda name: (os.path.islink(os.path.join(parent, name)), name))
        entered = []
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and hidden_name(path.relative_to(folder).as_posix()):
                left_out[name] += 1
                continue
            identity = _identity(path)
            if identity in met:
                left_out[MET_BEFORE] += 1
                continue
            met.add(identity)
            entered.append(name)
        folders[:] = entered
        yield from (Path(parent, name) for name in files)


def _identity(folder: Path) -> tuple[int, int] | str:
    try:
        status = folder.stat()
    except OSError:
        return str(folder)
    return status.st_dev, status.st_ino


def _may_be_read(path: Path) -> bool:
    try:
        return path.is_file() or (path.is_symlink() and not path.exists())
    except OSError:
        return True  # reading it will say why it cannot be
