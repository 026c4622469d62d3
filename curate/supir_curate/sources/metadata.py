"""The tables that lie in a folder of pictures and say what they are: `metadata.jsonl`, `.csv` or `.parquet`.

Place in the flow: `folder_pictures` joins them to pictures. The law: a row names its picture by `file_name`, below
the table's own folder; a row that is damaged is one failed candidate. No default licence stands in for pictures below a
folder with a damaged row that no row names, nor where a row names no picture that is there, says a licence, and may
have meant this one (another case, folder or normal form). A picture that two rows name is refused.

Source: Hugging Face datasets' `imagefolder`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, unreadable
from supir_curate.sources.columns import LICENCE_COLUMNS, known_names
from supir_curate.sources.folder import Folder, escaped
from supir_curate.sources.lists import columns_of
from supir_curate.sources.pairing import alike
from supir_curate.sources.table_pictures import opened
from supir_curate.sources.text_rows import Row, damaged, rows_of
from supir_curate.sources.told import Told, told_by

FILE_NAME = "file_name"
READ_ROWS = 1024


@dataclass(slots=True)
class Metadata:
    """What the tables of a folder say.

    Args:
        told: by the picture's escaped path.
        twice: pictures that several rows name.
        gaps: folders of tables that have damaged rows, or are not read, with what is wrong.
        damaged: the rows that could not be read, as candidates.
        licensed: which table says a licence of a picture that is not there, by what is `alike` of its name.
    """

    told: dict[str, Told] = field(default_factory=dict)
    twice: set[str] = field(default_factory=set)
    gaps: dict[str, str] = field(default_factory=dict)
    damaged: list[Candidate] = field(default_factory=list)
    licensed: dict[str, str] = field(default_factory=dict)

    def gap(self, path: str) -> str:
        """Returns why what is said of a picture may have been lost, "" where nothing was."""
        if path in self.told:
            return ""
        for folder, words in self.gaps.items():
            if path.startswith(folder):
                return words
        table = self.licensed.get(alike(path))
        return f"a row of {table} says one of a picture of almost this name" if table else ""

    def note_unread(self, folder: Folder, paths: Sequence[str], config: SourceConfig) -> None:
        """Notes which tables that are no metadata have a column of licences: nobody can tell whose they are."""
        for path in paths:
            if found := known_names(columns_of(folder, path), config.licence_column, LICENCE_COLUMNS):
                remedy = f"call it metadata.csv or .jsonl, with a column {FILE_NAME}"
                words = f"{path} has a column {found[0]!r} and is not read; {remedy}"
                self.gaps.setdefault(_below(path), words)


def _below(path: str) -> str:
    """Returns what the paths below a table's own folder begin with."""
    place = path.rpartition("/")[0]
    return f"{place}/" if place else ""


def read_metadata(
    folder: Folder, paths: Sequence[str], config: SourceConfig, pictures: Collection[str]
) -> Metadata:
    """Returns what the tables say.

    Args:
        folder: the source folder.
        paths: of the tables, escaped.
        config: names of columns.
        pictures: paths of those that are there.
    """
    metadata = Metadata()
    for path in paths:
        below = _below(path)
        for row in _rows(folder, path):
            name = None if isinstance(row, Candidate) else row.record.get(FILE_NAME)
            if isinstance(row, Row) and not (isinstance(name, str) and name):
                row = damaged(
                    path, row.line, f"no {FILE_NAME}, which names the picture below the table's folder"
                )
            if isinstance(row, Candidate):
                metadata.damaged.append(row)
                metadata.gaps.setdefault(below, f"{row.detail} in {path} may have said it")
                continue
            picture = escaped(posixpath.normpath(f"{below}{name}"))
            if picture in metadata.told:
                metadata.twice.add(picture)
            metadata.told[picture] = told = told_by(row.record, config)
            if told.licence and picture not in pictures:
                metadata.licensed.setdefault(alike(escaped(str(name).replace("\\", "/"))), path)
    return metadata


def _rows(folder: Folder, path: str) -> Iterator[Row | Candidate]:
    if not path.lower().endswith(".parquet"):
        yield from rows_of(folder, path)
        return
    line = 0
    try:
        with opened(folder, path) as table:
            for batch in table.iter_batches(READ_ROWS, use_threads=False):
                records: list[dict[str, Any]] = batch.to_pylist()
                for record in records:
                    line += 1
                    yield Row(line, record)
    # Whatever is wrong with one table, the pictures are listed.
    except Exception as error:
        yield unreadable(path, error)
