"""What the columns of a source are called: in Parquet files, and as the keys of a tar sample's JSON.

Place in the flow: `tables` and `tars` look up URL, text and licence here. The law: a name that the config gives must be
there, and the nearest known one is said where it is not; without one the usual names are tried in turn.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.verdict import Reason
from supir_shards import Role

if TYPE_CHECKING:
    import pyarrow as pa

URL_COLUMNS = ("url", "URL")
TEXT_COLUMNS = ("caption", "TEXT", "text")
LICENCE_COLUMNS = ("licence", "license", "LICENCE", "LICENSE")


class Columns(NamedTuple):
    """The URL, text, licence and role columns, "" for one that is not there, and the score columns."""

    url: str
    text: str
    licence: str
    role: str
    scores: tuple[str, ...] = ()


def find_columns(names: Collection[str], config: SourceConfig, place: str) -> Columns:
    """Returns the columns of a Parquet file.

    Args:
        names: of its columns.
        config: names that are given.
        place: of the file, for the message.

    Raises:
        UserError: it has no column of a name that is given.
    """
    wanted = (
        ("url_column", config.url_column, URL_COLUMNS),
        ("text_column", config.text_column, TEXT_COLUMNS),
        ("licence_column", config.licence_column, LICENCE_COLUMNS),
        ("role_column", config.role_column, ()),
    )
    for key, given, _ in wanted:
        if given:
            require_column(names, given, key, place)
    for given in config.score_columns:
        require_column(names, given, "score_columns", place)
    found = [given or next((name for name in usual if name in names), "") for _, given, usual in wanted]
    return Columns(found[0], found[1], found[2], found[3], config.score_columns)


def require_column(names: Collection[str], given: str, key: str, place: str) -> None:
    """Raises UserError unless a file has a column of the name that the config key gives."""
    if given in names:
        return
    nearest = difflib.get_close_matches(given, names, n=1, cutoff=0.0)
    meant = f"; did you mean {nearest[0]!r}?" if nearest else ";"
    raise UserError(
        f"{place} has no column {given!r}{meant} Its columns are {', '.join(names)};"
        f" name one with --set source.{key}=NAME"
    )


def first_text(record: Mapping[str, Any], given: str, usual: tuple[str, ...]) -> str:
    """Returns the first text among a JSON record's values: of the name that is given, else of the usual ones."""
    values = (record.get(name) for name in ((given,) if given else usual))
    return next((value for value in values if isinstance(value, str) and value), "")


def text_of(value: Any) -> str:
    """Returns a value as valid text, "" for none; bytes that are not UTF-8 become escapes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "" if value is None else str(value).encode("utf-8", "backslashreplace").decode()


def texts(values: pa.Array) -> pa.Array:
    """Returns a column as valid text, as `text_of` makes it of each value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            values = values.cast(
                pa.large_binary()
            )  # nothing checks a file's text to be UTF-8; the way back does
        if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            return pc.fill_null(values.cast(pa.string()), "")
    except pa.ArrowInvalid:
        pass  # one odd row must not end the list
    return pa.array([text_of(value) for value in values.to_pylist()], pa.string())


def floats(values: pa.Array) -> pa.Array:
    """Returns a column as float64, as `number_of` makes it of each value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return pc.fill_null(values.cast(pa.float64(), safe=False), float("nan"))
    return pa.array([number_of(value) for value in values.to_pylist()], pa.float64())


def with_known_roles(rows: pa.Table) -> pa.Table:
    """Returns a listing with its roles as we write them; a candidate of a role that there is not has its reason."""
    import pyarrow as pa
    import pyarrow.compute as pc

    role = pc.utf8_lower(pc.utf8_trim_whitespace(rows.column("role")))
    is_known = pc.is_in(role, value_set=pa.array(["", *Role]))
    is_new = pc.and_(pc.invert(is_known), pc.is_null(rows.column("reason")))
    detail = pc.binary_join_element_wise("role ", rows.column("role"), f" is none of {', '.join(Role)}", "'")
    columns = {
        "reason": pc.if_else(is_new, str(Reason.UNKNOWN_ROLE), rows.column("reason")),
        "detail": pc.if_else(is_new, detail, rows.column("detail")),
        "role": pc.if_else(is_known, role, ""),
    }
    for name, column in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)
    return rows


def number_of(value: Any) -> float:
    """Returns a value as a number, NaN where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # the last is JSON's number of 400 digits
        return float("nan")
