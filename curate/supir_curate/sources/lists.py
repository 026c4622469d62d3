"""Lists of URLs as text files, listed as tables: CSV, TSV, JSON lines, or one URL a line.

Place in the flow: `listing` lists such files here, `text_rows` reads them. The law: every row is a candidate, a damaged
one too, named by its line; a file of which nothing can be read is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import MAX_DETAIL, Candidate, listed, unreadable
from supir_curate.sources.columns import OUR_FAILURES, find_columns
from supir_curate.sources.folder import Folder
from supir_curate.sources.left_out import Heading, Notes, noted
from supir_curate.sources.text_rows import FORMATS, Row, damaged, is_plain, rows_of
from supir_curate.sources.told import candidate_of, told_by, with_licence
from supir_curate.sources.unpacking import UNPACK
from supir_shards import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

LIST_SUFFIXES = tuple(f"{suffix}{packed}" for suffix in FORMATS for packed in ("", *UNPACK))
ROWS = 8 * 1024  # in one table


def is_list(path: str) -> bool:
    """Returns whether a file's name is that of a list, one of pictures' metadata too."""
    return path.lower().endswith(LIST_SUFFIXES)


def is_table(path: str) -> bool:
    """Returns whether a file's name is that of rows with columns."""
    return is_list(path) and not is_plain(path)


def columns_of(folder: Folder, path: str) -> tuple[str, ...]:
    """Returns the columns of a table, of JSON lines the keys of the first; none of one that cannot be read."""
    names: list[str] = []
    try:
        first = next(iter(rows_of(folder, path, names.extend)), None)
    except (UserError, OSError, DatasetError):
        return ()
    return tuple(names or (first.record if isinstance(first, Row) else ()))


def are_our_failures(folder: Folder, paths: Sequence[str]) -> bool:
    """Returns whether all lists are lists of failures of other runs, which say roles; there is at least one."""
    return bool(paths) and all(
        columns_of(folder, path)[: len(OUR_FAILURES)] == OUR_FAILURES for path in paths
    )


def list_lists(folder: Folder, paths: Sequence[str], config: SourceConfig) -> Iterator[pa.Table]:
    """Yields the rows of lists in order, as listings.

    Args:
        folder: the source folder.
        paths: of the files, escaped.
        config: names of columns, licence of what names none.
    """
    for path in paths:
        notes = Notes()
        waiting: list[Candidate] = []
        try:
            for row in rows_of(folder, path, partial(_check, config, folder.name(path))):
                waiting.append(row if isinstance(row, Candidate) else _candidate(path, row, config, notes))
                if len(waiting) == ROWS:
                    yield listed(waiting, config)
                    waiting = []
        # Whatever is wrong with one file, the others are listed.
        except Exception as error:
            waiting.append(unreadable(path, error))
        yield listed(waiting, config)
        yield from noted(notes, config)


def _check(config: SourceConfig, place: str, names: list[str]) -> None:
    if not find_columns(names, config, place).url:
        raise UserError(
            f"{place} has no column url or URL; its columns are {', '.join(names)[:MAX_DETAIL]};"
            " name one with --set source.url_column=NAME, or write the columns' names into its first line"
        )


def _candidate(path: str, row: Row, config: SourceConfig, notes: Notes) -> Candidate:
    told = told_by(row.record, config, is_list=True)
    if told.not_text:
        notes[Heading.NOT_TEXT, told.not_text] += 1
    if not told.url:
        return damaged(path, row.line, f"no {config.url_column or 'URL'}")
    return with_licence(candidate_of(told, ""), config.licence)
