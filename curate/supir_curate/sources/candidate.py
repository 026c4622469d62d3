"""One picture to look at, as the source's list names it, and where its bytes lie.

Place in the flow: `sources` makes candidates, `plan` writes them down part by part, `originals` reads the bytes of
each. The law: a candidate is a few small values and never a picture, so that lists of millions stream; one whose
listing failed is a candidate too, with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from supir_curate.verdict import Reason

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["folder", "tars", "images", "urls"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture to look at.

    Args:
        url: URL, or path below the source folder as `folder.escaped` writes it.
        text: alt text that came with it, "" without.
        licence: licence that came with it, "" without.
        file: tar or Parquet file that holds it, escaped path below the source folder; "" for folders and URLs.
        offset: of its first byte in the tar, or its row in the Parquet file.
        size: its bytes in the tar; 0 elsewhere.
        reason: why it cannot be read, if the listing found that out; None else.
        detail: what was seen then.
        scores: what the source says of it, one number a column of `source.score_columns`; NaN where it says none.
    """

    url: str
    text: str = ""
    licence: str = ""
    file: str = ""
    offset: int = 0
    size: int = 0
    reason: Reason | None = None
    detail: str = ""
    scores: tuple[float, ...] = ()


def candidates_table(rows: Sequence[Candidate]) -> pa.Table:
    """Returns candidates as a table: url, text, licence, file, offset, size, reason, detail."""
    import pyarrow as pa

    types = {"offset": pa.int64(), "size": pa.int64()}
    names = ("url", "text", "licence", "file", "offset", "size", "reason", "detail")
    return pa.table(
        {name: pa.array([getattr(row, name) for row in rows], types.get(name, pa.string())) for name in names}
    )


def candidates_from(table: pa.Table) -> list[Candidate]:
    """Returns the candidates of a table; their `scores` lie elsewhere."""
    rows = table.to_pylist()
    for row in rows:
        row["reason"] = Reason(row["reason"]) if row.get("reason") else None
    return [Candidate(**row) for row in rows]
