"""The figures of `supir-eval` as a table with one row a picture: CSV or Parquet.

Place in the flow: `eval_cli` writes it after the report is made; it asked before whether the file can be.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, BinaryIO

from supir_console import one_line
from supir_infer.evaluation import Evaluation
from supir_infer.whole_file import whole_file

SUFFIXES = (".csv", ".parquet")


def write_per_image(evaluation: Evaluation, path: Path) -> None:
    """Writes one row a picture and row of the report; the file appears whole or not at all.

    Args:
        evaluation: what was measured.
        path: of the file, by its suffix, one of `SUFFIXES`; folders that are missing are made.

    Raises:
        OSError: it cannot be written.
    """
    rows: list[dict[str, Any]] = [
        {"name": one_line(name), "row": row, "identical": row in picture.identical, **figures}
        for name, picture in evaluation.pictures.items()
        for row, figures in picture.figures.items()
    ]
    columns = ["name", "row", "identical", *(identity.metric for identity in evaluation.metrics)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as stream:
        if path.suffix == ".parquet":
            _write_parquet(rows, columns, stream)
        else:
            _write_csv(rows, columns, stream)


def _write_parquet(rows: list[dict[str, Any]], columns: list[str], stream: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"name": pa.string(), "row": pa.string(), "identical": pa.bool_()}
    schema = pa.schema([(column, kinds.get(column, pa.float64())) for column in columns])
    pq.write_table(pa.Table.from_pylist(rows, schema), stream)


def _write_csv(rows: list[dict[str, Any]], columns: list[str], stream: BinaryIO) -> None:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    text.detach()
