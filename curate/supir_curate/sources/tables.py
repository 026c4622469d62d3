"""Parquet files as a source: rows of URLs, or pictures in a column of bytes.

Place in the flow: `sources` lists candidates here, `originals` reads pictures. The law: rows stream, and listing never
reads a picture; a picture is found again by its file and row, and a row that cannot be read is that candidate's
failure. A column of pictures is binary, or a struct of `bytes` and `path` as Hugging Face datasets write it.

Limits: a row group is decoded from its start, so one much longer than a part is decoded again for each of its parts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING, Any

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.candidate import Candidate, Kind
from supir_curate.sources.columns import (
    URL_COLUMNS,
    Columns,
    find_columns,
    number_of,
    require_column,
    text_of,
)
from supir_curate.sources.folder import Folder
from supir_shards import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGE_COLUMNS = ("image", "images", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes", "content")
READ_ROWS = 64 * 1024
READ_BYTES = 2**20  # of a column of pictures at once


def kind_of(folder: Folder, path: str, config: SourceConfig) -> Kind:
    """Returns whether a Parquet file holds pictures or URLs.

    Raises:
        UserError: it is not readable, holds neither, or lacks a column that is given.
    """
    with _opened(folder, path) as table:
        schema, place = table.schema_arrow, folder.name(path)
    if config.image_column or (not config.url_column and _image_column(schema)):
        _require_image_column(schema, config, place)
        return "images"
    if not config.url_column and not any(name in schema.names for name in URL_COLUMNS):
        raise UserError(
            f"{place} has no column {' or '.join(URL_COLUMNS)} and none of pictures; its columns are"
            f" {', '.join(schema.names)}; name one with --set source.url_column=NAME or source.image_column=NAME"
        )
    return "urls"


def list_tables(
    folder: Folder, paths: Sequence[str], kind: Kind, config: SourceConfig
) -> Iterator[Candidate]:
    """Yields the rows of Parquet files in order.

    Args:
        folder: the source folder.
        paths: of the files, escaped.
        kind: "urls" or "images"; all files are of one kind.
        config: names of columns, licence of what names none.

    Raises:
        UserError: a file is not readable or lacks a column.
    """
    for path in paths:
        with _opened(folder, path) as table:
            columns = find_columns(table.schema_arrow.names, config, folder.name(path))
            if kind == "urls":
                require_column(
                    table.schema_arrow.names,
                    columns.url or URL_COLUMNS[0],
                    "url_column",
                    folder.name(path),
                )
                yield from _rows(table, columns, config)
            else:
                yield from _pictures(table, columns, config, folder.name(path), path)


def read_pictures(
    folder: Folder, file: str, rows: Sequence[int], config: SourceConfig
) -> Iterator[bytes | Exception]:
    """Yields a picture for each row of a Parquet file, or what went wrong with it.

    Args:
        folder: the source folder.
        file: escaped path of the file.
        rows: their numbers, ascending.
        config: names the column.
    """
    done = 0
    try:
        with _opened(folder, file) as table:
            name = _require_image_column(table.schema_arrow, config, folder.name(file))
            is_struct = not _is_binary(table.schema_arrow.field(name).type)
            column = f"{name}.bytes" if is_struct else name
            start = 0
            for group in range(table.num_row_groups):
                end = start + table.metadata.row_group(group).num_rows
                wanted = [row - start for row in rows[done : bisect_left(rows, end)]]
                for item in _group_pictures(table, group, column, wanted):
                    done += 1
                    yield item
                start = end
        fault: Exception = DatasetError(f"{file} has fewer rows than it had")
    except (UserError, OSError, DatasetError) as error:
        fault = error
    yield from repeat(fault, len(rows) - done)


def _group_pictures(
    table: pq.ParquetFile, group: int, column: str, wanted: list[int]
) -> Iterator[bytes | Exception]:
    """Yields the wanted pictures of one row group; its others are decoded up to the last one wanted, not kept."""
    import pyarrow as pa

    if not wanted:
        return
    given = 0
    try:
        # One row a batch: a batch of large pictures would be held as a whole.
        batches = table.iter_batches(batch_size=1, row_groups=[group], columns=[column], use_threads=False)
        for row, batch in enumerate(batches):
            if row != wanted[given]:
                continue
            given += 1
            yield _cell(batch)
            if given == len(wanted):
                return
        fault: Exception = DatasetError(f"row group {group} is shorter than it says")
    except (pa.ArrowException, OSError) as error:
        fault = error
    yield from repeat(fault, len(wanted) - given)


def _cell(batch: pa.RecordBatch) -> bytes | Exception:
    value = batch.column(0)[0].as_py()
    if isinstance(value, dict):
        value = value["bytes"]
    return value if value else DatasetError("the row holds no bytes")


def _pictures(
    table: pq.ParquetFile, columns: Columns, config: SourceConfig, place: str, file: str
) -> Iterator[Candidate]:
    """Yields a row of pictures as URL, else as FILE/PATH if its struct says a path, else as FILE#ROW."""
    name = _require_image_column(table.schema_arrow, config, place)
    kind = table.schema_arrow.field(name).type
    has_path = not _is_binary(kind) and kind.get_field_index("path") >= 0
    paths: Iterable[str] = _column(table, f"{name}.path") if has_path else repeat("")
    for number, (row, path) in enumerate(zip(_rows(table, columns, config), paths, strict=False)):
        url = row.url or (f"{file}/{path}" if path else f"{file}#{number}")
        yield replace(row, url=url, file=file, offset=number)


def _rows(table: pq.ParquetFile, columns: Columns, config: SourceConfig) -> Iterator[Candidate]:
    """Yields a Parquet file's rows, as many as it has even where no column is of use."""
    names = [name for name in (columns.url, columns.text, columns.licence, *columns.scores) if name]
    if not names:
        yield from repeat(Candidate("", licence=config.licence), table.metadata.num_rows)
        return
    for batch in table.iter_batches(batch_size=READ_ROWS, columns=names, use_threads=False):
        urls, texts, licences = (_texts(batch, name) for name in columns[:3])
        scores = (map(number_of, batch.column(name).to_pylist()) for name in columns.scores)
        said = zip(*scores, strict=True) if columns.scores else repeat((), batch.num_rows)
        for url, text, own, numbers in zip(urls, texts, licences, said, strict=True):
            yield Candidate(url=url, text=text, licence=own or config.licence, scores=numbers)


def _column(table: pq.ParquetFile, name: str) -> Iterator[str]:
    for batch in table.iter_batches(batch_size=READ_ROWS, columns=[name], use_threads=False):
        struct, _, child = name.rpartition(".")
        yield from _values(batch.column(struct).field(child))


def _texts(batch: pa.RecordBatch, column: str) -> list[str]:
    return _values(batch.column(column)) if column else [""] * batch.num_rows


def _values(values: pa.Array) -> list[str]:
    import pyarrow as pa

    # Nothing checks a file's text to be UTF-8, and one odd row must not end the list.
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = values.cast(pa.large_binary())
    return [text_of(value) for value in values.to_pylist()]


def _require_image_column(schema: pa.Schema, config: SourceConfig, place: str) -> str:
    given = config.image_column
    if given:
        require_column(schema.names, given, "image_column", place)
        if not _is_picture(schema.field(given).type):
            raise UserError(
                f"{place}: column {given!r} is {schema.field(given).type}, not binary or a struct with `bytes`;"
                " name another with --set source.image_column=NAME"
            )
        return given
    name = _image_column(schema)
    if not name:
        raise UserError(f"{place} has no column of pictures, as the first file has; give files of one kind")
    return name


def _image_column(schema: pa.Schema) -> str:
    """Returns the column of pictures: by name, else the only binary one of a file without URLs; "" for none."""
    fits = [name for name in schema.names if _is_picture(schema.field(name).type)]
    named = [name for name in IMAGE_COLUMNS if name in fits]
    if named:
        return named[0]
    return fits[0] if len(fits) == 1 and not any(name in schema.names for name in URL_COLUMNS) else ""


def _is_picture(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _is_binary(kind.field(place).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@contextmanager
def _opened(folder: Folder, path: str) -> Iterator[Any]:
    """A Parquet file, open.

    Raises:
        UserError: it is not one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with folder.open(path) as stream:
        try:
            table = pq.ParquetFile(stream, buffer_size=READ_BYTES, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{folder.name(path)} is not a readable Parquet file") from error
        yield table
