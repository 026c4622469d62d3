"""What a source holds: its kind, told by its files, and its candidates in an order that depends on it alone.

Place in the flow: `plan` and `--dry-run` list a source here. The law: a source is of one kind; what it holds besides
(notes, the statistics that img2dataset leaves) is passed over; candidates come as tables, one after the other, and are
never held as a whole. Many files are spread over a cluster where that pays (`_pays`); the candidates are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Kind, listing
from supir_curate.sources.columns import with_known_roles
from supir_curate.sources.dataset import dataset_at, list_dataset
from supir_curate.sources.folder import Folder, escaped
from supir_curate.sources.tables import kind_of, list_tables
from supir_curate.sources.tars import list_tars

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
TABLE, TAR = ".parquet", ".tar"
SPREAD_FROM = 64  # files; below, starting a cluster takes longer than listing
FOLDER_ROWS = 64 * 1024  # of pictures' names in one table

ListFiles = Callable[[Sequence[str]], Iterator["pa.Table"]]
Spread = Callable[[ListFiles, Sequence[str]], Iterator["pa.Table"]]
"""Lists files, each on whatever machine, and yields their tables in the files' order."""


class Listing(NamedTuple):
    """A source's kind and its candidates, listed as they are asked for."""

    kind: Kind
    tables: Iterator[pa.Table]


def here(list_files: ListFiles, files: Sequence[str]) -> Iterator[pa.Table]:
    """Yields the files' tables, listed in this process."""
    return list_files(files)


def list_source(place: str, config: SourceConfig, spread: Spread = here) -> Listing:
    """Returns the kind of a source and its candidates, as tables of `candidate.listing_schema`.

    Args:
        place: folder of pictures, tars or Parquet files, one tar or Parquet file, or a dataset; absolute path or
            fsspec URL.
        config: how it is read.
        spread: lists many files.

    Raises:
        UserError: the source does not exist, is of two kinds, or no file of it has the columns.
    """
    if dataset := dataset_at(place):
        return Listing("dataset", list_dataset(dataset, config))
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
    if images:
        _require_nothing_told(place, config)
        return Listing("folder", _list_images(images, config))
    kind: Kind = "tars" if tars else kind_of(folder, tables, config) if tables else "folder"
    found = tars or tables
    listed = spread if _pays(place, kind, len(found)) else here
    return Listing(kind, listed(partial(list_files, place, kind, config), found))


def list_files(place: str, kind: Kind, config: SourceConfig, files: Sequence[str]) -> Iterator[pa.Table]:
    """Yields the candidates of some tars or Parquet files in order.

    Args:
        place: of the source.
        kind: of the source.
        config: how it is read.
        files: escaped paths.
    """
    folder = source_folder(place)
    tables = list_tars(folder, files, config) if kind == "tars" else list_tables(folder, files, kind, config)
    return map(with_known_roles, tables) if config.role_column else tables


def source_folder(place: str) -> Folder:
    """Returns the folder that a source's paths are below: itself, or the one that a single file lies in."""
    if dataset := dataset_at(place):
        return Folder(dataset)
    return Folder(place.rpartition("/")[0] if _is_file(place) else place)


def _list_images(files: Sequence[str], config: SourceConfig) -> Iterator[pa.Table]:
    import pyarrow as pa

    for start in range(0, len(files), FOLDER_ROWS):
        urls = pa.array(files[start : start + FOLDER_ROWS], pa.string())
        yield listing(config, len(urls), url=urls, licence=config.licence)


def _pays(place: str, kind: Kind, num_files: int) -> bool:
    """Returns whether several machines list a source sooner than one.

    Listing a tar is work: a member takes 0.1 ms of a core, and of small pictures every byte is read. A Parquet file's
    rows pass through one machine anyway, and from a disk it reads them itself in less time than it takes them over.
    """
    return num_files >= SPREAD_FROM and (kind == "tars" or "://" in place)


def _is_file(place: str) -> bool:
    return place.endswith((TABLE, TAR)) and not ("://" not in place and Path(place).is_dir())


def _require_one_kind(place: str, found: dict[str, list[str]]) -> None:
    kinds = [f"{len(files)} {name}" for name, files in found.items() if files]
    if len(kinds) > 1:
        raise UserError(f"{place} holds {' and '.join(kinds)}; give one kind alone")


def _require_nothing_told(place: str, config: SourceConfig) -> None:
    for key, value in (("score_columns", config.score_columns), ("role_column", config.role_column)):
        if value:
            raise UserError(f"source.{key}={value} needs tars or Parquet; {place} holds images")
