"""What a source lists and leaves out, for tests: rows as candidates, counts by heading, and tars made of bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, candidates_from
from supir_curate.sources.left_out import Counts
from supir_curate.sources.listing import list_source
from supir_curate.sources.plan import ListingTally


def rows_of(place: Path | str, **section: Any) -> tuple[dict[str, Candidate], Counts]:
    """Returns the candidates of a source by their URLs, and what it leaves out."""
    tally = ListingTally()
    tables = tally.counted(list_source(str(place), SourceConfig(**section)).tables)
    rows = [row for table in tables for row in candidates_from(table)]
    assert len({row.url for row in rows}) == len(rows) == tally.seen
    return {row.url: row for row in rows}, tally.left_out


def files_in(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Writes files below a folder and returns it."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def tar_of(path: Path, files: Mapping[str, bytes | str], mode: str = "w") -> Path:
    """Writes a tar of files in their order and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            content = data if isinstance(data, bytes) else data.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
