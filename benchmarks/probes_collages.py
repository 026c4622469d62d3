"""Claim: no default rule drops over 1 % of good photos for nothing; the seam's area on collages is 0.97 or more.

Peer: none known; chance is an area of 0.5. Photos are measured as they are, so PHOTOS_DIR should hold single photos
alone: --without FILE names those that are not, one beginning of a file's name a line. Half of the photos, by a hash
of their names, is "even", the other "odd": choose by the one, report the other. Collages are made within a half, each
of other photos, as people make them: grids, rows and unequal splits, with gutters, frames or neither, as PNG or JPEG,
some reduced after they were put together. No cell is enlarged.
Run: python benchmarks/probes_collages.py PHOTOS_DIR... [--collages 300] [--without FILE] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from probes import SUFFIXES, _measured, _pixels, _reduced
from probes_fakes import Rgb

from supir_curate.config.rules import DEFAULT_RULES
from supir_curate.probes.seam import seam_share
from supir_curate.selection.thresholds import given_thresholds
from supir_curate.verdict import Reason
from supir_images import BadImage

HALVES = ("even", "odd")
MAX_SHORT_SIDE_PX = 1100  # of a photo that goes into a collage
SHORT_SIDES_PX = (560, 1500)
ASPECTS = (1.0, 4 / 3, 3 / 2, 3 / 4)  # width / height
Cell = tuple[float, float, float, float]  # top, left, bottom, right, as shares

LAYOUTS: dict[str, tuple[Cell, ...]] = {
    "1 x 2": ((0, 0, 1, 1 / 2), (0, 1 / 2, 1, 1)),
    "2 x 1": ((0, 0, 1 / 2, 1), (1 / 2, 0, 1, 1)),
    "1 x 3": tuple((0, n / 3, 1, (n + 1) / 3) for n in range(3)),
    "3 x 1": tuple((n / 3, 0, (n + 1) / 3, 1) for n in range(3)),
    "2 x 2": tuple((r / 2, c / 2, (r + 1) / 2, (c + 1) / 2) for r in range(2) for c in range(2)),
    "2 x 3": tuple((r / 2, c / 3, (r + 1) / 2, (c + 1) / 3) for r in range(2) for c in range(3)),
    "unequal columns": ((0, 0, 1, 0.35), (0, 0.35, 1, 1)),
    "unequal rows": ((0, 0, 0.65, 1), (0.65, 0, 1, 1)),
    "one above two": ((0, 0, 0.6, 1), (0.6, 0, 1, 1 / 2), (0.6, 1 / 2, 1, 1)),
}


class Gutter(NamedTuple):
    """What lies between the cells, and around them if framed."""

    name: str
    width_px: int = 0
    level: int = 0
    framed: bool = False


GUTTERS = (
    Gutter("none"),
    Gutter("white 2 px", 2, 255),
    Gutter("none"),
    Gutter("white 6 px", 6, 255),
    Gutter("black 4 px", 4, 0),
    Gutter("none"),
    Gutter("black 12 px", 12, 0),
    Gutter("grey 8 px", 8, 120),
    Gutter("white frame 8 px", 8, 255, framed=True),
    Gutter("black frame 12 px", 12, 0, framed=True),
)
FINISHES = ("PNG", "JPEG 95", "JPEG 85", "JPEG 75", "reduced, JPEG 90")


def main() -> int:
    """Prints what each rule costs and the areas by gutter and layout; returns the exit status."""
    parser = argparse.ArgumentParser(description="What the default rules cost, and collages.")
    parser.add_argument("photos_dirs", type=Path, nargs="+", metavar="PHOTOS_DIR")
    parser.add_argument("--collages", type=int, default=300, help="of each half")
    parser.add_argument("--without", type=Path, help="file of beginnings of names to leave out")
    parser.add_argument("--json", type=Path, help="file for every score of every photo")
    options = parser.parse_args()
    left_out = tuple(options.without.read_text().split("\n")) if options.without else ()
    left_out = tuple(name for name in left_out if name)
    found = [path for folder in options.photos_dirs for path in sorted(folder.rglob("*"))]
    paths = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    paths = [path for path in paths if not path.name.startswith(left_out or "\0")]
    halves: dict[str, list[Path]] = {half: [] for half in HALVES}
    for path in paths:
        halves[HALVES[sha256(path.name.encode()).digest()[0] % 2]].append(path)
    if min(len(half) for half in halves.values()) < 12:
        print(f"{len(paths)} photos; give folders of 30 or more", file=sys.stderr)
        return 2
    scores = {}
    for number, (half, of_half) in enumerate(halves.items()):
        scores[half], pool = _read(of_half)
        print(f"\n{half} half: {len(scores[half])} photos, {options.collages} collages", flush=True)
        rng = np.random.default_rng(number)
        for line in (*_costs(scores[half]), *_collage_lines(scores[half], pool, options.collages, rng)):
            print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(scores))
    return 0


def _read(paths: Sequence[Path]) -> tuple[dict[str, dict[str, float]], list[Rgb]]:
    """Returns the scores of each photo, and the photos small enough to be put together."""
    scores, pool = {}, []
    for path in paths:
        data = path.read_bytes()
        try:
            pool.append(_reduced(_pixels(data), MAX_SHORT_SIDE_PX))
        except BadImage as error:
            print(f"left out: {path.name}: {error}", file=sys.stderr)
            continue
        scores[path.name] = _measured(data)
    return scores, pool


def _costs(scores: dict[str, dict[str, float]]) -> Iterator[str]:
    """Returns a line for each rule that would drop a photo if it stood alone."""
    for reason, rule in given_thresholds(DEFAULT_RULES).items():
        failed = [name for name, of in scores.items() if not rule.passes(np.array([of[rule.score]]))[0]]
        if failed:
            share = 100 * len(failed) / len(scores)
            yield f"  {reason:<18}{len(failed):>4} photos, {share:>5.1f} %  {' '.join(failed[:4])}"


def _collage_lines(
    scores: dict[str, dict[str, float]], pool: list[Rgb], count: int, rng: np.random.Generator
) -> Iterator[str]:
    """Returns a line for all collages, and one for each gutter and layout."""
    native = -np.array([of["seam_share"] for of in scores.values()])
    drawn = []
    for number in range(count):
        layout = list(LAYOUTS)[number % len(LAYOUTS)]
        gutter, finish = GUTTERS[number % len(GUTTERS)], str(rng.choice(FINISHES))
        drawn.append(
            (layout, gutter.name, finish, seam_share(_gray(collage(pool, layout, gutter, finish, rng))))
        )
    limit = DEFAULT_RULES[Reason.COLLAGE].limit
    groups = [("all", drawn)]
    for column in range(3):
        kinds = dict.fromkeys(row[column] for row in drawn)
        groups += [(kind, [row for row in drawn if row[column] == kind]) for kind in kinds]
    for name, rows in groups:
        faked = np.array([row[3] for row in rows])
        area = (native[:, None] > -faked).mean() + 0.5 * (native[:, None] == -faked).mean()
        yield f"  {name:<20}area {area:.3f}  dropped {100 * (faked > limit).mean():>4.0f} % of {len(rows)}"


def collage(photos: Sequence[Rgb], layout: str, gutter: Gutter, finish: str, rng: np.random.Generator) -> Rgb:
    """Returns different photos, each cut to cover its cell, put together and saved."""
    cells = LAYOUTS[layout]
    chosen = [photos[number] for number in rng.choice(len(photos), len(cells), replace=False)]
    aspect, short = float(rng.choice(ASPECTS)), float(rng.integers(*SHORT_SIDES_PX))
    height, width = (short, short * aspect) if aspect >= 1 else (short / aspect, short)
    needed = [
        max((bottom - top) * height / photo.shape[0], (right - left) * width / photo.shape[1])
        for (top, left, bottom, right), photo in zip(cells, chosen, strict=True)
    ]
    rows, columns = (int(side / max(1.0, *needed)) for side in (height, width))
    canvas = np.full((rows, columns, 3), gutter.level, np.uint8)
    for cell, photo in zip(cells, chosen, strict=True):
        top, bottom = _ends(cell[0], cell[2], rows, gutter)
        left, right = _ends(cell[1], cell[3], columns, gutter)
        canvas[top:bottom, left:right] = _covering(photo, bottom - top, right - left)
    return _finished(canvas, finish, rng)


def _ends(start: float, end: float, length: int, gutter: Gutter) -> tuple[int, int]:
    """Returns a cell's first pixel and the one after its last, half of the gutter taken off at each inner side."""
    half = gutter.width_px // 2
    first = round(start * length) + (half if start > 0 or gutter.framed else 0)
    return first, round(end * length) - (gutter.width_px - half if end < 1 or gutter.framed else 0)


def _covering(photo: Rgb, height: int, width: int) -> Rgb:
    scale = max(height / photo.shape[0], width / photo.shape[1])
    size = (max(width, round(photo.shape[1] * scale)), max(height, round(photo.shape[0] * scale)))
    scaled = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return np.asarray(scaled[top : top + height, left : left + width], np.uint8)


def _finished(canvas: Rgb, finish: str, rng: np.random.Generator) -> Rgb:
    if finish == "PNG":
        return canvas
    if finish.startswith("reduced"):
        kernel = (cv2.INTER_AREA, cv2.INTER_LANCZOS4)[int(rng.integers(2))]
        scale = float(rng.uniform(0.5, 0.9))
        canvas = np.asarray(cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=kernel), np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(finish.split()[-1])]
    return _pixels(bytes(cv2.imencode(".jpg", canvas[..., ::-1], quality)[1]))


def _gray(rgb: Rgb) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


if __name__ == "__main__":
    sys.exit(main())
