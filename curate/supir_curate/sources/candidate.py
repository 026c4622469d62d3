"""One picture to look at, as the source's list names it, and where its bytes lie.

Place in the flow: `sources` lists candidates as tables, `plan` writes them down part by part, `originals` reads the
bytes of each. The law: a candidate is a few small values and never a picture, so that lists of millions stream; what
could not be listed is a candidate too, with its reason, and so is a file that could not be read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from supir_console import UserError
from supir_curate.config import SourceConfig
from supir_curate.scores import PREFIX
from supir_curate.sources.texts import text_of
from supir_curate.verdict import Reason

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["folder", "tars", "images", "urls", "dataset"]
MAX_DETAIL = 300  # characters of a library's words


LATE = ("scores", "key", "source_key")  # columns that not every list has


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture to look at.

    Args:
        url: URL, or path below the source folder as `folder.escaped` writes it.
        text: alt text that came with it, "" without.
        licence: licence that came with it, "" without.
        file: tar or Parquet file that holds it, escaped path below the source folder; in a folder the picture itself
            where its sidecar tells a URL; "" else.
        offset: of its first byte in the tar, or its row in the Parquet file.
        size: its bytes in the tar; 0 elsewhere.
        reason: why it cannot be read, if the listing found that out; None else.
        detail: what was seen then.
        digest: SHA-256 or MD5 that its bytes must have, as `digest.digest_of` gives it; "" where none is told.
        role: what the source says it is for, "" where it says nothing.
        scores: what the source says of it, one number a column of `source.score_columns`; NaN where it says none.
        key: of a sample of a dataset; "" elsewhere, where the bytes give it.
        source_key: of the photo that such a sample was made from.
    """

    url: str
    text: str = ""
    licence: str = ""
    file: str = ""
    offset: int = 0
    size: int = 0
    reason: Reason | None = None
    detail: str = ""
    digest: str = ""
    role: str = ""
    scores: tuple[float, ...] = ()
    key: str = ""
    source_key: str = ""


TOLD = tuple(field.name for field in fields(Candidate) if field.name not in LATE)


def listing_schema(config: SourceConfig) -> pa.Schema:
    """Returns the columns of a listing: url to role, then `score.X`."""
    import pyarrow as pa

    numbers = {"offset": pa.int64(), "size": pa.int64()}
    columns = [(name, numbers.get(name, pa.string())) for name in TOLD]
    return pa.schema(columns + [(f"{PREFIX}{name}", pa.float64()) for name in config.score_columns])


def listing(config: SourceConfig, num_rows: int, **columns: Any) -> pa.Table:
    """Returns a listing of the columns given, each an array or one value for all rows; the others say nothing."""
    import pyarrow as pa

    filled = []
    for field in listing_schema(config):
        value = columns.get(field.name, _nothing(field))
        is_array = isinstance(value, pa.Array)
        filled.append(value if is_array else pa.repeat(pa.scalar(value, field.type), num_rows))
    return pa.Table.from_arrays(filled, schema=listing_schema(config))


def listed(rows: Sequence[Candidate], config: SourceConfig) -> pa.Table:
    """Returns candidates as a listing."""
    import pyarrow as pa

    schema = listing_schema(config)
    columns: list[Any] = [[getattr(row, name) for row in rows] for name in TOLD]
    silent = (float("nan"),) * len(config.score_columns)
    columns += [list(values) for values in zip(*(row.scores or silent for row in rows), strict=True)]
    columns += [[] for _ in range(len(schema) - len(columns))]  # no rows, no score columns to turn
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def candidates_from(table: pa.Table) -> list[Candidate]:
    """Returns the candidates of a table; their `scores` are left out."""
    rows = table.select([name for name in table.column_names if not name.startswith(PREFIX)]).to_pylist()
    for row in rows:
        row["reason"] = Reason(row["reason"]) if row.get("reason") else None
    return [Candidate(**row) for row in rows]


def unreadable(file: str, error: Exception, rows: tuple[int, int] | None = None) -> Candidate:
    """Returns the candidate that stands for a file that cannot be read, or for a stretch of its rows.

    Args:
        file: escaped path below the source folder.
        error: what was seen.
        rows: first and last one of the stretch; None for the whole file.
    """
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    words = " ".join(f"{kind}{text_of(error)}".split())[:MAX_DETAIL]
    url, place = (file, "") if rows is None else (f"{file}#{rows[0]}", f"rows {rows[0]} to {rows[1]}: ")
    return Candidate(url=url, reason=Reason.UNREADABLE, detail=place + words, file=file)


def _nothing(field: pa.Field) -> Any:
    import pyarrow as pa

    if pa.types.is_floating(field.type):
        return float("nan")
    if field.name == "reason":
        return None
    return "" if pa.types.is_string(field.type) else 0
