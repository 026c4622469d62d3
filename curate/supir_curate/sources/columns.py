"""What the columns of a source are called: in Parquet files, and as the keys of a tar sample's JSON.

Place in the flow: `tables` and `tars` look up URL, text and licence here. The law: a name that the config gives must be
there, and the nearest known one is said where it is not; without one the usual names are tried in turn.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.config.curate import HASH_COLUMNS
from supir_curate.verdict import Reason
from supir_shards import Role

if TYPE_CHECKING:
    import pyarrow as pa

URL_COLUMNS = ("url", "image_url", "img_url", "OriginalURL")
TEXT_COLUMNS = ("caption", "text", "captions", "alt_text", "alt")
LICENCE_COLUMNS = ("licence", "license", "license_name", "licensename")
"""The usual names, in any case: LAION writes URL, TEXT and LICENSE, Open Images OriginalURL."""
OUR_FAILURES = (
    *("part", "source_row", "url", "reason", "detail", "text", "licence", "role"),
    *("sha256", "md5"),
)
"""The columns that `failures` begins its list with, by which it is known as a source."""


class Columns(NamedTuple):
    """The URL and role columns, "" for one that is not there, and the score columns.

    Of those of text, licence and hash the first that says something counts, row by row.
    """

    url: str
    text: tuple[str, ...]
    licence: tuple[str, ...]
    role: str
    digest: tuple[str, ...]
    scores: tuple[str, ...] = ()


def find_columns(
    names: Collection[str],
    config: SourceConfig,
    place: str,
    is_textual: Callable[[str], bool] = lambda _: True,
) -> Columns:
    """Returns the columns of a table.

    Args:
        names: of its columns.
        config: names that are given.
        place: of the file, for the message.
        is_textual: whether a column can be the text that is given.

    Raises:
        UserError: it has no column of a name that is given, or the one that shall be the text cannot be.
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
    if config.hash_columns != HASH_COLUMNS and not find_name(names, "", config.hash_columns):
        for given in config.hash_columns:
            require_column(names, given, "hash_columns", place)
    if config.text_column and not is_textual(config.text_column):
        raise UserError(
            f"{place}: column {config.text_column!r} holds objects, not texts; name another with"
            " --set source.text_column=NAME"
        )
    return Columns(
        url=find_name(names, config.url_column, URL_COLUMNS),
        text=known_names(tuple(names), config.text_column, TEXT_COLUMNS),
        licence=known_names(tuple(names), config.licence_column, LICENCE_COLUMNS),
        role=config.role_column,
        digest=known_names(tuple(names), "", config.hash_columns),
        scores=config.score_columns,
    )


def find_name(
    names: Collection[str],
    given: str,
    usual: tuple[str, ...],
) -> str:
    """Returns the name that is given, if it is there, else the first usual one that is, in any case; "" for none.

    Args:
        names: that there are.
        given: the only one to look for; "" for none.
        usual: names to try.

    Example:
        >>> find_name(["ID", "TEXT", "URL"], "", TEXT_COLUMNS), find_name(["ID"], "text", TEXT_COLUMNS)
        ('TEXT', '')
    """
    return next(iter(known_names(tuple(names), given, usual)), "")


@lru_cache(maxsize=64)  # a list's rows have the same names, millions of times
def known_names(names: tuple[str, ...], given: str, usual: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names to look at, best first: the one that is given alone, else the usual ones, in any case."""
    if given:
        return (given,) if given in names else ()
    exact = [name for name in usual if name in names]
    alike = [name for one in usual for name in names if name.lower() == one.lower()]
    return tuple(dict.fromkeys([*exact, *alike]))


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
