"""The columns of the Parquet files: type, unit, who writes them. README.md holds the same table for readers.

Place in the flow: ``part_writer`` and ``captions`` write by these schemas; the curator writes ledgers by
``ledger_schema``. The law: a column's name and type never change after the first release; new ones go to
the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

# Lists of pairs, for readers such as `datasets` know no maps.
NAMED_NUMBERS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))
NAMED_TEXTS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # 32 hex digits
        ("role", pa.string()),  # photo, face, negative
        ("extension", pa.string()),  # jpg, png, webp
        ("offset", pa.int64()),  # of the picture's first byte in the tar
        ("bytes", pa.int64()),  # of the picture
        ("json_bytes", pa.int64()),  # of KEY.json, the member right after the picture
        ("sha256", pa.string()),  # of the stored picture, 64 hex digits
        ("width", pa.int32()),  # px
        ("height", pa.int32()),  # px
        ("source", pa.string()),
        ("licence", pa.string()),
        ("scores", NAMED_NUMBERS),
        ("texture", pa.binary()),  # uint8 cells, row-major
        ("texture_rows", pa.int32()),
        ("texture_cols", pa.int32()),
        ("text", pa.string()),  # alt text
        ("source_key", pa.string()),  # key of the photo that it was made from
    ]
)

CAPTION_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("region", pa.int32()),  # 0 is the whole picture
        ("x0", pa.int32()),  # px of the stored picture; x1 and y1 are exclusive
        ("y0", pa.int32()),
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("text", pa.string()),
        ("short_text", pa.string()),
        ("num_tokens_clip_l", pa.int32()),  # of short_text
        ("num_tokens_clip_g", pa.int32()),
        ("checks", NAMED_TEXTS),
        ("model", pa.string()),
        ("prompt", pa.string()),
    ]
)

SCORE_PREFIX = "score."


def pairs_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Named values as the cell of a column of pairs, sorted by name."""
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def named(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The named values of a cell of a column of pairs, as ``to_pylist`` gives it."""
    return {pair["name"]: pair["value"] for pair in pairs}


def ledger_schema(score_names: Sequence[str]) -> pa.Schema:
    """The ledger's columns for a set of scores: one row a candidate, one ``score.NAME`` column a score.

    Args:
        score_names: score names, in column order.
    """
    return pa.schema(
        [
            ("key", pa.string()),  # null where no byte was read
            ("sha256", pa.string()),  # of the original bytes
            ("url", pa.string()),  # URL or path, as the input gave it
            ("part", pa.string()),  # the work unit
            ("source_row", pa.int64()),  # row in the input part
            ("status", pa.string()),  # ok: scored; failed: could not be
            ("reason", pa.string()),  # first rule that failed, "" if none
            ("detail", pa.string()),
            ("width", pa.int32()),  # px, of the original
            ("height", pa.int32()),
            ("bytes", pa.int64()),  # of the original
            ("format", pa.string()),
            ("licence", pa.string()),
            (
                "final_url",
                pa.string(),
            ),  # from here to fetched: the web fetch's evidence, null for folders and tars
            ("address", pa.string()),  # IP that answered
            ("http_status", pa.int32()),
            ("content_type", pa.string()),
            ("etag", pa.string()),
            ("redirects", pa.string()),  # URLs on the way, one a line
            ("robots", pa.string()),  # robots.txt verdict
            ("x_robots_tag", pa.string()),  # header as received
            ("fetched", pa.string()),  # the answer's Date header
            *((f"{SCORE_PREFIX}{name}", pa.float64()) for name in score_names),
            ("texture", pa.binary()),
            ("texture_rows", pa.int32()),
            ("texture_cols", pa.int32()),
            ("phash", pa.uint64()),
        ]
    )
