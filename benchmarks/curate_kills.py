"""Claim: killed at random, a curation ends with the same bytes as undisturbed, and scores nothing twice that was done.

Peer: the same command, undisturbed. The driver, a worker or Ray's head process gets SIGKILL at a random moment; then
the same command runs again, until it was killed KILLS times and has finished.
Run: python benchmarks/curate_kills.py [KILLS] [IMAGES]

Ends with 1 if a byte differs, or a committed part was written a second time.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import skimage
from PIL import Image
from sklearn.datasets import load_sample_image

from supir_images import decode_rgb
from supir_shards import verify

SIDE_PX = 256
SETTINGS = (
    "source.part_size=25",
    "select.rules.below_min_side.limit=64",
    "pack.mode=crops",  # makes bytes of its own, where whole pictures of this size are copies
    "pack.size_px=128",
    "pack.min_frame_share=0.01",
    "pack.min_effective_ratio=0",
)
COMMITTED = ("ledger/*.parquet", "index/*.parquet", "selection/*.parquet")
TARGETS = ("driver", "worker", "head")
PATIENCE_S = 120


def main() -> int:
    """Prints what was killed and what came of it; returns the exit status."""
    parser = argparse.ArgumentParser(description="Kill a curation at random moments and compare its bytes.")
    parser.add_argument("kills", type=int, nargs="?", default=30)
    parser.add_argument("images", type=int, nargs="?", default=3000)
    wanted = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_pictures(place / "photos", wanted.images)
        run_to_end(command(place, "whole"))
        whole = contents(place / "whole")
        kills: collections.Counter[str] = collections.Counter()
        rewritten, differing, rounds = 0, 0, 0
        while kills.total() < wanted.kills:
            rounds += 1
            name = f"killed-{rounds}"
            rewritten += run_with_kills(place, name, kills, wanted.kills, rng)
            found = contents(place / name)
            differing += sum(found.get(path) != whole.get(path) for path in found.keys() | whole.keys())
            problems = verify(place / name)
            differing += len(problems)
    told = ", ".join(f"{target} {kills[target]}" for target in TARGETS)
    print(f"{wanted.images} images, {kills.total()} kills ({told}), {rounds} datasets to the end")
    print(f"  files that differ from the undisturbed run: {differing} of {len(whole)}")
    print(f"  committed parts written a second time: {rewritten}")
    return 1 if differing or rewritten else 0


def run_with_kills(
    place: Path, name: str, kills: collections.Counter[str], wanted: int, rng: random.Random
) -> int:
    """Runs one dataset to its end, killed on the way; returns how many committed parts were written twice."""
    dataset, rewritten = place / name, 0
    seen: dict[str, tuple[int, int]] = {}
    while True:
        process = subprocess.Popen(
            command(place, name), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        if kills.total() < wanted and wait_for_parts(process, dataset, rng.randint(0, 8)):
            target = rng.choice(TARGETS)
            kills[target] += kill(process, target, rng)
        told = end(process)
        now = marks(dataset)
        rewritten += sum(now[path] != mark for path, mark in seen.items() if path in now)
        seen |= now
        print(f"  {name}: {len(now)} parts, exit {process.returncode} {told}", flush=True)
        if process.returncode in (0, 1) and (dataset / "dataset.json").exists():
            return rewritten


def wait_for_parts(process: subprocess.Popen[bytes], dataset: Path, more: int) -> bool:
    """Waits until so many further parts are committed; returns whether the command still runs."""
    goal, deadline = len(marks(dataset)) + more, time.monotonic() + PATIENCE_S
    while process.poll() is None and len(marks(dataset)) < goal and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    return process.poll() is None


def kill(process: subprocess.Popen[bytes], target: str, rng: random.Random) -> int:
    """Sends SIGKILL to the driver, to one of Ray's workers or to its head; returns whether there was one."""
    if target == "driver":
        process.kill()
        return 1
    mark = "ray::" if target == "worker" else "gcs_server"
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if mark in " ".join(child.cmdline()[:1]):
                found.append(child)
    if not found:
        return 0
    rng.choice(sorted(found, key=lambda child: child.pid)).kill()
    return 1


def end(process: subprocess.Popen[bytes]) -> str:
    """Waits for a command and returns the last line that it wrote."""
    _, written = process.communicate(timeout=20 * PATIENCE_S)
    if process.returncode == -signal.SIGKILL:
        return "(killed)"
    lines = written.decode(errors="replace").strip().splitlines()
    return lines[-1][:160] if lines else ""


def marks(dataset: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file whose presence says that a part is done."""
    found = {}
    for pattern in COMMITTED:
        for path in dataset.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found[str(path.relative_to(dataset))] = (status.st_ino, status.st_mtime_ns)
    return found


def contents(dataset: Path) -> dict[str, str]:
    """SHA-256 of every file, by path, but for how long the run took: log/, and its section of the report."""
    found = {}
    for path in sorted(dataset.rglob("*")):
        name = str(path.relative_to(dataset))
        if path.is_file() and not name.startswith("log/"):
            data = re.sub(rb"<h2>Throughput.*?(?=<h2>Failures)", b"", path.read_bytes(), flags=re.DOTALL)
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def command(place: Path, name: str) -> list[str]:
    """The curation of the pictures into a dataset of that name."""
    words = ["run", place / "photos", "-o", place / name]
    for setting in SETTINGS:
        words += ["--set", setting]
    return [str(Path(sys.executable).with_name("supir-curate")), *map(str, words)]


def run_to_end(words: list[str]) -> None:
    """Runs a command that must finish."""
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr.decode(errors="replace")[-500:])


def make_pictures(folder: Path, count: int) -> None:
    """Writes different crops of installed packages' photos, and now and then a file that is no picture."""
    data = Path(skimage.__file__).parent / "data"
    photos = [decode_rgb((data / name).read_bytes()) for name in ("astronaut.png", "coffee.png")]
    photos += [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:06}.jpg"
        if number % 97 == 96:
            path.write_bytes(b"<html>404</html>")
            continue
        photo = photos[number % len(photos)]
        top, left = (int(rng.integers(0, side - SIDE_PX)) for side in photo.shape[:2])
        crop = photo[top : top + SIDE_PX, left : left + SIDE_PX]
        Image.fromarray(np.asarray(crop, dtype=np.uint8)).save(path, quality=90)


if __name__ == "__main__":
    sys.exit(main())
