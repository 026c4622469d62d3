"""What a file says of the pictures of a run, an entry a picture, and which entries found their picture.

Place in the flow: `captions` and `regions` read such files; `cli` tells what was found.
The law it keeps: entries that no picture was found for are told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from supir_console import UserError, counted, one_line

T = TypeVar("T")
KEY_DIGITS = 32  # a dataset's sample key is the first 32 hex digits of the SHA-256 of the original bytes
KEY = re.compile(f"[0-9a-f]{{{KEY_DIGITS}}}")
NAMED = 5  # entries without a picture that the summary names


def each_once(path: Path, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """Returns the entries of a file by name.

    Args:
        path: of the file, for the message.
        pairs: name and entry, in the file's order.

    Raises:
        UserError: a picture has two entries that differ.
    """
    entries, names = dict[str, T](), dict[str, str]()
    for name, entry in pairs:
        first = names.setdefault(_plain(name), name)
        if entries.setdefault(first, entry) != entry:
            twice = repr(name) if first == name else f"{first!r} and {name!r}, one name,"
            raise UserError(f"{path} has two entries for {twice} that differ; make one of them")
    return entries


class PictureEntries(Generic[T]):
    """Entries by the name of their picture.

    Args:
        entries: what is said, by path, path below the root, file name, either without its suffix, or sample key.
        root: the folder that paths are relative to.
    """

    def __init__(self, entries: Mapping[str, T], root: Path) -> None:
        self._root = root
        self._entries = {_plain(name): entry for name, entry in entries.items()}
        self._names = {_plain(name): name for name in entries}
        self._found: set[str] = set()
        self._has_keys = any(map(KEY.fullmatch, entries))

    def find(self, path: Path, sha256: Callable[[], str]) -> T | None:
        """Returns the entry of a picture, None where there is none.

        Args:
            path: of the picture.
            sha256: of its file; asked for where an entry may be a sample key.
        """
        names = [name for name in self._names_of(path, sha256) if name in self._entries]
        self._found.update(names)
        return self._entries[names[0]] if names else None

    def summary(self) -> str:
        """Returns how many entries belong to a picture, and the first that do not; "" without entries."""
        if not self._entries:
            return ""
        ghosts = [name for key, name in self._names.items() if key not in self._found]
        matched = f"{len(self._found)} of {counted(len(self._entries), 'entry', 'entries')} with a picture"
        more = ", …" if len(ghosts) > NAMED else ""
        return f"{matched}; none has {', '.join(map(one_line, ghosts[:NAMED]))}{more}" if ghosts else matched

    def _names_of(self, path: Path, sha256: Callable[[], str]) -> list[str]:
        """What an entry may call a picture, the most exact name first."""
        names = [str(path)]
        if path.is_relative_to(self._root):
            inside = path.relative_to(self._root)
            names += [inside.as_posix(), inside.with_suffix("").as_posix()]
        names += [path.name, path.stem, sha256()[:KEY_DIGITS] if self._has_keys else ""]
        return [_plain(name) for name in names if name]


def _plain(name: str) -> str:
    """A name as any system may have written it: slashes, no dot before, composed letters."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))
