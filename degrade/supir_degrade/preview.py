"""A contact sheet of what a recipe does: one row a draw, one column a strength, each tile with its trace.

Place in the flow: `supir-degrade preview`; nothing downstream reads the picture. Tiles are pixel for pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from supir_console import UserError
from supir_degrade.draw import sample_generator
from supir_degrade.pipeline import degrade
from supir_degrade.recipe import Recipe
from supir_degrade.strength import weaken
from supir_degrade.trace import Trace, describe

GAP_PX = 8
FONT_PX = 13
LINE_PX = 16
NUM_LABEL_LINES = 6
PAPER = (250, 250, 250)
INK = (20, 20, 20)
JPEG: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": "4:4:4"}
ENCODINGS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": {"format": "WEBP", "lossless": True},
}
"""What Pillow is told by the file's ending; only JPEG changes pixels."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of the sheet with the text under it."""

    image: NDArray[np.uint8]
    label: str


def draw_rows(
    crops: Sequence[NDArray[np.uint8]], recipe: Recipe, strengths: Sequence[float], seed: int
) -> list[list[Tile]]:
    """Returns one row for each crop: the crop itself, then one draw of the recipe at every strength.

    Args:
        crops: uint8 (H, W, 3) RGB, one a row.
        recipe: the full-strength recipe.
        strengths: in (0, 1], one a column; the columns of a row share their random numbers.
        seed: of the draws; row i uses the key "preview-i".
    """
    recipes = [weaken(recipe, strength) for strength in strengths]
    rows = []
    for number, crop in enumerate(crops):
        row = [Tile(crop, f"original {crop.shape[1]}x{crop.shape[0]}, draw {number}")]
        for strength, weaker in zip(strengths, recipes, strict=True):
            lq, trace = degrade(crop, weaker, sample_generator(seed, f"preview-{number}", 0))
            row.append(Tile(lq, f"x{strength:g}: {label(trace)}"))
        rows.append(row)
    return rows


def save_options(path: Path) -> dict[str, Any]:
    """Returns what `Image.save` needs to write the kind of file that the name promises.

    Raises:
        UserError: the name has another ending than `ENCODINGS`.
    """
    try:
        return ENCODINGS[path.suffix.lower()]
    except KeyError as error:
        raise UserError(
            f"the sheet {str(path)!r} does not end with one of {', '.join(ENCODINGS)}; give -o sheet.png"
        ) from error


def label(trace: Trace) -> str:
    """Returns the trace in words, "clean" when nothing happened."""
    return ", ".join(describe(op) for op in trace.ops) or "clean"


def contact_sheet(rows: Sequence[Sequence[Tile]]) -> Image.Image:
    """Returns the sheet of equal cells, each as large as the largest tile and its label.

    Args:
        rows: tiles, row by row; rows may differ in length.
    """
    tiles = [tile for row in rows for tile in row]
    cell_width = max(tile.image.shape[1] for tile in tiles) + GAP_PX
    font = ImageFont.load_default(FONT_PX)
    labels = {id(tile): _wrap(tile.label, font, cell_width - GAP_PX) for tile in tiles}
    num_lines = max(text.count("\n") + 1 for text in labels.values())
    cell_height = max(tile.image.shape[0] for tile in tiles) + num_lines * LINE_PX + GAP_PX
    num_columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (num_columns * cell_width + GAP_PX, len(rows) * cell_height + GAP_PX), PAPER)
    pen = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            left, top = GAP_PX + x * cell_width, GAP_PX + y * cell_height
            sheet.paste(Image.fromarray(tile.image), (left, top))
            below = (left, top + tile.image.shape[0] + 2)
            pen.multiline_text(below, labels[id(tile)], fill=INK, font=font, spacing=3)
    return sheet


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> str:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width_px or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > NUM_LABEL_LINES:
        lines = [*lines[: NUM_LABEL_LINES - 1], lines[NUM_LABEL_LINES - 1] + " …"]
    return "\n".join(lines)
