"""Parquet files as a source: rows of URLs, or pictures in a column of bytes, listed as tables.

Place in the flow: `listing` lists files here, on whatever machine; `table_pictures` reads pictures. The law: rows
stream in their order, and listing never reads a picture; a file that cannot be read is one row with its reason, a
damaged row group too, and what is whole beside them is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.config.curate import HASH_COLUMNS
from supir_curate.scores import PREFIX
from supir_curate.sources.candidate import Kind, listed, listing, unreadable
from supir_curate.sources.columns import URL_COLUMNS, Columns, find_columns, find_name, floats, require_column
from supir_curate.sources.digest import MD5_DIGITS, SHA256_DIGITS, digest_of
from supir_curate.sources.folder import Folder
from supir_curate.sources.left_out import Heading, Notes, noted
from supir_curate.sources.look_ahead import in_order
from supir_curate.sources.table_pictures import image_column, is_binary, opened, require_image_column
from supir_curate.sources.texts import is_textual, text_of, texts, url_of
from supir_curate.sources.told import NO_HASH, REENCODED
from supir_curate.verdict import Reason
from supir_shards import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FILES_AT_ONCE = 8  # asked at the same time for what they hold
READ_ROWS = 64 * 1024


def kind_of(folder: Folder, paths: Sequence[str], config: SourceConfig) -> Kind:
    """Returns whether Parquet files hold pictures or URLs, as the first of them that can be read says.

    Args:
        folder: the source folder.
        paths: of the files, escaped.
        config: names of columns.

    Raises:
        UserError: none is readable, holds either, and has the columns that are given.
    """
    faults: list[UserError] = []
    for kind in in_order(partial(_kind_or_fault, folder, config), paths, FILES_AT_ONCE):
        if not isinstance(kind, UserError):
            return kind
        faults.append(kind)
    if len(faults) == 1:
        raise faults[0]
    raise UserError(f"none of {len(faults)} Parquet files is of use; the first: {faults[0]}") from faults[0]


def list_tables(folder: Folder, paths: Sequence[str], kind: Kind, config: SourceConfig) -> Iterator[pa.Table]:
    """Yields the rows of Parquet files in order, as listings; a file or row group that is damaged is one row.

    Args:
        folder: the source folder.
        paths: of the files, escaped.
        kind: "urls" or "images"; all files are of one kind.
        config: names of columns, licence of what names none.
    """
    for path in paths:
        try:
            with opened(folder, path) as table:
                wanted = _wanted_columns(folder, path, table, kind, config)
                yield from _row_groups(table, wanted, path, config)
                if wanted.not_text:
                    yield from noted(
                        Notes({(Heading.NOT_TEXT, wanted.not_text): table.metadata.num_rows}), config
                    )
        # Whatever is wrong with one file, the others are listed.
        except Exception as error:
            yield listed([unreadable(path, error)], config)


class _Wanted(NamedTuple):
    """What is read of a file to list it.

    Args:
        columns: by what they are.
        path: where pictures tell their paths, "" for nowhere.
        not_text: the column that should be the text and holds objects, "" for none.
        is_pictures: whether its rows are pictures.
    """

    columns: Columns
    path: str
    not_text: str
    is_pictures: bool


def _kind_or_fault(folder: Folder, config: SourceConfig, path: str) -> Kind | UserError:
    try:
        with opened(folder, path) as table:
            kind = _kind(table.schema_arrow, folder.name(path), config)
            _wanted_columns(folder, path, table, kind, config)
            return kind
    except UserError as error:
        return error
    except (OSError, DatasetError) as error:
        return UserError(f"{folder.name(path)} cannot be read: {error}")


def _kind(schema: pa.Schema, place: str, config: SourceConfig) -> Kind:
    if config.image_column or (not config.url_column and image_column(schema)):
        return "images"
    if not config.url_column and not find_name(schema.names, "", URL_COLUMNS):
        raise UserError(
            f"{place} has no column url or URL and none of pictures; its columns are"
            f" {', '.join(schema.names)}; name one with --set source.url_column=NAME or source.image_column=NAME"
        )
    return "urls"


def _wanted_columns(
    folder: Folder, path: str, table: pq.ParquetFile, kind: Kind, config: SourceConfig
) -> _Wanted:
    """Returns what is read of a file.

    Raises:
        UserError: it lacks a column, or one is of a type that cannot be what it is called.
    """
    schema, place = table.schema_arrow, folder.name(path)
    columns = find_columns(schema.names, config, place, lambda name: is_textual(schema.field(name).type))
    usable = tuple(name for name in columns.text if is_textual(schema.field(name).type))
    not_text = "" if usable else next(iter(columns.text), "")
    columns = columns._replace(text=usable)
    if kind == "urls":
        require_column(schema.names, columns.url or URL_COLUMNS[0], "url_column", place)
        if not _is_text(schema.field(columns.url).type):
            raise UserError(
                f"{place}: column {columns.url!r} is {schema.field(columns.url).type}, not text;"
                " name another with --set source.url_column=NAME"
            )
        return _Wanted(columns, "", not_text, is_pictures=False)
    if REENCODED in schema.names and config.hash_columns == HASH_COLUMNS:
        columns = columns._replace(digest=())
    name = require_image_column(schema, config, place)
    kind_of_cell = schema.field(name).type
    has_path = not is_binary(kind_of_cell) and kind_of_cell.get_field_index("path") >= 0
    return _Wanted(columns, f"{name}.path" if has_path else "", not_text, is_pictures=True)


def _row_groups(
    table: pq.ParquetFile, wanted: _Wanted, file: str, config: SourceConfig
) -> Iterator[pa.Table]:
    """Yields a file's rows; of a damaged row group those before the damage, and one row for the rest."""
    import pyarrow as pa

    first = 0
    for group in range(table.num_row_groups):
        end = first + table.metadata.row_group(group).num_rows
        try:
            for num_rows, told in _told(table, group, wanted, config):
                columns = _named(told, file, first, num_rows) if wanted.is_pictures else told
                yield listing(config, num_rows, **columns)
                first += num_rows
        except (pa.ArrowException, OSError) as error:
            yield listed([unreadable(file, error, (first, end - 1))], config)
        first = end


def _told(
    table: pq.ParquetFile, group: int, wanted: _Wanted, config: SourceConfig
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields what a row group says of its rows: how many they are, and columns of a listing and `path`."""
    import pyarrow.compute as pc

    columns = wanted.columns
    of_row: dict[str, tuple[str, ...]] = {
        key: (name,) for key, name in (("url", columns.url), ("role", columns.role)) if name
    }
    of_row |= {"text": columns.text, "licence": columns.licence, "digest": columns.digest}
    texts_of = {key: names for key, names in of_row.items() if names}
    names = [*chain(*texts_of.values()), *columns.scores, *filter(None, [wanted.path])]
    if not names:
        yield table.metadata.row_group(group).num_rows, {"licence": config.licence}
        return
    for batch in table.iter_batches(READ_ROWS, [group], names, use_threads=False):
        told: dict[str, Any] = {
            key: _first(_TEXTS.get(key, texts)(batch.column(name)) for name in names)
            for key, names in texts_of.items()
        }
        own = told.get("licence")
        told["licence"] = (
            config.licence if own is None else pc.if_else(pc.equal(own, ""), config.licence, own)
        )
        if "digest" in told:
            told |= _digests(told["digest"])
        if wanted.path:
            struct, _, child = wanted.path.rpartition(".")
            told["path"] = texts(batch.column(struct).field(child))
        yield (
            batch.num_rows,
            told | {f"{PREFIX}{name}": floats(batch.column(name)) for name in columns.scores},
        )


def _hash_texts(values: pa.Array) -> pa.Array:
    """Returns a column of hashes as text; raw bytes of a SHA-256 or MD5 as hex digits."""
    import pyarrow as pa

    kind = values.type
    if not (is_binary(kind) or pa.types.is_fixed_size_binary(kind)):
        return texts(values)
    return pa.array([_hash_text(cell or b"") for cell in values.to_pylist()], pa.string())


def _hash_text(cell: bytes) -> str:
    text = text_of(cell)
    is_raw = len(cell) in (SHA256_DIGITS // 2, MD5_DIGITS // 2) and digest_of(text) is None
    return cell.hex() if is_raw else text


_TEXTS: dict[str, Callable[[pa.Array], pa.Array]] = {
    "url": partial(texts, valid=url_of),
    "digest": _hash_texts,
}
"""How columns become text, where not as any other does."""


def _first(columns: Iterable[pa.Array]) -> pa.Array:
    """Returns of each row the first text that says something."""
    import pyarrow.compute as pc

    return reduce(lambda one, other: pc.if_else(pc.equal(one, ""), other, one), columns)


def _digests(values: pa.Array) -> dict[str, pa.Array]:
    """Returns hashes as hex digits, and the reason and detail of rows whose hash is none."""
    import pyarrow as pa

    digests = [digest_of(value) for value in values.to_pylist()]
    is_bad = [digest is None for digest in digests]
    reasons = [str(Reason.HASH_MISMATCH) if bad else None for bad in is_bad]
    details = [NO_HASH if bad else "" for bad in is_bad]
    columns = {"digest": [digest or "" for digest in digests], "reason": reasons, "detail": details}
    return {name: pa.array(column, pa.string()) for name, column in columns.items()}


def _named(told: dict[str, Any], file: str, first: int, num_rows: int) -> dict[str, Any]:
    """Returns columns of pictures with where each lies, and as its URL, if none is told, FILE/PATH or FILE#ROW."""
    import pyarrow as pa

    rows = range(first, first + num_rows)
    urls, paths = (told[key].to_pylist() if key in told else [""] * num_rows for key in ("url", "path"))
    names = [
        url or (f"{file}/{path}" if path else f"{file}#{row}")
        for url, path, row in zip(urls, paths, rows, strict=True)
    ]
    return told | {"url": pa.array(names, pa.string()), "file": file, "offset": pa.array(rows, pa.int64())}


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    is_string = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return is_string or is_binary(kind) or bool(pa.types.is_null(kind))  # null: a file without a single URL
