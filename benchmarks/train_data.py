"""Claim: the trainer's data path costs no more than what it must do, and its loaders hold little memory.

Peers, on the same 24 JPEGs of 1024 px: decoding alone; and a plain webdataset loop, which shuffles, decodes, takes a
random square of 512 px, mirrors, degrades it by the same recipe and batches. Ours draws by index, checks each hash,
words the prompt and keeps what makes each pair again.
Run: python benchmarks/train_data.py [--batches 12] [--rounds 3]

First within one process, then through one loader process a side, all by processor time, the loader's included: machines
are shared, and on an idle core it is the rate. Ends with the private memory of a loader of either side.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from common import race, show
from PIL import Image

from supir_console import load_config
from supir_images import decode_rgb
from supir_shards import Dataset, Role, Sample, Store, finish_dataset, part_name, sample_key, write_part

# torch and what loads it are imported inside: a loader process imports the module that was started.

SIDE, CROP_PX, BATCH = 1024, 512, 4
RECIPE = "realesrgan"
DECODE, PLAIN, OURS = "decoding alone", "plain webdataset loop", "supir_train"


def main() -> None:
    """Prints both tables and the memory."""
    import torch

    parser = argparse.ArgumentParser(
        description="The trainer's data path beside decoding and a webdataset loop."
    )
    parser.add_argument("--batches", type=int, default=12, help="batches of 4 a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        tar = write_photos(Path(folder))
        jpegs = [sample.image for sample in Dataset(folder).samples()]
        count = BATCH * options.batches
        here = {
            DECODE: lambda: [decode_rgb(jpegs[number % len(jpegs)]) for number in range(count)],
            PLAIN: partial(take, their_loop(tar, 0), options.batches),
            OURS: partial(take, our_loop(folder, 0), options.batches),
        }
        in_one = race(here, options.rounds, clock=time.process_time)
        show(f"{CROP_PX} px, {RECIPE}, one process", in_one, peer=PLAIN, count=count, unit="samples")
        through_loaders(folder, tar, options.batches, options.rounds)


def through_loaders(folder: str, tar: str, batches: int, rounds: int) -> None:
    """Prints the second table, and the private memory of the loaders that it was made with."""
    watch = Stopwatch()
    loops = {PLAIN: their_loop(tar, 1), OURS: our_loop(folder, 1)}
    memory, known = {}, descendants(os.getpid())
    for name, loop in loops.items():
        take(loop, 1)
        started = descendants(os.getpid()) - known
        known |= started
        memory[name] = partial(most_private_bytes, started)
    sides = {name: partial(watch.take, loop, batches) for name, loop in loops.items()}
    timings, count = race(sides, rounds, clock=watch), BATCH * batches
    show(f"{CROP_PX} px, {RECIPE}, one loader process", timings, peer=PLAIN, count=count, unit="samples")
    for name, asked in memory.items():
        print(f"  private memory of a loader, {name}: {asked() / 1e6:.0f} MB")


class Stopwatch:
    """Processor time of this process and its loaders, in which it takes batches that were not ready before."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        """Seconds so far."""
        return self._seconds

    def take(self, loop: Iterator[object], batches: int) -> None:
        """Counts the time of so many batches, after those that were made while the other side was timed."""
        from supir_train.loaders import PREFETCH

        take(loop, PREFETCH + 2)
        began = self._processor_s()
        take(loop, batches)
        self._seconds += self._processor_s() - began

    @staticmethod
    def _processor_s() -> float:
        ticks = 0
        for pid in descendants(os.getpid()):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def take(loop: Iterator[object], batches: int) -> None:
    """Takes that many batches."""
    assert sum(1 for _ in islice(loop, batches)) == batches


def their_loop(tar: str, workers: int) -> Iterator[object]:
    """The same work as a webdataset user writes it."""
    from train_data_peer import plain_loop

    return plain_loop(tar, workers, crop_px=CROP_PX, batch=BATCH, recipe=RECIPE)


def our_loop(folder: str, workers: int) -> Iterator[object]:
    """The trainer's own batches."""
    from supir_train import TrainConfig
    from supir_train.data import training_batches
    from supir_train.order import Position

    values = {
        "stage": "adapter",
        "run": "unused",
        "init": "fresh",
        "data.dataset": folder,
        "data.crop_px": CROP_PX,
        "data.recipe": RECIPE,
        "data.workers": workers,
        "validation.crops": 0,
    }
    config = load_config(TrainConfig, None, [f"{key}={value}" for key, value in values.items()])
    return training_batches(config, images=BATCH, degraded=True, start=Position())


def write_photos(folder: Path) -> str:
    """Writes 24 JPEGs, quality 92, of six photos enlarged, as a dataset; returns its one tar."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    photos += [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    samples = []
    for photo in photos:
        scale = 1.5 * SIDE / min(photo.shape[:2])
        large = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        bottom, right = large.shape[0] - SIDE, large.shape[1] - SIDE
        for y, x in ((0, 0), (0, right), (bottom, 0), (bottom, right)):
            samples.append(_sample(large[y : y + SIDE, x : x + SIDE]))
    part = part_name(0)
    write_part(Store(folder), part, samples)
    finish_dataset(Store(folder), command="benchmark", config={}, config_hash="0" * 16)
    return str(folder / "shards" / f"{part}.tar")


def _sample(pixels: np.ndarray) -> Sample:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=92)
    return Sample(
        key=sample_key(file.getvalue()),
        image=file.getvalue(),
        extension="jpg",
        role=Role.PHOTO,
        width=SIDE,
        height=SIDE,
    )


def descendants(pid: int) -> set[int]:
    """Processes that this one started, and theirs."""
    own = {int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return own.union(*map(descendants, own))


def most_private_bytes(pids: set[int]) -> int:
    """Memory that a process shares with no other, of the one with most."""
    return max(map(_private_bytes, pids))


def _private_bytes(pid: int) -> int:
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    sizes = {name: int(value) for name, value, *_ in lines}
    return 1024 * (sizes["Private_Clean:"] + sizes["Private_Dirty:"])


if __name__ == "__main__":
    main()
