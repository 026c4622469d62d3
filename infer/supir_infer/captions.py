"""Where the caption of a picture comes from: one text for all, a mapping file, or a .txt beside the picture.

Place in the flow: `folder` asks once a picture; a picture without a caption gets the quality words alone.
The law it keeps: first found wins in the order --caption, mapping, .txt beside the picture, none.
File formats: JSON object {name: text}; Parquet with a `text` column and one of `file`, `name` or `key` (a
caption part of `supir-caption` is such a file; only its whole-image rows, `region` 0, are read).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from supir_console import UserError

KEY_DIGITS = 32  # a dataset's sample key is the first 32 hex digits of the SHA-256 of the original bytes

CaptionFor = Callable[[Path, str], str]


def caption_source(text: str | None, mapping_path: Path | None) -> CaptionFor:
    """Returns a function (picture path, its SHA-256) to the caption, "" where there is none.

    Args:
        text: one caption for every picture; wins over everything.
        mapping_path: .json or .parquet file; a picture is looked up by path, file name, stem and sample key.

    Raises:
        UserError: the mapping file is missing or has no such form; from the function: a .txt that is no text.
    """
    mapping = _read_mapping(mapping_path) if mapping_path else {}

    def caption_for(path: Path, sha256: str) -> str:
        if text is not None:
            return text
        for name in (str(path), path.name, path.stem, sha256[:KEY_DIGITS]):
            if name in mapping:
                return mapping[name]
        return _text_beside(path.with_suffix(".txt"))

    return caption_for


def _text_beside(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="utf-8").split()) if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise UserError(
            f"caption file {path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8, "
            "or give --caption or --captions"
        ) from error


def _read_mapping(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        raise UserError(f"caption file {path} does not exist; give a .json or .parquet file with --captions")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"caption file {path} is neither JSON nor .parquet: {error}") from error
    if not isinstance(mapping, dict) or not all(isinstance(text, str) for text in mapping.values()):
        raise UserError(f'caption file {path} must hold one JSON object {{"picture.jpg": "caption", ...}}')
    return mapping


def _read_parquet(path: Path) -> Mapping[str, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"caption file {path} is no Parquet that can be read: {error}") from error
    rows: list[dict[str, Any]] = table.to_pylist()
    columns = set(table.column_names)
    name = next((column for column in ("file", "name", "key") if column in columns), None)
    if name is None or "text" not in columns:
        raise UserError(
            f"caption file {path} has the columns {', '.join(sorted(columns))}; "
            "it needs `text` and one of `file`, `name`, `key`"
        )
    return {
        str(row[name]): str(row["text"])
        for row in rows
        if row.get("region", 0) == 0 and row["text"] is not None
    }
