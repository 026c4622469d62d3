"""Memory that `supir-infer --dry-run` predicts beside the most that the run of the same setting then holds.

    python benchmarks/infer_memory.py [--threads 1]

Six settings of `mini` on the CPU, each command a process of its own; measured is the most that the process had
resident, as the system tells it at its end. The photo is a mosaic of scikit-image's, so that its size can be chosen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

COMMAND = Path(sys.executable).parent / "supir-infer"
TAKEN = ("--strength", "1")
SETTINGS: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "512x512": ((512, 512), ()),
    "2048x2048": ((2048, 2048), ()),
    "2048x2048 at its own side": ((2048, 2048), ("--set", "working_scale=1")),
    "1536x1536, whole VAE": ((1536, 1536), ("--set", "vae_strip_px=0", "--set", "working_scale=1")),
    "4096x1024, tiles of 1024": ((4096, 1024), ("--tile", "1024", "--tile-stride", "512")),
    "two 768x768 at once, x2": ((768, 768), ("--batch-size", "2", "--upscale", "2")),
}


def main() -> None:
    """Prints the six settings, predicted and measured, and the farthest ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    ratios = []
    for name, (size, flags) in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            photos, output = Path(folder) / "photos", Path(folder) / "restored"
            photos.mkdir()
            for number in range(2 if "two" in name else 1):
                _photo(*size).save(photos / f"{number}.png")
            command = [str(COMMAND), str(photos), "-o", str(output), "--json", *TAKEN, *flags]
            predicted = json.loads(_ran([*command, "--dry-run"], threads)[0])["memory_gib"]
            measured = _ran(command, threads)[1] / 2**30
        ratios.append(predicted / measured)
        print(
            f"{name:<28}predicted {predicted:5.2f} GiB  measured {measured:5.2f} GiB  x{ratios[-1]:.2f}",
            flush=True,
        )
    print(f"farthest from the measured peak: {100 * max(abs(ratio - 1) for ratio in ratios):.0f} %")


def _photo(width: int, height: int) -> Image.Image:
    tile = data.astronaut()
    rows, columns = -(-height // len(tile)), -(-width // len(tile))
    return Image.fromarray(np.tile(tile, (rows, columns, 1))[:height, :width])


def _ran(command: list[str], threads: int) -> tuple[str, int]:
    """What a command wrote, and the most bytes that it had resident."""
    ours, theirs = os.pipe()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    pid = os.posix_spawn(command[0], command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 1)])
    os.close(theirs)
    with os.fdopen(ours) as answer:
        text = answer.read()
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"error: {' '.join(command)} left with code {os.waitstatus_to_exitcode(status)}")
    return text, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
