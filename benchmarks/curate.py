"""Claim: all probes together cost at most 1.5 x the JPEG decode, and the stage is 5 x cleanvision, on one core.

Peers: Pillow's decode of the same files (the floor); cleanvision 0.3.7 with its default issues; data-juicer 1.6.1's
nearest weight-free filters (sub-plots, shape, aspect ratio, file size). Each peer has an environment of its own, made
under benchmarks/.venv-NAME; one that does not install or run is named as such and left out.
Run: python benchmarks/curate.py PHOTOS_DIR [--photos N] [--rounds N]

The stage is what one worker does with a part: read, hash, decode, every probe, the ledger's row. Figures are seconds of
processor time with one thread each, sides in turns, the best of the rounds: the machine may have other work. Ours and
Pillow's floor keep freed memory as a scoring worker does. The smooth third has the fewest bytes a pixel.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PEERS = {"cleanvision": ["cleanvision==0.3.7"], "data-juicer": ["py-data-juicer==1.6.1", "aiohttp"]}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
MAX_PIXELS = 200_000_000
WORKING_SIDE_PX = 1024
DECODE_LIMIT, PEER_TARGET = 1.5, 5.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of processor time over all photos: Pillow's decode, our decode with its views, the probes."""

    floor_s: float
    decode_s: float
    probes_s: float


def main() -> int:
    """Prints both tables; returns the exit status."""
    parser = argparse.ArgumentParser(description="Processor time of curation beside its peers.")
    parser.add_argument("photos_dir", type=Path, nargs="?", metavar="PHOTOS_DIR")
    parser.add_argument("--photos", type=int, default=24, help="take so many JPEGs, evenly spread")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    paths = _jpegs(options.photos_dir, options.photos) if options.photos_dir else []
    if not paths:
        print("no JPEGs; run: python benchmarks/curate.py PHOTOS_DIR", file=sys.stderr)
        return 2
    os.environ.update(ONE_THREAD)
    import cv2

    from supir_curate.pictures.memory import keep_freed_memory

    cv2.setNumThreads(1)
    keep_freed_memory()
    _show_probes(paths, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        photos.mkdir()
        for number, path in enumerate(paths):
            shutil.copy(path, photos / f"{number:04d}.jpg")
        _show_stage(photos, len(paths), options.rounds)
    return 0


def _jpegs(folder: Path, count: int) -> list[Path]:
    found = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"} and path.is_file()
    )
    step = max(1, len(found) // count)
    return found[::step][:count]


def _show_probes(paths: list[Path], rounds: int) -> None:
    from supir_images import read_header

    files = [path.read_bytes() for path in paths]
    headers = [read_header(data) for data in files]
    megapixels = sum(header.width * header.height for header in headers) / 1e6
    per_photo = [[_cost(data) for _ in range(rounds)] for data in files]
    best = [
        Cost(*(min(getattr(cost, name) for cost in costs) for name in Cost.__slots__)) for costs in per_photo
    ]
    floor, decode, probes = (sum(getattr(cost, name) for cost in best) for name in Cost.__slots__)
    print(f"{len(files)} JPEGs, {megapixels / len(files):.1f} megapixels each on the mean, one core")
    print(f"  {'':<28}{'ms a photo':>12}{'ms a megapixel':>16}")
    for name, seconds in (("Pillow's decode", floor), ("decode and views", decode), ("all probes", probes)):
        print(f"  {name:<28}{1000 * seconds / len(files):>12.1f}{1000 * seconds / megapixels:>16.1f}")
    print(f"  probes / decode              x{probes / floor:.2f}; ", end="")
    print(f"views and probes / decode x{_ratio(best):.2f}   (target: at most x{DECODE_LIMIT}) ", end="")
    print("ok" if _ratio(best) <= DECODE_LIMIT else "MISS")
    ratios = sorted(_ratio([cost]) for cost in best)
    print(
        f"  over photos: median x{ratios[len(ratios) // 2]:.2f}, lowest x{ratios[0]:.2f}, highest x{ratios[-1]:.2f}"
    )
    by_detail = sorted(
        range(len(files)), key=lambda one: len(files[one]) / (headers[one].width * headers[one].height)
    )
    smooth = [best[one] for one in by_detail[: max(1, len(files) // 3)]]
    print(f"  the smooth third together    x{_ratio(smooth):.2f}")


def _ratio(costs: list[Cost]) -> float:
    """Returns the cost of views and probes as a multiple of Pillow's decode."""
    return sum(cost.decode_s - cost.floor_s + cost.probes_s for cost in costs) / sum(
        cost.floor_s for cost in costs
    )


def _cost(data: bytes) -> Cost:
    import numpy as np
    from PIL import Image

    from supir_curate.measure import measure
    from supir_curate.pictures.picture import decode

    started = time.process_time()
    np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    floor = time.process_time()
    picture = decode(data, MAX_PIXELS, WORKING_SIDE_PX)
    decoded = time.process_time()
    measure(picture, WORKING_SIDE_PX)
    return Cost(floor - started, decoded - floor, time.process_time() - decoded)


def _show_stage(photos: Path, count: int, rounds: int) -> None:
    sides: dict[str, Callable[[], float]] = {"supir-curate score": lambda: _our_stage(photos)}
    for name, requirements in PEERS.items():
        python = _environment(name, requirements)
        if python:
            sides[name] = lambda name=name, python=python: _peer(python, name, photos)  # type: ignore[misc]
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name in list(sides):
            try:
                best[name] = min(best.get(name, float("inf")), sides[name]())
            except subprocess.CalledProcessError as error:
                print(f"  {name} does not run: {(error.stderr.splitlines() or ['no word'])[-1]}")
                del sides[name]
    ours = best["supir-curate score"]
    print(f"the whole stage, {count} photos, photos a second of one core")
    for name, seconds in best.items():
        is_peer = name in PEERS
        mark = f"   ours x{seconds / ours:.1f}" if is_peer else ""
        if name == "cleanvision":
            mark += f" (target: at least x{PEER_TARGET}) {'ok' if seconds >= PEER_TARGET * ours else 'MISS'}"
        print(f"  {name:<28}{count / seconds:>8.2f}{mark}")
    print(f"  peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _our_stage(photos: Path) -> float:
    """Returns the processor seconds of scoring the folder as one part, ledger included, without Ray's start."""
    from supir_curate.config import CurateConfig
    from supir_curate.score import score_part
    from supir_curate.sources.plan import make_plan
    from supir_shards import Store

    with tempfile.TemporaryDirectory() as dataset:
        config = CurateConfig()
        started = time.process_time()
        plan = make_plan(Store(dataset), str(photos), config)
        for part in plan.parts():
            assert score_part(dataset, plan, part, config).failed == 0
        return time.process_time() - started


def _peer(python: str, name: str, photos: Path) -> float:
    words = [python, str(HERE / "curate_peer.py"), name, str(photos)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD)
    return float(json.loads(done.stdout.splitlines()[-1])["processor_s"])


def _environment(name: str, requirements: list[str]) -> str | None:
    """Returns the peer's Python, installed if it is not there; None, said, if it cannot be."""
    python = HERE / f".venv-{name}" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        words = [str(python), "-m", "pip", "install", "-q", *requirements]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(python.parents[1])
            print(f"  {name} does not install here: {(done.stderr.splitlines() or ['no word'])[-1]}")
            return None
    return str(python)


if __name__ == "__main__":
    sys.exit(main())
