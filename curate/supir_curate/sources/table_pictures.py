"""The column of pictures in a Parquet file: which it is, and a picture of it read by its row.

Place in the flow: `tables` lists rows, `originals` reads pictures here. The law: a picture is found again by its file
and row, and a row that cannot be read is that candidate's failure. A column of pictures is binary, or a struct of
`bytes` and `path` as Hugging Face datasets write it.

Limits: a row group is decoded from its start, so one much longer than a part is decoded again for each of its parts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING, Any

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.sources.columns import URL_COLUMNS, find_name, require_column
from supir_curate.sources.folder import Folder
from supir_shards import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGE_COLUMNS = ("image", "images", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes", "content")
READ_BYTES = 2**20  # of a column of pictures at once


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
        with opened(folder, file) as table:
            name = require_image_column(table.schema_arrow, config, folder.name(file))
            is_struct = not is_binary(table.schema_arrow.field(name).type)
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


def require_image_column(schema: pa.Schema, config: SourceConfig, place: str) -> str:
    """Returns the column of pictures: the one that the config names, else the one that `image_column` finds.

    Raises:
        UserError: there is none, or the one that is named cannot hold pictures.
    """
    given = config.image_column
    if given:
        require_column(schema.names, given, "image_column", place)
        if not _is_picture(schema.field(given).type):
            raise UserError(
                f"{place}: column {given!r} is {schema.field(given).type}, not binary or a struct with `bytes`;"
                " name another with --set source.image_column=NAME"
            )
        return given
    name = image_column(schema)
    if not name:
        raise UserError(f"{place} has no column of pictures, as the first file has; give files of one kind")
    return name


def image_column(schema: pa.Schema) -> str:
    """Returns the column of pictures: by name, or the only binary one of a file without URLs; "" for none."""
    fits = [name for name in schema.names if _is_picture(schema.field(name).type)]
    named = [name for name in IMAGE_COLUMNS if name in fits]
    if named:
        return named[0]
    return fits[0] if len(fits) == 1 and not find_name(schema.names, "", URL_COLUMNS) else ""


def _is_picture(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and is_binary(kind.field(place).type)
    return is_binary(kind)


def is_binary(kind: pa.DataType) -> bool:
    """Returns whether a column holds bytes."""
    import pyarrow as pa

    return any(
        is_it(kind) for is_it in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    )


@contextmanager
def opened(folder: Folder, path: str) -> Iterator[Any]:
    """A Parquet file, open.

    Raises:
        UserError: it is not one, or two of its columns share a name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with folder.open(path) as stream:
        try:
            table = pq.ParquetFile(stream, buffer_size=READ_BYTES, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            words = " ".join(str(error).split())
            raise UserError(f"{folder.name(path)} is not a readable Parquet file ({words})") from error
        twice = sorted({name for name, count in Counter(table.schema_arrow.names).items() if count > 1})
        if twice:
            raise UserError(
                f"{folder.name(path)} has several columns {twice[0]!r}; rename or drop all but one"
            )
        yield table
