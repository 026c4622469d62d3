"""What is in the parts of a picture: a caption for each sampling tile.

Place in the flow: `--tile-captions FILE`; `cli` gives each job its regions, `restore` asks for the text of each tile.
The law it keeps: as in training, a tile is told of by the text of the region that it agrees with best, the whole
picture's caption where none covers half of it; a picture of one tile has one caption.
File formats: JSON {name: [{"box": [left, top, right, bottom], "text": "…"}, …]} in px of the upright picture; or a
caption part of `supir-caption` (Parquet), whose regions of `region` 1 and up are read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supir_console import UserError, whole_letters
from supir_infer.picture_entries import PictureEntries, each_once

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, px."""
RegionsFor = Callable[[Path, Callable[[], str]], tuple["Region", ...]]
"""The regions of a picture by its path and by the SHA-256 of its file, as `captions.CaptionFor`."""
MIN_COVERAGE = 0.5  # of the tile
FORM = '{"picture.jpg": [{"box": [left, top, right, bottom], "text": "..."}]}'
PARQUET_COLUMNS = ("key", "region", "x0", "y0", "x1", "y1")


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture, px of the upright picture, and what is in it."""

    box: Box
    text: str


class TileCaptions:
    """The regions of the pictures of a run.

    Args:
        path: .json or .parquet file; a picture is looked up as by `captions.caption_source`. None for no regions.
        source: the picture or folder of pictures.
        column: of a .parquet file that holds the texts.

    Raises:
        UserError: the file is missing, or has no such form.
    """

    def __init__(self, path: Path | None, source: Path, column: str = "text") -> None:
        regions = _read(path, column) if path else {}
        self._entries = PictureEntries(regions, source if source.is_dir() else source.parent)

    def __call__(self, picture: Path, sha256: Callable[[], str]) -> tuple[Region, ...]:
        """Returns a picture's regions, () where it has none.

        Args:
            picture: its path.
            sha256: of its file; asked for where a sample key is in the file.
        """
        return self._entries.find(picture, sha256) or ()

    def summary(self) -> dict[str, str]:
        """Returns how many entries belong to a picture, and the first that do not; {} without one."""
        return {"tile_captions": text} if (text := self._entries.summary()) else {}


def tile_text(regions: Sequence[Region], tile: Box, whole: Box, caption: str) -> str:
    """Returns the text of the region that a tile agrees with best (intersection over union).

    Args:
        regions: those that cover less than half of the tile have no say.
        tile: where the tile lies, px of the picture.
        whole: the whole picture, which takes part with `caption`.
        caption: of the whole picture.
    """
    best, found = _agreement(whole, tile), caption
    for region in regions:
        agreement = _agreement(region.box, tile)
        if _overlap(region.box, tile) >= MIN_COVERAGE * _area(tile) and agreement > best:
            best, found = agreement, region.text
    return found


def _read(path: Path, column: str) -> Mapping[str, tuple[Region, ...]]:
    if not path.is_file():
        raise UserError(f"tile captions {path} does not exist; give a .json or .parquet file")
    return _read_parquet(path, column) if path.suffix == ".parquet" else _read_json(path)


def _read_json(path: Path) -> Mapping[str, tuple[Region, ...]]:
    try:
        content = json.loads(
            path.read_text(encoding="utf-8-sig"), object_pairs_hook=lambda pairs: each_once(path, pairs)
        )
        return {str(name): tuple(_region(row) for row in rows) for name, rows in dict(content).items()}
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise UserError(f"tile captions {path} must hold {FORM}: {error}") from error


def _region(row: Mapping[str, Any]) -> Region:
    left, top, right, bottom = (float(side) for side in row["box"])
    if not (0 <= left < right and 0 <= top < bottom):
        raise ValueError(f"box {row['box']} is none; 0 <= left < right and 0 <= top < bottom")
    if not isinstance(row["text"], str):
        raise TypeError(f"text {row['text']!r} is none")
    return Region((left, top, right, bottom), whole_letters(row["text"], "a text"))


def _read_parquet(path: Path, text: str) -> Mapping[str, tuple[Region, ...]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [*PARQUET_COLUMNS, text]
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"tile captions {path} is no caption part of supir-caption, with {', '.join(columns)}: {error}"
        ) from error
    return _by_key((row for row in rows if row["region"] > 0 and row[text]), text)


def _by_key(rows: Iterable[Mapping[str, Any]], text: str) -> Mapping[str, tuple[Region, ...]]:
    regions: dict[str, list[Region]] = defaultdict(list)
    for row in rows:
        regions[row["key"]].append(Region((row["x0"], row["y0"], row["x1"], row["y1"]), row[text]))
    return {key: tuple(found) for key, found in regions.items()}


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _overlap(one: Box, other: Box) -> float:
    return _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))


def _agreement(one: Box, other: Box) -> float:
    overlap = _overlap(one, other)
    return overlap / max(_area(one) + _area(other) - overlap, 1e-9)
