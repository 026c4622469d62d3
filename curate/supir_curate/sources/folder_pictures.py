"""A folder of pictures as a source: which of its files are pictures, and what the files beside them say.

Place in the flow: `listing` hands in the names. The law: every file is a picture, a sidecar, a table of metadata, or is
counted under what it is; a name tells a picture where its kind can be read, the first bytes of the file do for all
others but sidecars that are somebody's. What a sidecar says goes before what a table says; where the two name two
licences the picture is refused. Sidecars are read some at a time, in threads, since storage is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, listed, unreadable
from supir_curate.sources.folder import Folder
from supir_curate.sources.left_out import Heading, Notes, format_label, noted, suffix_of
from supir_curate.sources.lists import is_table
from supir_curate.sources.look_ahead import in_order
from supir_curate.sources.metadata import Metadata, read_metadata
from supir_curate.sources.pairing import JSON, Pairs, Sidecars, is_metadata, is_sidecar, pair
from supir_curate.sources.sidecars import described
from supir_curate.sources.tar_contents import kind_to_list
from supir_images.formats import HEAD_BYTES, is_readable, kind_of_suffix
from supir_shards import DatasetError
from supir_shards.quarantine import QuarantineReason, RejectedError
from supir_shards.tar_members import Limits

if TYPE_CHECKING:
    import pyarrow as pa

ASKED_AT_ONCE = 32  # files looked into at the same time: a store answers so many requests as fast as one
PICTURES = 256  # whose sidecars one thread reads
MAX_TEXT_BYTES = Limits().max_text_bytes


class Pictures(NamedTuple):
    """What a folder holds.

    Args:
        names: of the pictures, escaped, in order.
        pairs: their sidecars.
        tables: of metadata.
        faults: files that could not be looked into.
        notes: counts of the other files.
        others: those among them that are tables by their names, and no metadata.
    """

    names: list[str]
    pairs: Pairs
    tables: list[str]
    faults: list[Candidate]
    notes: Notes
    others: list[str]


def find_pictures(folder: Folder, files: Sequence[str]) -> Pictures:
    """Returns what a folder's files are.

    Args:
        folder: the source folder.
        files: escaped paths, in order, the hidden ones left out.
    """
    known = [path for path in files if is_picture_by_name(path)]
    tables = [path for path in files if is_metadata(path)]
    sidecars = [path for path in files if is_sidecar(path)]
    unused = set(pair(known, sidecars).unused)
    told = {*known, *tables, *(path for path in sidecars if path not in unused)}
    odd = [path for path in files if path not in told]
    notes, faults, others = Notes(), list[Candidate](), list[str]()
    found, loose = set(known), list[str]()
    for path, head in zip(odd, in_order(partial(_head, folder), odd, ASKED_AT_ONCE), strict=True):
        if isinstance(head, Exception):
            faults.append(unreadable(path, head))
            continue
        kind, can_read = kind_to_list(path, head)
        if can_read:
            found.add(path)
        elif kind:
            notes[Heading.FORMATS, format_label(path, kind)] += 1
        elif path in unused:
            loose.append(path)
        else:
            notes[Heading.NOT_PICTURES, suffix_of(path)] += 1
            others += [path] * is_table(path)
    names = [path for path in files if path in found]
    pairs = pair(names, [*(path for path in sidecars if path not in unused), *loose])
    for one in {name for sidecars_of in pairs.of.values() for name in sidecars_of.names.values()}:
        notes[Heading.SIDECARS_USED, suffix_of(one)] += 1
    for one in pairs.unused:
        notes[Heading.SIDECARS_UNUSED, suffix_of(one)] += 1
    return Pictures(names, pairs, tables, faults, notes, others)


def is_picture_by_name(path: str) -> bool:
    """Returns whether a file's name is that of a picture of a kind that can be read here."""
    kind = kind_of_suffix(path)
    return kind is not None and is_readable(kind)


def list_pictures(folder: Folder, pictures: Pictures, config: SourceConfig) -> Iterator[pa.Table]:
    """Yields a folder's pictures in order, as listings.

    Args:
        folder: the source folder.
        pictures: what it holds.
        config: names of keys, licence of what names none.

    Raises:
        UserError: scores or roles are asked for, and nothing here tells any.
    """
    has_told = pictures.tables or any(JSON in one.names for one in pictures.pairs.of.values())
    for key, value in (("score_columns", config.score_columns), ("role_column", config.role_column)):
        if value and not has_told:
            raise UserError(
                f"source.{key}={value} needs tars, tables, or sidecars in JSON; {folder.name('')} holds none"
            )
    metadata = read_metadata(folder, pictures.tables, config, set(pictures.names))
    if config.licence:
        metadata.note_unread(folder, pictures.others, config)
    notes = Notes(pictures.notes)
    work = partial(_describe, folder, pictures.pairs, metadata, config)
    starts = range(0, len(pictures.names), PICTURES)
    some = (pictures.names[start : start + PICTURES] for start in starts)
    for rows, found in in_order(work, some, ASKED_AT_ONCE):
        notes.update(found)
        yield listed(rows, config)
    yield listed([*pictures.faults, *metadata.damaged], config)
    for table in pictures.tables:
        notes[Heading.SIDECARS_USED, table.rpartition("/")[2]] += 1
    if rows_left := len(metadata.told.keys() - set(pictures.names)):
        notes[Heading.SIDECARS_UNUSED, "rows of metadata"] += rows_left
    yield from noted(notes, config)


def _describe(
    folder: Folder, pairs: Pairs, metadata: Metadata, config: SourceConfig, paths: Sequence[str]
) -> tuple[list[Candidate], Notes]:
    notes = Notes()
    return [_described(folder, path, pairs.of[path], metadata, config, notes) for path in paths], notes


def _described(
    folder: Folder, path: str, sidecars: Sidecars, metadata: Metadata, config: SourceConfig, notes: Notes
) -> Candidate:
    if path in metadata.twice:
        sidecars = sidecars._replace(fault="several rows of metadata name it")
    candidate = described(
        path,
        sidecars,
        partial(_read, folder),
        config,
        notes,
        more=metadata.told.get(path),
        gap=metadata.gap(path),
    )
    return replace(candidate, file=path) if candidate.url != path else candidate


def _read(folder: Folder, path: str) -> bytes:
    """Returns a sidecar's content.

    Raises:
        OSError: it cannot be had.
        RejectedError: it is too large to be one.
    """
    try:
        data = folder.read_range(path, 0, MAX_TEXT_BYTES + 1)
    except DatasetError as error:
        raise OSError(str(error)) from error
    if len(data) > MAX_TEXT_BYTES:
        raise RejectedError(QuarantineReason.TOO_LARGE, f"more than {MAX_TEXT_BYTES} bytes")
    return data


def _head(folder: Folder, path: str) -> bytes | Exception:
    try:
        return folder.read_range(path, 0, HEAD_BYTES)
    except (OSError, DatasetError) as error:
        return error
