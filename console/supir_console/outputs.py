"""Where a command may write, asked before its work begins: no hour of work ends at a closed door or upon its own input.

Place in the flow: after the plan, before anything is loaded or computed. The law it keeps: what is asked is the file
system itself, by a file that is made and taken away again; permissions alone do not tell it. What was made to ask is
gone afterwards: a run that is refused later leaves nothing behind.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from supir_console.entry import UserError


def require_writable_folder(folder: Path, option: str) -> None:
    """Finds that a folder is there or can be made, and that files can be made in it.

    Args:
        folder: local.
        option: that named it, for the message.

    Raises:
        UserError: it is a file, or nothing can be written there.
    """
    probe = folder / f".supir-{secrets.token_hex(8)}.tmp"
    made: list[Path] = []
    try:
        for place in (*reversed(folder.parents), folder):
            if not place.is_dir():
                place.mkdir()
                made.append(place)
        probe.touch()
        probe.unlink()
        for place in reversed(made):
            place.rmdir()
    except OSError as error:
        reason = (
            "it is no folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        )
        raise UserError(
            f"{option} {folder} cannot be written to: {reason}; give a folder that can be"
        ) from error


def require_writable_file(path: Path, option: str) -> None:
    """Finds that a file of this name can be written, in a folder that is there or can be made.

    Args:
        path: local.
        option: that named it, for the message.

    Raises:
        UserError: it is a folder, or cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; give the name of a file")
    require_writable_folder(path.parent, f"{option} {path}: its folder")
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"{option} {path} cannot be written: it is there and read-only; give another name")


def require_outside(output: str, source: str, option: str) -> None:
    """Finds that an output is neither its input nor inside it.

    Args:
        output: file, folder or URL that will be written.
        source: file, folder or URL that is read.
        option: that named the output, for the message.

    Raises:
        UserError: it is.
    """
    written, read = _place(output), _place(source)
    if written == read or _is_one_file(written, read):
        raise UserError(
            f"{option} {output} is the input itself, which is never overwritten; give another place"
        )
    if written.startswith(read.rstrip("/") + "/"):
        raise UserError(f"{option} {output} lies inside the input {source}; give a place outside it")


def _place(path: str) -> str:
    """The one name of a place: URLs as they are, local paths without links and dots."""
    local = path.removeprefix("file://")
    return local.rstrip("/") if "://" in local else os.path.realpath(local)


def _is_one_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
