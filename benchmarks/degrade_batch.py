"""Claim: images/s of replaying traces in batches on a device, beside what a training step needs. Not run on a GPU yet.

Peers: the single path of the same recipe on one CPU core; with BASICSR, basicsr 1.4.2's own batched operations on the
same device (degrade_peer.py), whose resize factors, noise kinds and blur chances hold for a whole batch.
Run: python benchmarks/degrade_batch.py [BASICSR] [--device cuda] [--size 512] [--batch 16] [--recipe realesrgan]
     [--step-images-per-second N]

BASICSR is basicsr-1.4.2.tar.gz from PyPI, or its unpacked folder. The time holds drawing the traces and copying
the photos to the device. N is what training consumes: `images_per_s` of its metrics.jsonl. Without a GPU the batched
path is the slower one: it is not made for CPUs. One thread a side; times are of the processor where all run on one.
Ends with 2 where BASICSR is not it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from common import Timing, race, show
from degrade_peer import STAGES, NoPeerError, open_peer, seed_all
from degrade_speed import ORIGINAL, photos

from supir_degrade import RECIPES, degrade, draw, load_recipe, sample_generator
from supir_degrade.batch import replay_batch

BATCHED, SINGLE, PEER = "batched", "single path, one CPU core", "basicsr, batched"


def main() -> int:
    """Prints images/s of each side, and beside what a training step needs; returns the exit status."""
    options = _options()
    try:
        _measure(options)
    except NoPeerError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.set_flush_denormal(True)  # helps the peer
    with contextlib.ExitStack() as stack:
        sides = _sides(options, stack)
        on_cpu = torch.device(options.device).type == "cpu"
        timings = race(sides, options.rounds, time.process_time if on_cpu else time.perf_counter)
    title = f"{options.recipe}, {options.size} x {options.size} px, batches of {options.batch}, {_name(options.device)}"
    show(title, timings, peer=SINGLE, count=options.batch, unit="images")
    if options.step_images_per_second:
        _print_need(timings, options.batch, options.step_images_per_second)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Images a second of the batched degradation on a device.")
    parser.add_argument("basicsr", type=Path, nargs="?", metavar="BASICSR")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=512, help="side of the photos, px")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--recipe", choices=RECIPES, default="realesrgan")
    parser.add_argument("--rounds", type=int, default=5, help="timed batches a side, each of new draws")
    parser.add_argument("--step-images-per-second", type=float, help="what a training step consumes")
    options = parser.parse_args()
    if options.basicsr and options.recipe not in STAGES:
        parser.error(f"basicsr has no {options.recipe}; give --recipe {' or '.join(STAGES)}, or no BASICSR")
    return options


def _sides(options: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, Callable[[], object]]:
    images = _images(options.batch, options.size)
    stored = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    recipe = load_recipe(options.recipe, ORIGINAL if options.recipe in STAGES else ())
    drawn = {BATCHED: 0, SINGLE: 0, PEER: 0}

    def generators(side: str) -> list[np.random.Generator]:
        """Of the next batch; both sides meet the same draws."""
        first, drawn[side] = drawn[side], drawn[side] + options.batch
        return [sample_generator(2, "benchmark", first + number) for number in range(options.batch)]

    def batched() -> None:
        size = (options.size, options.size)
        traces = [draw(recipe, size, rng) for rng in generators(BATCHED)]
        replay_batch(stored.to(options.device), traces)
        if torch.device(options.device).type == "cuda":
            torch.cuda.synchronize(options.device)

    def single() -> None:
        for image, rng in zip(images, generators(SINGLE), strict=True):
            degrade(image, recipe, rng)

    sides: dict[str, Callable[[], object]] = {BATCHED: batched, SINGLE: single}
    if options.basicsr:
        peer = stack.enter_context(open_peer(options.basicsr, options.device))

        def peers() -> None:
            drawn[PEER] += 1
            seed_all(drawn[PEER])
            peer.degrade(images, options.recipe)

        sides[PEER] = peers
    return sides


def _images(count: int, side: int) -> list[np.ndarray]:
    found = photos()
    if side != found[0].shape[0]:
        found = [cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA) for photo in found]
    return [found[number % len(found)] for number in range(count)]


def _print_need(timings: dict[str, Timing], batch: int, need: float) -> None:
    rates = {name: batch / timing.median_s for name, timing in timings.items()}
    cores = math.ceil(need / rates[SINGLE])
    print(
        f"  a training step takes {need:g} images/s: {rates[BATCHED] / need:.2f} x that from the batched path,"
    )
    print(f"  or {cores} CPU core{'s' if cores > 1 else ''} on the single path")


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "one CPU core"


if __name__ == "__main__":
    sys.exit(main())
