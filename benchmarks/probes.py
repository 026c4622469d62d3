"""Claim: the probes tell photos from their fakes: area 0.97 for x2 upscales, 0.95 for JPEG <= 50 at 95 and blur >= 2.

Peer: none known that answers the same question; chance is 0.5. The area under the ROC curve compares every photo with
every fake (not only with its own); a score without a value counts as kept, so an unseen fake costs area.
Run: python benchmarks/probes.py PHOTOS_DIR [--photos N] [--side 1024] [--protocol camera] [--crop PX] [--json FILE]

Protocols, as detail depends on scale. "as-they-are": the file's own bytes against fakes at its own size (a x2 fake is
the photo reduced by 2 and enlarged by 2). "reduced": photos are first reduced to a short side of 1024 px, and the
fakes are made from those. "camera" and "digicam", if asked for: each photo is a scene that a camera of today or of
about 2000 takes a picture of (`probes_camera`), for folders whose photos are no camera's own files. Intervals are 95
% bootstrap intervals over photos, photo and fakes drawn together. Below each fake: the share that any default rule
drops; below the table: the photos that one does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from os import cpu_count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from probes_camera import camera_jpeg, draw_camera, draw_digicam
from probes_fakes import FAKES, RESAVE_QUALITY, Rgb

from supir_curate.config.rules import DEFAULT_RULES, PASSED, first_failed
from supir_curate.measure import measure
from supir_curate.pictures.picture import decode
from supir_curate.scores import SCORE_NAMES
from supir_curate.selection.thresholds import given_thresholds
from supir_images import BadImage, decode_rgb

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
PROTOCOLS = ("as-they-are", "reduced", "camera", "digicam")
DRAWN = {"camera": draw_camera, "digicam": draw_digicam}
MIN_SIDE_PX = 512
MAX_PIXELS = 200_000_000
NUM_BOOTSTRAPS = 2000
PHOTO = "photo"
Scores = dict[str, dict[str, float]]  # of one photo: name of the fake, or PHOTO, to its scores


def main() -> int:
    """Prints both tables; returns the exit status."""
    parser = argparse.ArgumentParser(description="Area under the ROC curve of every probe.")
    parser.add_argument("photos_dir", type=Path, nargs="?", metavar="PHOTOS_DIR")
    parser.add_argument("--photos", type=int, help="take so many, evenly spread over the sorted names")
    parser.add_argument("--side", type=int, default=1024, help="short side of the protocol 'reduced', in px")
    parser.add_argument(
        "--crop", type=int, help="take the centre of each photo, at most so many px a side: quicker"
    )
    parser.add_argument(
        "--protocol", nargs="+", choices=PROTOCOLS, default=PROTOCOLS[:2], help="which of them, in this order"
    )
    parser.add_argument("--json", type=Path, help="file for every score of every picture")
    options = parser.parse_args()
    paths = _photos(options.photos_dir, options.photos) if options.photos_dir else []
    if len(paths) < 4:
        print(f"{len(paths)} photos; run: python benchmarks/probes.py PHOTOS_DIR, 4 or more", file=sys.stderr)
        return 2
    scores: dict[str, list[Scores]] = {}
    with ProcessPoolExecutor(cpu_count()) as pool:
        for protocol in options.protocol:
            found = pool.map(
                partial(_scores_of, side_px=options.side, protocol=protocol, crop_px=options.crop), paths
            )
            scores[protocol] = [one for one in found if one is not None]
            print(f"\nphotos {protocol}: {len(scores[protocol])} of {len(paths)}", flush=True)
            for line in (*_table(scores[protocol]), *_lost(scores[protocol])):
                print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(scores))
    return 0


def _photos(folder: Path, count: int | None) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if count is None or count >= len(found):
        return found
    return [found[round(number)] for number in np.linspace(0, len(found) - 1, count)]


def _scores_of(path: Path, side_px: int, protocol: str, crop_px: int | None) -> Scores | None:
    """Returns the scores of a photo and its fakes; None for a photo that is no picture or too small."""
    cv2.setNumThreads(1)
    data = path.read_bytes()
    try:
        if protocol in DRAWN:
            rng = np.random.default_rng([len(FAKES), *path.name.encode()])
            data = camera_jpeg(_pixels(data), DRAWN[protocol](rng), rng)
        rgb = _pixels(data)
    except BadImage as error:
        print(f"left out: {path.name}: {error}", file=sys.stderr)
        return None
    if min(rgb.shape[:2]) < MIN_SIDE_PX:
        print(f"left out: {path.name}: {rgb.shape[1]} x {rgb.shape[0]} px", file=sys.stderr)
        return None
    if crop_px:
        rgb = _centre(rgb, crop_px)
        data = _encoded(rgb, "png")
    if protocol == "reduced":
        rgb = _reduced(rgb, side_px)
        data = _encoded(rgb, "png")
    result = {PHOTO: _measured(data)}
    for number, fake in enumerate(FAKES):
        rng = np.random.default_rng([number, *path.name.encode()])
        result[fake.name] = _measured(_encoded(fake.make(rgb, rng), fake.saved_as))
    return result


def _pixels(data: bytes) -> Rgb:
    return decode_rgb(data, MAX_PIXELS)


def _centre(rgb: Rgb, side_px: int) -> Rgb:
    """Returns the middle of a picture, cut on its 8 px grid."""
    top, left = (max(0, length - side_px) // 2 // 8 * 8 for length in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + side_px, left : left + side_px])


def _measured(data: bytes) -> dict[str, float]:
    return measure(decode(data, MAX_PIXELS, 1024), 1024).scores


def _encoded(rgb: Rgb, suffix: str) -> bytes:
    how = [cv2.IMWRITE_JPEG_QUALITY, RESAVE_QUALITY] if suffix == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 0]
    return bytes(cv2.imencode(f".{suffix}", rgb[..., ::-1], how)[1])


def _reduced(rgb: Rgb, side_px: int) -> Rgb:
    scale = min(1.0, side_px / min(rgb.shape[:2]))
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _table(photos: list[Scores]) -> Iterator[str]:
    yield f"  {'fake':<24}{'probe':<20}{'area':>7}  {'95 % interval':<15}{'photos':>7}  at the default limit"
    for fake in FAKES:
        for probe in fake.probes:
            if probe not in SCORE_NAMES:
                continue
            native, faked = (_column(photos, name, probe) for name in (PHOTO, fake.name))
            area, low, high = _area(native, faked)
            interval = f"{low:.3f} to {high:.3f}"
            share = _dropped(probe, native, faked)
            yield f"  {fake.name:<24}{probe:<20}{area:>7.3f}  {interval:<15}{len(native):>7}  {share}"
        yield f"  {fake.name:<24}any rule drops {100 * np.mean(_failed(photos, fake.name) != PASSED):.0f} %"


def _lost(photos: list[Scores]) -> Iterator[str]:
    """Returns a line on how many photos the default rules drop, and one on the rules that drop them."""
    failed = _failed(photos, PHOTO)
    names = [*DEFAULT_RULES]
    reasons = Counter(str(names[number]) for number in failed[failed != PASSED])
    yield f"  the default rules drop {sum(reasons.values())} of {len(photos)} photos: {dict(reasons)}"


def _failed(photos: list[Scores], name: str) -> NDArray[np.int16]:
    """Returns for each photo, or its fake of that name, the number of the first default rule that it fails."""
    columns = {probe: np.array([photo[name][probe] for photo in photos]) for probe in SCORE_NAMES}
    return first_failed(columns, given_thresholds(DEFAULT_RULES))


def _column(photos: list[Scores], name: str, probe: str) -> NDArray[np.float64]:
    """Returns the scores with the good direction up; without a value is the best there is."""
    values = np.array([photo[name][probe] for photo in photos])
    signed = values if _keeps_high(probe) else -values
    return np.where(np.isnan(signed), np.inf, signed)


def _keeps_high(probe: str) -> bool:
    rules = [rule for rule in DEFAULT_RULES.values() if rule.score == probe]
    return rules[0].keep == ">=" if rules else True


def _area(native: NDArray[np.float64], faked: NDArray[np.float64]) -> tuple[float, float, float]:
    """Returns the area under the ROC curve and its 95 % bootstrap interval."""
    above = (native[:, None] > faked[None]) + 0.5 * (native[:, None] == faked[None])
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, len(native), len(native)) for _ in range(NUM_BOOTSTRAPS))
    areas = [float(above[np.ix_(draw, draw)].mean()) for draw in draws]
    low, high = np.quantile(areas, (0.025, 0.975))
    return float(above.mean()), float(low), float(high)


def _dropped(probe: str, native: NDArray[np.float64], faked: NDArray[np.float64]) -> str:
    rules = [rule for rule in DEFAULT_RULES.values() if rule.score == probe]
    if not rules or rules[0].limit is None:
        return ""
    limit = rules[0].limit if rules[0].keep == ">=" else -rules[0].limit
    fakes, photos = 100 * np.mean(faked < limit), 100 * np.mean(native < limit)
    return f"drops {fakes:.0f} % of the fakes, {photos:.0f} % of the photos"


if __name__ == "__main__":
    sys.exit(main())
