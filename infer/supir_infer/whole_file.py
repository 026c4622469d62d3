"""A file that appears complete under its name or not at all, whatever ends the process while it is written.

Place in the flow: `saving` writes results by it, `results` mends its list by it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Gives a stream whose bytes become `path`, on disk, at the end; where that is an error nothing of it stays.

    Raises:
        OSError: it cannot be written.
    """
    # a name of its own length: one made from a long picture's name would be longer than file systems take
    temporary = path.with_name(f".supir-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
