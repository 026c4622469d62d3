"""Claim: a crop of a JPEG cut in its coefficients loses nothing and is smaller; it costs under twice the time.

Peer: Pillow, which decodes, crops and encodes at quality 97 with full-resolution colour.
Run: python benchmarks/jpeg_crop.py PHOTOS_DIR [--size 1024]

Each JPEG of the folder that is large enough gives the middle square of the size, on the grid of 64 px. Processor time
of both sides is taken in turns and includes everything from the file's bytes to the crop's. PSNR is against the
original's decoded pixels there; the rim of one pixel, where a decoder's smooth upsampling of colour looks over the edge
of the crop, is left out and counted beside it.
"""

from __future__ import annotations

import argparse
import io
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from supir_curate.config.pack import GRID_PX, PackConfig
from supir_curate.packing.jpeg_crop import crop, read_coefficients, write_jpeg
from supir_curate.packing.jpeg_stream import NotLosslessError
from supir_shards import Box

ROUNDS = 3
QUALITY = PackConfig().jpeg_quality
SIDES = ("coefficients", f"Pillow, {QUALITY}")


class Row(NamedTuple):
    """One photo on one side: seconds, bytes, PSNR in dB inside the rim, and the share of all pixels that differ."""

    seconds: float
    size: int
    psnr_db: float
    changed: float


def main() -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description="Lossless JPEG crops beside decoding and encoding again.")
    parser.add_argument("photos_dir", type=Path, metavar="PHOTOS_DIR")
    parser.add_argument("--size", type=int, default=PackConfig().size_px, help="side of the crop in px")
    options = parser.parse_args()
    rows: dict[str, list[Row]] = {side: [] for side in SIDES}
    refused = 0
    for path in sorted(options.photos_dir.rglob("*.jp*g")):
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if min(image.size) < options.size or image.format != "JPEG":
                continue
            box, pixels = _middle(image.size, options.size), np.asarray(image.convert("RGB"))
        try:
            read_coefficients(data)
        except NotLosslessError:
            refused += 1
            continue
        for side, row in zip(SIDES, _race(data, box, pixels), strict=True):
            rows[side].append(row)
    count = len(rows[SIDES[0]])
    if not count:
        print(f"no JPEG with sides of {options.size} px or more in {options.photos_dir}", file=sys.stderr)
        return 2
    _show(rows, count, refused, options.size)
    return 0


def _race(data: bytes, box: Box, pixels: NDArray[np.uint8]) -> list[Row]:
    cutters: tuple[Callable[[], bytes], ...] = (
        lambda: _in_coefficients(data, box),
        lambda: _by_pillow(data, box),
    )
    seconds: list[list[float]] = [[] for _ in cutters]
    for _ in range(ROUNDS):
        for times, cutter in zip(seconds, cutters, strict=True):
            started = time.process_time()
            cutter()
            times.append(time.process_time() - started)
    expected = pixels[box[1] : box[3], box[0] : box[2]]
    return [_row(min(times), cutter(), expected) for times, cutter in zip(seconds, cutters, strict=True)]


def _in_coefficients(data: bytes, box: Box) -> bytes:
    return write_jpeg(crop(read_coefficients(data), box))


def _by_pillow(data: bytes, box: Box) -> bytes:
    sink = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.crop(box).save(sink, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
    return sink.getvalue()


def _row(seconds: float, stored: bytes, expected: NDArray[np.uint8]) -> Row:
    with Image.open(io.BytesIO(stored)) as image:
        difference = np.asarray(image.convert("RGB"), np.float64) - expected
    inner = float(np.mean(difference[1:-1, 1:-1] ** 2))
    psnr_db = 10 * math.log10(255**2 / inner) if inner else math.inf
    return Row(seconds, len(stored), psnr_db, float(difference.any(axis=2).mean()))


def _middle(size: tuple[int, int], side: int) -> Box:
    left, top = ((length - side) // 2 // GRID_PX * GRID_PX for length in size)
    return left, top, left + side, top + side


def _show(rows: dict[str, list[Row]], count: int, refused: int, size: int) -> None:
    print(f"{count} JPEGs, one crop of {size} px each; {refused} cannot be cut so")
    print(f"  {'':<14}{'CPU s':>8}{'MB':>8}{'PSNR dB: lowest, median':>26}{'pixels changed':>17}")
    for side, results in rows.items():
        seconds, stored = sum(row.seconds for row in results), sum(row.size for row in results) / 1e6
        psnr = [row.psnr_db for row in results]
        changed = statistics.mean(row.changed for row in results)
        lowest, median = f"{min(psnr):.1f}", f"{statistics.median(psnr):.1f}"
        print(f"  {side:<14}{seconds:>8.2f}{stored:>8.2f}{lowest:>18}{median:>8}{100 * changed:>15.2f} %")
    ours, theirs = (sum(row.seconds for row in results) for results in rows.values())
    print(f"  CPU time of coefficients / Pillow: {ours / theirs:.2f}")


if __name__ == "__main__":
    sys.exit(main())
