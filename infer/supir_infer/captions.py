"""Where the caption of a picture comes from: one text for all, a mapping file, or a .txt beside the picture.

Place in the flow: `folder` asks once a picture; a picture without a caption gets the quality words alone.
The law it keeps: first found wins in the order --caption, mapping, .txt beside the picture, none; entries of a mapping
that no picture was found for are told.
File formats: JSON object {name: text}; Parquet with a `text` column (or that of `--caption-text`) and one of `file`,
`name` or `key` (a caption part of `supir-caption` is such a file; only its whole-image rows, `region` 0, are read).
Text is UTF-8, with or without a byte order mark, or UTF-16 with one.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supir_console import UserError, whole_letters
from supir_infer.picture_entries import PictureEntries, each_once

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

CaptionFor = Callable[[Path, Callable[[], str]], str]
"""The caption of a picture by its path and by the SHA-256 of its file, which is read if that is asked for."""


class Captions:
    """The captions of a run, and which of them were asked for.

    Args:
        text: one caption for every picture; wins over everything.
        mapping: caption by name, relative path or sample key.
        root: the folder that paths are relative to.
    """

    def __init__(self, text: str | None, mapping: dict[str, str], root: Path) -> None:
        self._text = text
        self._entries = PictureEntries(mapping, root)
        self.num_beside = 0

    def __call__(self, path: Path, sha256: Callable[[], str]) -> str:
        """Returns the caption of a picture, "" where there is none.

        Args:
            path: of the picture.
            sha256: of its file; asked for where a sample key is in the mapping.

        Raises:
            UserError: its caption is no text.
        """
        found = self._entries.find(path, sha256)
        if self._text is not None:
            return self._text
        if found is not None:
            return whole_letters(found, f"the caption of {path.name}")
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            return ""
        self.num_beside += 1
        return " ".join(_text_of(beside).split())

    def summary(self) -> dict[str, Any]:
        """Returns how many entries of the mapping belong to a picture, and the first that do not; {} without one."""
        return {"captions": text} if (text := self._entries.summary()) else {}


def caption_source(
    text: str | None, mapping_path: Path | None, source: Path, column: str = "text"
) -> Captions:
    """Returns the captions of the pictures of `source`.

    Args:
        text: one caption for every picture; wins over everything.
        mapping_path: .json or .parquet file; a picture is looked up by path, path below `source`, file name, stem and
            sample key.
        source: the picture or folder of pictures.
        column: of a .parquet file that holds the captions.

    Raises:
        UserError: the mapping file is missing or has no such form, or `text` is no UTF-8.
    """
    if text is not None:
        whole_letters(text, "--caption")
    mapping = _read_mapping(mapping_path, column) if mapping_path else {}
    return Captions(text, mapping, source if source.is_dir() else source.parent)


def _text_of(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"caption file {path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8, "
            "or give --caption or --captions"
        ) from error


def _read_mapping(path: Path, column: str) -> dict[str, str]:
    if not path.is_file():
        raise UserError(f"caption file {path} does not exist; give a .json or .parquet file with --captions")
    if path.suffix == ".parquet":
        return _read_parquet(path, column)
    text = _text_of(path)
    try:
        mapping = json.loads(text, object_pairs_hook=lambda pairs: each_once(path, pairs))
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"caption file {path} is neither JSON nor .parquet: {error}") from error
    if not isinstance(mapping, dict) or not all(isinstance(text, str) for text in mapping.values()):
        raise UserError(f'caption file {path} must hold one JSON object {{"picture.jpg": "caption", ...}}')
    return mapping


def _read_parquet(path: Path, text: str) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"caption file {path} is no Parquet that can be read: {error}") from error
    rows: list[dict[str, Any]] = table.to_pylist()
    columns = set(table.column_names)
    name = next((column for column in ("file", "name", "key") if column in columns), None)
    if name is None or text not in columns:
        raise UserError(
            f"caption file {path} has the columns {', '.join(sorted(columns))}; "
            f"it needs `{text}` and one of `file`, `name`, `key`"
        )
    whole = (row for row in rows if row.get("region", 0) == 0 and row[text] is not None)
    return each_once(path, ((str(row[name]), str(row[text])) for row in whole))
