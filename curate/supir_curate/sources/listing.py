"""What a source holds: its kind, told by its files, and its candidates in an order that depends on it alone.

Place in the flow: `plan` and `--dry-run` list a source here. The law: a source is of one kind; what it holds besides
(notes, the statistics that img2dataset leaves) is passed over; candidates come one at a time and are never held as a
whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, Kind
from supir_curate.sources.folder import Folder, escaped
from supir_curate.sources.tables import kind_of, list_tables
from supir_curate.sources.tars import list_tars

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
TABLE, TAR = ".parquet", ".tar"


class Listing(NamedTuple):
    """A source's kind and its candidates, listed as they are asked for."""

    kind: Kind
    candidates: Iterator[Candidate]


def list_source(place: str, config: SourceConfig) -> Listing:
    """Returns the kind of a source and its candidates.

    Args:
        place: folder of pictures, tars or Parquet files, or one tar or Parquet file; absolute path or fsspec URL.
        config: how it is read.

    Raises:
        UserError: the source does not exist, is of two kinds, or lacks a column.
    """
    if "://" not in place and not Path(place).exists():
        raise UserError(f"{place} does not exist; give a folder of images, WebDataset tars, or Parquet files")
    folder = source_folder(place)
    names = [place.rpartition("/")[2]] if _is_file(place) else folder.list()
    files = [escaped(name) for name in names]
    tars = [path for path in files if path.endswith(TAR)]
    # img2dataset leaves a Parquet file of its work beside every tar.
    stems = {path.removesuffix(TAR) for path in tars}
    tables = [path for path in files if path.endswith(TABLE) and path.removesuffix(TABLE) not in stems]
    images = [path for path in files if path.lower().endswith(IMAGE_SUFFIXES)]
    _require_one_kind(place, {"images": images, "tars": tars, "Parquet files": tables})
    if config.score_columns and images:
        raise UserError(
            f"source.score_columns={config.score_columns} needs tars or Parquet; {place} holds images"
        )
    if tars:
        return Listing("tars", list_tars(folder, tars, config))
    if tables:
        kind = kind_of(folder, tables[0], config)
        return Listing(kind, list_tables(folder, tables, kind, config))
    return Listing("folder", (Candidate(url=path, licence=config.licence) for path in images))


def source_folder(place: str) -> Folder:
    """Returns the folder that a source's paths are below: itself, or the one that a single file lies in."""
    return Folder(place.rpartition("/")[0] if _is_file(place) else place)


def _is_file(place: str) -> bool:
    return place.endswith((TABLE, TAR)) and not ("://" not in place and Path(place).is_dir())


def _require_one_kind(place: str, found: dict[str, list[str]]) -> None:
    kinds = [f"{len(files)} {name}" for name, files in found.items() if files]
    if len(kinds) > 1:
        raise UserError(f"{place} holds {' and '.join(kinds)}; give one kind alone")
