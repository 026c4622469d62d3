"""Rows of text files: CSV, TSV, JSON lines, or one URL a line; plain or as `.gz`, `.bz2`, `.xz`.

Place in the flow: `lists` and `metadata` read rows here. The law: rows stream, in lines of bounded length; a damaged
row is one failed candidate named by its line, and the next one still comes, also after a quote that nobody closed. The
encoding is found from the first bytes, as `texts` says. The first line of CSV and TSV names the columns; a file without
names whose first line holds one URL alone, or a URL and a text, is read as these.

Source: RFC 4180; jsonlines.org.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, cast

from supir_console import UserError
from supir_curate.sources.candidate import MAX_DETAIL, Candidate
from supir_curate.sources.columns import URL_COLUMNS, find_name
from supir_curate.sources.folder import Folder
from supir_curate.sources.texts import encoding_of
from supir_curate.sources.unpacking import BROKEN, UNPACK, stream_of
from supir_curate.verdict import Reason
from supir_shards import DatasetError

CSV, TSV, URLS, JSON_LINES = ".csv", ".tsv", ".txt", (".jsonl", ".ndjson")
FORMATS = (CSV, TSV, URLS, *JSON_LINES)
COMMA, TAB = ",", "\t"
DELIMITERS = (COMMA, ";", TAB)  # of CSV; the one that gives the columns
SCHEMES = ("http://", "https://")
MAX_LINE = 2**20  # characters
START_BYTES = 4096  # that tell the encoding
MAX_OPEN_QUOTES = 64  # of one file; each costs reading ahead up to the csv module's limit of a cell


class Line(NamedTuple):
    """A line of a text file by its number, its ending on it; None for one that is too long."""

    number: int
    text: str | None


class Row(NamedTuple):
    """A row of a list by its line and columns."""

    line: int
    record: dict[str, Any]


def rows_of(
    folder: Folder, path: str, check: Callable[[list[str]], object] = len
) -> Iterator[Row | Candidate]:
    """Yields the rows of a list, a damaged one as the candidate that failed.

    Args:
        folder: the source folder.
        path: of the file, escaped.
        check: raises where the columns are of no use.

    Raises:
        UserError: it has no columns, or two of one name, or what `check` raises.
    """
    suffix = _format_of(path)
    with _text_of(folder, path) as text:
        lines = _lines(text, path)
        if suffix == URLS:
            yield from _urls(lines, path)
        elif suffix in JSON_LINES:
            yield from _records(lines, path)
        else:
            yield from _table(lines, path, (TAB,) if suffix == TSV else DELIMITERS, check)


def is_plain(path: str) -> bool:
    """Returns whether a list's name is that of plain text, as that of any text may be."""
    return _format_of(path) == URLS


def has_urls(folder: Folder, path: str) -> bool:
    """Returns whether a list's first line that says anything is a URL; what cannot be read is left to its listing."""
    try:
        with _text_of(folder, path) as text:
            lines = (
                line
                for line in _lines(text, path)
                if isinstance(line, Candidate) or (line.text or "x").strip()
            )
            first = next(lines, None)
        return isinstance(first, Line) and (first.text or "").strip().lower().startswith(SCHEMES)
    except (OSError, DatasetError):
        return True


def damaged(path: str, line: int, words: str) -> Candidate:
    """Returns the failed candidate that stands for a row.

    Args:
        path: of the file, escaped.
        line: its number, from 1.
        words: what is wrong with it.
    """
    detail = " ".join(f"line {line}: {words}".split())[:MAX_DETAIL]
    return Candidate(f"{path}#{line}", reason=Reason.UNREADABLE, detail=detail, file=path)


def _format_of(path: str) -> str:
    packed = ("", *UNPACK)
    return next(suffix for suffix in FORMATS if path.lower().endswith(tuple(suffix + one for one in packed)))


@contextmanager
def _text_of(folder: Folder, path: str) -> Iterator[IO[str]]:
    with stream_of(folder, path) as stream:
        data = cast(io.BufferedReader, stream)
        try:
            start = data.read(START_BYTES)
        except BROKEN:
            start = b""  # said of the line where it is met
        data.seek(0)
        encoding = encoding_of(start)
        # Bytes that are not UTF-8 stay what they are, for a URL needs them.
        errors = "surrogateescape" if encoding.startswith("utf-8") else "backslashreplace"
        with io.TextIOWrapper(data, encoding, errors, newline="") as text:
            yield text


def _lines(text: IO[str], path: str) -> Iterator[Line | Candidate]:
    number = 0
    try:
        while line := text.readline(MAX_LINE):
            number += 1
            if len(line) < MAX_LINE or line.endswith("\n"):
                yield Line(number, line)
                continue
            while (rest := text.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            yield Line(number, None)
    except BROKEN as error:
        words = f"damaged from here on ({type(error).__name__}: {error})"
        yield damaged(path, number + 1, words)


def _urls(lines: Iterator[Line | Candidate], path: str) -> Iterator[Row | Candidate]:
    for line in lines:
        if isinstance(line, Candidate):
            yield line
        elif line.text is None:
            yield _too_long(path, line.number)
        elif url := line.text.strip():
            yield Row(line.number, {URL_COLUMNS[0]: url})


def _records(lines: Iterator[Line | Candidate], path: str) -> Iterator[Row | Candidate]:
    for line in lines:
        if isinstance(line, Candidate):
            yield line
        elif line.text is None:
            yield _too_long(path, line.number)
        elif line.text.strip():
            try:
                record = json.loads(line.text)
            except (ValueError, RecursionError) as error:
                yield damaged(path, line.number, f"no JSON ({error})")
                continue
            is_record = isinstance(record, dict)
            yield Row(line.number, record) if is_record else damaged(path, line.number, "JSON, but no object")


def _table(
    lines: Iterator[Line | Candidate],
    path: str,
    delimiters: Sequence[str],
    check: Callable[[list[str]], object],
) -> Iterator[Row | Candidate]:
    source = _Lines(lines)
    first = next((line for line in source if isinstance(line, Candidate) or (line.text or "x").strip()), None)
    if first is None or isinstance(first, Candidate) or first.text is None:
        yield from () if first is None else [first if isinstance(first, Candidate) else _too_long(path, 1)]
        return
    names, delimiter = _names(first.text, delimiters)
    if any(name.lower().startswith(SCHEMES) for name in names):
        names = _names_of(names, path)
        source.give_back([first])
    twice = sorted(name for name in set(names) if names.count(name) > 1)
    if twice:
        raise UserError(f"{path} has several columns {twice[0]!r}; rename or drop all but one")
    check(names)
    for number, cells in _cells(source, path, delimiter):
        if isinstance(cells, Candidate):
            yield cells
            continue
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        if len(cells) == len(names):
            yield Row(number, dict(zip(names, cells, strict=True)))
        elif cells:
            yield damaged(path, number, f"{len(cells)} cells, not {len(names)}")


class _Lines:
    """Lines that can be given back."""

    def __init__(self, lines: Iterator[Line | Candidate]) -> None:
        self._lines = lines
        self._back: deque[Line | Candidate] = deque()

    def __iter__(self) -> Iterator[Line | Candidate]:
        return self

    def __next__(self) -> Line | Candidate:
        return self._back.popleft() if self._back else next(self._lines)

    def give_back(self, lines: Sequence[Line | Candidate]) -> None:
        """Puts lines before those that are still to come."""
        self._back.extendleft(reversed(lines))


def _names(text: str, delimiters: Sequence[str]) -> tuple[list[str], str]:
    """Returns the cells of a first line and the delimiter that gives a URL column, else the one that gives most."""
    found = {delimiter: [cell.strip() for cell in _split(text, delimiter)] for delimiter in delimiters}
    fits = [
        delimiter for delimiter, names in found.items() if find_name(names, "", (*URL_COLUMNS, "file_name"))
    ]
    chosen = fits[0] if fits else max(found, key=lambda delimiter: len(found[delimiter]))
    return found[chosen], chosen


def _names_of(cells: list[str], path: str) -> list[str]:
    """Returns the columns of a file whose first line holds data.

    Raises:
        UserError: they cannot be told.
    """
    are_urls = [cell.lower().startswith(SCHEMES) for cell in cells]
    if len(cells) > 2 or sum(are_urls) != 1:
        raise UserError(
            f"{path} begins with data; write the columns' names into its first line, such as url,caption"
        )
    return [URL_COLUMNS[0] if is_url else "caption" for is_url in are_urls]


def _split(text: str, delimiter: str) -> list[str]:
    """Returns a line's cells; one of TSV is in quotes only if it ends with one."""
    if delimiter == TAB:
        cells = text.rstrip("\r\n").split(delimiter)
        return [
            cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell
            for cell in cells
        ]
    return next(csv.reader([text], delimiter=delimiter), [])


def _cells(source: _Lines, path: str, delimiter: str) -> Iterator[tuple[int, list[str] | Candidate]]:
    """Yields each row's first line and cells, or why there are none; after an open quote the next line is a row."""
    open_quotes = 0
    for line in source:
        if isinstance(line, Candidate):
            yield 0, line
        elif line.text is None:
            yield line.number, _too_long(path, line.number)
        elif delimiter == TAB:
            yield line.number, _split(line.text, delimiter) if line.text.strip() else []
        else:
            taken: list[Line | Candidate] = [line]
            try:
                yield (
                    line.number,
                    next(csv.reader(_taken(taken, source), delimiter=delimiter, strict=True), []),
                )
            except csv.Error as error:
                open_quotes += len(taken) > 1
                yield line.number, damaged(path, line.number, str(error))
                if open_quotes > MAX_OPEN_QUOTES:
                    yield (
                        line.number,
                        damaged(path, line.number + 1, "too many open quotes, the rest is not read"),
                    )
                    return
                source.give_back(taken[1:])


def _taken(taken: list[Line | Candidate], source: _Lines) -> Iterator[str]:
    """Yields the text of a first line and of those after it that its row goes on to, each noted."""
    yield cast(str, cast(Line, taken[0]).text)
    for line in source:
        taken.append(line)
        if isinstance(line, Candidate) or line.text is None:
            return
        yield line.text


def _too_long(path: str, number: int) -> Candidate:
    return damaged(path, number, f"more than {MAX_LINE} characters")
