"""The timed part of benchmarks/degrade.py: photos, both sides, times in turns and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from degrade_peer import Peer, seed_all
from numpy.typing import NDArray
from skimage import data
from sklearn.datasets import load_sample_images

from supir_degrade import Recipe, degrade, load_recipe, sample_generator
from supir_degrade.recipe import SharpenStep

SIDE_PX = 512
ORIGINAL = ("clean_share=0", "scale={4: 1}")
"""Real-ESRGAN fixes scale 4 and leaves no sample clean."""
PLAIN, SHARPENED, SHIPPED = (
    "supir_degrade",
    "supir_degrade + sharpening",
    "supir_degrade, realesrgan as shipped",
)
THEIRS, THEIRS_FLUSHED = "basicsr", "basicsr, denormals flushed"
THEIRS_SHARPENED, THEIRS_SHARPENED_FLUSHED = "basicsr + sharpening", "basicsr + sharpening, flushed"
Photo = NDArray[np.uint8]
Side = Callable[[Photo, int], Photo]


def photos() -> list[Photo]:
    """Centre crops of nine photos; those below 512 px are enlarged to it."""
    names = (
        "astronaut",
        "coffee",
        "rocket",
        "retina",
        "hubble_deep_field",
        "immunohistochemistry",
        "chelsea",
    )
    return [_crop(image) for image in (*(getattr(data, n)() for n in names), *load_sample_images().images)]


def speed(peer: Peer, num_samples: int, num_sharpened: int) -> None:
    """Prints rates, ratios and times of all sides."""
    recipe = load_recipe("realesrgan", ORIGINAL)
    sharpen = SharpenStep(weight=(0.5, 0.5), radius_px=(25, 25), threshold=10)
    peer_plain, peer_sharpened = theirs(peer, "realesrgan"), theirs(peer, "realesrgan", sharpened=True)
    plain = {
        THEIRS: peer_plain,
        THEIRS_FLUSHED: _flushed(peer_plain),
        PLAIN: ours(recipe),
        SHIPPED: ours(load_recipe("realesrgan")),
    }
    sharpened = {
        THEIRS_SHARPENED: peer_sharpened,
        THEIRS_SHARPENED_FLUSHED: _flushed(peer_sharpened),
        SHARPENED: ours(recipe.model_copy(update={"steps": (sharpen, *recipe.steps)})),
    }
    for sides, peers, count in (
        (plain, (THEIRS, THEIRS_FLUSHED), num_samples),
        (sharpened, (THEIRS_SHARPENED, THEIRS_SHARPENED_FLUSHED), num_sharpened),
    ):
        seconds = _timed_in_turns(sides, count)
        print(f"realesrgan, {SIDE_PX} x {SIDE_PX} px, {count} samples a side, one core each")
        for name, values in seconds.items():
            ratios = ", ".join(f"x{seconds[p].mean() / values.mean():.1f} of {p}" for p in peers if name != p)
            mean, median, high = 1e3 * values.mean(), 1e3 * np.median(values), 1e3 * np.percentile(values, 95)
            print(f"  {name:<38}{1 / values.mean():>6.2f} images/s   {ratios}")
            print(f"  {'':<38}{mean:.0f} ms a sample, p50 {median:.0f}, p95 {high:.0f}", flush=True)


def _timed_in_turns(sides: dict[str, Side], count: int) -> dict[str, np.ndarray]:
    images = photos()
    for side in sides.values():
        side(images[0], 0)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(count):
        for name, side in sides.items():
            started = time.process_time()
            side(images[number % len(images)], number)
            seconds[name].append(time.process_time() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def memory() -> None:
    """Prints the most memory of our side above what is held before; finished images are dropped."""
    image, recipe = photos()[0], load_recipe("realesrgan", ORIGINAL)

    def run(count: int) -> None:
        for number in range(count):
            degrade(image, recipe, sample_generator(0, "memory", number))

    one, many = (_peak_bytes(partial(run, count)) / 2**20 for count in (1, 64))
    print(f"  peak memory of {PLAIN}: {one:.0f} MiB for 1 sample, {many:.0f} MiB for 64", flush=True)


def ours(recipe: Recipe) -> Side:
    """Our side: draw and render with the generator of that number."""
    return lambda photo, number: degrade(photo, recipe, sample_generator(1, "benchmark", number))[0]


def theirs(peer: Peer, recipe: str, *, sharpened: bool = False) -> Side:
    """The peer's side, one picture a batch, its global generators seeded with that number."""

    def run(photo: Photo, number: int) -> Photo:
        seed_all(number)
        return peer.degrade([photo], recipe, sharpened=sharpened)[0]

    return run


def _flushed(side: Side) -> Side:
    def run(photo: Photo, number: int) -> Photo:
        torch.set_flush_denormal(True)
        result = side(photo, number)
        torch.set_flush_denormal(False)
        return result

    return run


def _crop(image: Photo) -> Photo:
    factor = SIDE_PX / min(image.shape[:2])
    if factor > 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    top, left = (image.shape[0] - SIDE_PX) // 2, (image.shape[1] - SIDE_PX) // 2
    return np.ascontiguousarray(image[top : top + SIDE_PX, left : left + SIDE_PX])


def _peak_bytes(run: Callable[[], None]) -> int:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # a process of its own, so that no earlier peak and no freed memory hides this one
        try:
            before = _status("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
            run()
            os.write(writer, str(_status("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    return int(os.read(reader, 32))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
