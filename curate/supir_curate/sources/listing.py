"""What a source holds: its kind, told by its files, and its candidates in an order that depends on it alone.

Place in the flow: `plan` and `--dry-run` list a source here. The law: a source is of one kind; what it holds besides is
counted (`left_out`); candidates come as tables, one after the other, and are never held as a whole. Many files are
spread over a cluster where that pays (`_pays`); the candidates are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, Kind, listed, unreadable
from supir_curate.sources.columns import with_known_roles
from supir_curate.sources.dataset import dataset_at, list_dataset
from supir_curate.sources.folder import Folder, escaped
from supir_curate.sources.folder_pictures import find_pictures, is_picture_by_name, list_pictures
from supir_curate.sources.left_out import Heading, Notes, format_label, noted, suffix_of
from supir_curate.sources.lists import LIST_SUFFIXES, are_our_failures, is_list, list_lists
from supir_curate.sources.pairing import is_metadata
from supir_curate.sources.tables import kind_of, list_tables
from supir_curate.sources.tar_contents import kind_to_list
from supir_curate.sources.tars import TAR_SUFFIXES, list_tars
from supir_curate.sources.text_rows import has_urls, is_plain
from supir_images.hidden import hidden_name

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = ".parquet"
SPREAD_FROM = 64  # files; below, starting a cluster takes longer than listing

SOURCES = (
    "a folder of images, tars, Parquet files or lists of URLs (CSV, TSV, JSONL, TXT), or one of these files"
)

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
    """Returns the kind of a source and its candidates, as tables of `candidate.listing_schema` with notes among them.

    Args:
        place: folder of pictures, tars, Parquet files or lists, one tar, Parquet file or list, or a dataset; absolute
            path or fsspec URL.
        config: how it is read.
        spread: lists many files.

    Raises:
        UserError: the source does not exist, is of two kinds, or no file of it has the columns.
    """
    if dataset := dataset_at(place):
        return Listing("dataset", list_dataset(dataset, config))
    if "://" not in place and not Path(place).exists():
        raise UserError(f"{place} does not exist; give {SOURCES}")
    if "://" not in place and Path(place).is_file() and not _is_file(place):
        raise UserError(f"{place} is a file of another kind; give {SOURCES}")
    folder = source_folder(place)
    if _is_file(place):
        files, before = [escaped(place.rpartition("/")[2])], Listed([], Notes())
    else:
        files, before = _files_of(folder)
    listing = _listing(place, folder, files, config, spread, before.notes)
    before_all = [listed(before.faults, config)] if before.faults else []
    return Listing(listing.kind, chain(before_all, listing.tables, noted(before.notes, config)))


class Listed(NamedTuple):
    """What is known of a folder before its files are looked at: folders that cannot be, and what is not followed."""

    faults: list[Candidate]
    notes: Notes


def _files_of(folder: Folder) -> tuple[list[str], Listed]:
    found, notes = folder.find(), Notes()
    files = []
    for path in map(escaped, found.files):
        hidden = hidden_name(path)
        if hidden:
            notes[Heading.HIDDEN, hidden] += 1
        else:
            files.append(path)
    for link in found.links:
        notes[Heading.LINKS, escaped(link)] += 1
    return files, Listed([unreadable(escaped(name) or ".", error) for name, error in found.faults], notes)


def _listing(
    place: str, folder: Folder, files: list[str], config: SourceConfig, spread: Spread, notes: Notes
) -> Listing:
    """Returns a source's listing; files of no use for its kind are counted, those of a folder of pictures by itself."""
    tars = [path for path in files if path.lower().endswith(TAR_SUFFIXES)]
    images = [path for path in files if is_picture_by_name(path)]
    # img2dataset leaves a Parquet file of its work beside every tar, and beside every folder of its pictures.
    stems = {
        path[: -len(suffix)] for path in tars for suffix in TAR_SUFFIXES if path.lower().endswith(suffix)
    }
    stems |= {folder for path in images for folder in _folders(path)}
    tables = [path for path in files if path.lower().endswith(TABLE) and path[: -len(TABLE)] not in stems]
    tables = [path for path in tables if not (images and is_metadata(path))]
    _require_one_kind(place, {"images": images, "tars": tars, "Parquet files": tables})
    if not (tars or tables):
        pictures = None if _is_file(place) else find_pictures(folder, files)
        if pictures is not None and (pictures.names or not _lists_of(folder, files)):
            return Listing("folder", map(with_known_roles, list_pictures(folder, pictures, config)))
    found = tars or tables or (files if _is_file(place) else _lists_of(folder, files))
    kind: Kind = "tars" if tars else kind_of(folder, tables, config) if tables else "urls"
    if not (tars or tables or config.role_column) and are_our_failures(folder, found):
        config = config.model_copy(update={"role_column": "role"})
    for path in sorted(set(files) - set(found)):
        picture, _ = kind_to_list(path, b"")
        label = format_label(path, picture) if picture else suffix_of(path)
        notes[Heading.FORMATS if picture else Heading.NOT_PICTURES, label] += 1
    list_them = spread if _pays(place, kind, len(found)) else here
    return Listing(kind, list_them(partial(list_files, place, kind, config), found))


def list_files(place: str, kind: Kind, config: SourceConfig, files: Sequence[str]) -> Iterator[pa.Table]:
    """Yields the candidates of some tars, Parquet files or lists in order.

    Args:
        place: of the source.
        kind: of the source.
        config: how it is read.
        files: escaped paths, all tars, all Parquet files, or all lists.
    """
    folder = source_folder(place)
    if kind == "tars":
        return map(with_known_roles, list_tars(folder, files, config))
    if all(map(is_list, files)):
        return map(with_known_roles, list_lists(folder, files, config))
    return map(with_known_roles, list_tables(folder, files, kind, config))


def _folders(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _lists_of(folder: Folder, files: Sequence[str]) -> list[str]:
    """Returns the lists among a folder's files; plain text is one if its first line is a URL."""
    return [path for path in files if is_list(path) and (not is_plain(path) or has_urls(folder, path))]


def source_folder(place: str) -> Folder:
    """Returns the folder that a source's paths are below: itself, or the one that a single file lies in."""
    if dataset := dataset_at(place):
        return Folder(dataset)
    return Folder(place.rpartition("/")[0] if _is_file(place) else place)


def _pays(place: str, kind: Kind, num_files: int) -> bool:
    """Returns whether several machines list a source sooner than one.

    Listing a tar is work: a member takes 0.1 ms of a core, and of small pictures every byte is read. A Parquet file's
    rows pass through one machine anyway, and from a disk it reads them itself in less time than it takes them over.
    """
    return num_files >= SPREAD_FROM and (kind == "tars" or "://" in place)


def _is_file(place: str) -> bool:
    is_one = place.lower().endswith((TABLE, *TAR_SUFFIXES, *LIST_SUFFIXES))
    return is_one and not ("://" not in place and Path(place).is_dir())


def _require_one_kind(place: str, found: dict[str, list[str]]) -> None:
    kinds = [f"{len(files)} {name}" for name, files in found.items() if files]
    if len(kinds) > 1:
        raise UserError(f"{place} holds {' and '.join(kinds)}; give one kind alone")
