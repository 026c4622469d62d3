"""Draws pages of text, so that `mini` learns letters too: `python train/mini/pages.py FOLDER [--count 32]`.

Place in the flow: before `supir-curate run` of the photos, whose second source the folder is. Words are those of this
project's licence; fonts are those that matplotlib carries (DejaVu, STIX, Computer Modern). Sizes, colours and columns
are drawn from the page's number, so the folder is the same each time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE_PX, MARGIN_PX = 1024, 24
FONTS = [
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSansMono", "STIXGeneral",
    "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmss10",
]  # fmt: skip
SMALLEST_PX, LARGEST_PX = 10, 56
DARK_SHARE = 0.25
"""Share of the pages with light letters on a dark ground."""


def draw_page(number: int) -> Image.Image:
    """Returns page `number`, RGB, of blocks of lines in one to three columns."""
    rng = np.random.default_rng(number)
    words = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8").split()
    ground, ink = rng.integers(215, 256, 3), rng.integers(0, 90, 3)
    if rng.random() < DARK_SHARE:
        ground, ink = ink, ground
    page = Image.new("RGB", (SIDE_PX, SIDE_PX), tuple(ground.tolist()))
    pen = ImageDraw.Draw(page)
    columns = int(rng.integers(1, 4))
    width = (SIDE_PX - MARGIN_PX) // columns
    for column in range(columns):
        left, top = MARGIN_PX + column * width, MARGIN_PX
        while top < SIDE_PX - LARGEST_PX:
            size = round(float(np.exp(rng.uniform(np.log(SMALLEST_PX), np.log(LARGEST_PX)))))
            font = ImageFont.truetype(_font_path(FONTS[rng.integers(len(FONTS))]), size)
            colour = tuple((ink if rng.random() < 0.8 else rng.integers(0, 256, 3)).tolist())
            for _ in range(int(rng.integers(1, 7))):
                line = _fill_line(words, font, width - MARGIN_PX, rng)
                pen.text((left, top), line, font=font, fill=colour)
                top += round(1.3 * size)
            top += int(rng.integers(0, 40))
    return page


def _fill_line(
    words: list[str], font: ImageFont.FreeTypeFont, width_px: int, rng: np.random.Generator
) -> str:
    start = int(rng.integers(len(words) - 40))
    line = words[start]
    for word in words[start + 1 : start + 40]:
        if font.getlength(f"{line} {word}") > width_px:
            break
        line = f"{line} {word}"
    return line


def _font_path(name: str) -> str:
    return f"{matplotlib.get_data_path()}/fonts/ttf/{name}.ttf"


def main() -> None:
    """Writes the pages as PNG."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=32)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.count):
        draw_page(number).save(arguments.folder / f"page-{number:03}.png")


if __name__ == "__main__":
    main()
