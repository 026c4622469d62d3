"""The figures of `supir-eval` as a table with one row a picture: CSV or Parquet.

Place in the flow: `eval_cli` asks before it measures whether the file can be written, and writes it after.
"""

from __future__ import annotations

import csv
import secrets
from pathlib import Path
from typing import Any

from supir_console import UserError
from supir_infer.evaluation import Evaluation

SUFFIXES = (".csv", ".parquet")


def require_writable(option: str, path: Path) -> None:
    """Refuses a file that could not be written when the work is done.

    Args:
        option: that named it, for the message.
        path: of the file.

    Raises:
        UserError: it is a folder, its folder is missing, or nothing can be written there.
    """
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; give a file in it")
    trial = _beside(path)
    try:
        if path.exists():
            path.open("ab").close()
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise UserError(f"{option} {path} cannot be written: {error.strerror}; give another place") from error


def write_per_image(evaluation: Evaluation, path: Path) -> None:
    """Writes one row a picture and row of the report; the file appears whole or not at all."""
    rows: list[dict[str, Any]] = [
        {"name": name, "row": row, "identical": row in picture.identical, **figures}
        for name, picture in evaluation.pictures.items()
        for row, figures in picture.figures.items()
    ]
    temporary = _beside(path)
    try:
        if path.suffix == ".parquet":
            _write_parquet(rows, temporary)
        else:
            _write_csv(rows, [identity.metric for identity in evaluation.metrics], temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_csv(rows: list[dict[str, Any]], metrics: list[str], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["name", "row", "identical", *metrics])
        writer.writeheader()
        writer.writerows(rows)


def _beside(path: Path) -> Path:
    return path.with_name(f".supir-{secrets.token_hex(8)}.tmp")
