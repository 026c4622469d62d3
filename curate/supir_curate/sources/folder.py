r"""A source folder, local or remote: file names as text and back, and the bytes behind them.

Place in the flow: `sources` lists names, `originals` reads files and parts of them. The law: every file that the folder
lists can be named in a table and found again by that name, whatever bytes its name has: a backslash is doubled; a byte
that is not UTF-8, and those of a letter that would not stand where it is printed (control characters, line breaks,
marks that turn the writing's direction), become `\xNN`, as in `caf\xe9.jpg`. Joiners, which words are spelt with, stay.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from supir_curate.sources.walk import Found, walk
from supir_shards import Store

_ESCAPE = re.compile(rb"\\(\\|x[0-9a-f]{2})")
_UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def escaped(name: str) -> str:
    r"""Returns a file name, as the system gives it, as valid text.

    Example:
        >>> print(escaped("caf\udce9.jpg"), escaped("a\\b.jpg"), escaped("café.jpg"))
        caf\xe9.jpg a\\b.jpg café.jpg
        >>> print(escaped("a\nb\u202e.jpg"), escaped("می\u200cخواهم.jpg") == "می\u200cخواهم.jpg")
        a\x0ab\xe2\x80\xae.jpg True
    """
    return printed(os.fsencode(name.replace("\\", "\\\\")).decode("utf-8", "backslashreplace"))


def printed(text: str) -> str:
    """Returns a text without what would move the cursor, break the line or turn the writing's direction."""
    return _UNPRINTABLE.sub(lambda match: "".join(f"\\x{byte:02x}" for byte in match[0].encode()), text)


def unescaped(text: str) -> str:
    """Returns the file name that `escaped` made a text of."""
    data = _ESCAPE.sub(
        lambda match: b"\\" if match[1] == b"\\" else bytes([int(match[1][1:], 16)]), text.encode()
    )
    return os.fsdecode(data)


class Folder:
    """A source folder.

    Args:
        place: absolute path, or fsspec URL.
    """

    def __init__(self, place: str) -> None:
        # A dataset's paths have no backslashes, so a Store refuses them; on a local disk they are letters.
        self._local = None if "://" in place else Path(place)
        self._store = Store(place)

    def find(self) -> Found:
        """Returns the names of all files below, in order, as the system gives them, and what was not followed."""
        return walk(self._local) if self._local else Found(self._store.list(), [], [])

    def name(self, path: str) -> str:
        """Returns a file's full name, for messages."""
        return f"{self._store.url}/{path}"

    def size(self, path: str) -> int:
        """Returns the bytes of a file, given its escaped path.

        Raises:
            OSError: it cannot be had.
            DatasetError: it is remote, and its name holds a backslash.
        """
        name = unescaped(path)
        return _regular(self._local / name).st_size if self._local else self._store.size(name)

    def read(self, path: str) -> bytes:
        """Returns the content of a file, given its escaped path.

        Raises:
            OSError: it cannot be had.
            DatasetError: it is remote, and its name holds a backslash.
        """
        name = unescaped(path)
        return self._local.joinpath(name).read_bytes() if self._local else self._store.read(name)

    def open(self, path: str) -> BinaryIO:
        """Returns a file as a stream that can seek, given its escaped path.

        Raises:
            OSError: it cannot be had.
            DatasetError: it is remote, and its name holds a backslash.
        """
        name = unescaped(path)
        if not self._local:
            return self._store.open(name)
        _regular(self._local / name)
        return self._local.joinpath(name).open("rb")

    def read_range(self, path: str, offset: int, size: int) -> bytes:
        """Returns up to `size` bytes of a file from `offset`, fewer where it ends, given its escaped path.

        Raises:
            OSError: it cannot be had.
            DatasetError: it is remote, and its name holds a backslash.
        """
        if not self._local:
            return self._store.read_range(unescaped(path), offset, size)
        with self.open(path) as stream:
            stream.seek(offset)
            return stream.read(size)


def _regular(path: Path) -> os.stat_result:
    """Returns what the system says of a file.

    Raises:
        OSError: it is none, or a pipe or device, which would be waited for without end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is not a regular file")
    return status
