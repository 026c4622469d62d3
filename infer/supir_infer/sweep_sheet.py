"""The sheet of a sweep: the same part of the same picture under every combination, side by side at 1:1.

Place in the flow: `sweep_cli` writes it beside the table. Rows are the first knob, columns the second; each value of a
third one has a block of its own. Above them stand the input, enlarged, and the clean picture, where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from supir_infer.images import ByteImage, read_picture, resize, to_bytes
from supir_infer.sweep import Cell, Knob, said

PART_PX = 256  # side of the part that is shown
GAP_PX, LINE_PX = 8, 22
INK, PAPER = (20, 20, 20), (255, 255, 255)
MISSING = (200, 200, 200)


def draw_sheet(
    cells: Sequence[Cell], knobs: Sequence[Knob], pictures: Sequence[Path | None], given: dict[str, Path]
) -> Image.Image:
    """Returns the sheet.

    Args:
        cells: in the order of `cells_of`.
        knobs: of the grid.
        pictures: the result of each cell that is shown; None where it failed.
        given: what stands above the grid, by title, such as the input and the clean picture.
    """
    size = next((_size(path) for path in pictures if path), (PART_PX, PART_PX))
    part = tuple(min(PART_PX, side) for side in size)
    rows = knobs[0].values if len(knobs) > 1 else (None,)
    columns = knobs[min(1, len(knobs) - 1)].values
    blocks = knobs[2].values if len(knobs) > 2 else (None,)
    left = _text_width([f"{knobs[0].key} {said(row)}" for row in rows]) if len(knobs) > 1 else GAP_PX
    width = left + len(columns) * (part[0] + GAP_PX) + GAP_PX
    block_height = 2 * LINE_PX + len(rows) * (part[1] + GAP_PX)
    top = LINE_PX + part[1] + GAP_PX
    wide = max(width, GAP_PX + len(given) * (part[0] + GAP_PX))
    sheet = Image.new("RGB", (wide, top + len(blocks) * block_height + GAP_PX), PAPER)
    for index, (title, shown) in enumerate(given.items()):
        _place(sheet, (GAP_PX + index * (part[0] + GAP_PX), 0), title, _part(shown, size))
    for cell, path in zip(cells, pictures, strict=True):
        block, row, column = _position(cell, knobs)
        x = left + column * (part[0] + GAP_PX)
        y = top + block * block_height + LINE_PX
        if row == 0:
            _write(sheet, (x, y), f"{knobs[min(1, len(knobs) - 1)].key} {said(columns[column])}")
        if column == 0 and len(knobs) > 1:
            _write(
                sheet, (GAP_PX, y + LINE_PX + row * (part[1] + GAP_PX)), f"{knobs[0].key} {said(rows[row])}"
            )
        if row == column == 0 and len(knobs) > 2:
            _write(sheet, (GAP_PX, y - LINE_PX), f"{knobs[2].key} {said(blocks[block])}")
        image = np.full((part[1], part[0], 3), MISSING, np.uint8) if path is None else _part(path, size)
        sheet.paste(Image.fromarray(image), (x, y + LINE_PX + row * (part[1] + GAP_PX)))
    return sheet


def _position(cell: Cell, knobs: Sequence[Knob]) -> tuple[int, int, int]:
    """Block, row and column of a cell."""
    numbers = [knob.values.index(cell.values[knob.key]) for knob in knobs]
    if len(knobs) == 1:
        return 0, 0, numbers[0]
    return numbers[2] if len(knobs) > 2 else 0, numbers[0], numbers[1]


def _size(path: Path) -> tuple[int, int]:
    height, width = read_picture(path).rgb.shape[:2]
    return width, height


def _part(path: Path, size: tuple[int, int]) -> ByteImage:
    """The middle of a picture, at the results' size."""
    image = to_bytes(resize(read_picture(path).rgb, size))
    height, width = (min(PART_PX, side) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def _place(sheet: Image.Image, corner: tuple[int, int], title: str, image: ByteImage) -> None:
    _write(sheet, corner, title)
    sheet.paste(Image.fromarray(image), (corner[0], corner[1] + LINE_PX))


def _write(sheet: Image.Image, corner: tuple[int, int], text: str) -> None:
    ImageDraw.Draw(sheet).text((corner[0], corner[1] + 3), text, INK, font=ImageFont.load_default(14))


def _text_width(texts: Sequence[str]) -> int:
    font = ImageFont.load_default(14)
    return round(max(font.getlength(text) for text in texts)) + 2 * GAP_PX
