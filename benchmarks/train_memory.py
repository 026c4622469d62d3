"""Bytes that `supir-train --dry-run` plans beside the peak that a real run of the same setting is measured to take.

    python benchmarks/train_memory.py DATASET

Six settings of `mini` on the CPU, each in a process of its own: two steps of two forward passes, and a validation that
restores pictures before and after them. Measured is what torch's allocator has given out and not got back, event by
event as its profiler records it, with what kernels take for themselves; as `torch.cuda.max_memory_allocated` says it
of a GPU. Not in it are oneDNN's own workspaces, the loader's arrays, and LPIPS's weights, which are NumPy's (10 MB).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import Any

import torch

from supir_console import load_config
from supir_train import TrainConfig
from supir_train.rehearsal import peak_bytes
from supir_train.run import prepare, train
from supir_train.world import ALONE

SETTINGS: dict[str, dict[str, Any]] = {
    "encoder, 8 of 128 px": {"stage": "encoder", "images": 8},
    "encoder, 16 of 128 px": {"stage": "encoder", "images": 16},
    "encoder, 6 of 256 px": {"stage": "encoder", "images": 6, "crop_px": 256},
    "adapter, 8 of 128 px": {"stage": "adapter", "images": 8},
    "adapter, 16 of 128 px": {"stage": "adapter", "images": 16},
    "adapter, 16, checkpointing": {"stage": "adapter", "images": 16, "checkpointing": True},
}


def main(dataset: str) -> None:
    """Prints the six settings, planned and measured, and the farthest ratio."""
    ratios = []
    for name in SETTINGS:
        command = [sys.executable, __file__, dataset, name]
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        planned, measured = map(int, ended.stdout.split()[-2:])
        ratios.append(planned / measured)
        print(
            f"{name:<28}planned {planned / 1e6:7.1f} MB  measured {measured / 1e6:7.1f} MB  x{ratios[-1]:.2f}",
            flush=True,
        )
    print(f"farthest from the measured peak: {100 * max(abs(ratio - 1) for ratio in ratios):.0f} %")


def one(dataset: str, name: str) -> None:
    """Prints the bytes of one setting, planned and measured."""
    with tempfile.TemporaryDirectory() as folder:
        config = _config(dataset, folder, **SETTINGS[name])
        print(peak_bytes(config, ALONE), measured_bytes(config))


def measured_bytes(config: TrainConfig) -> int:
    """Returns the most bytes that the run's tensors take at a time, its weights included."""
    run = prepare(config)
    held = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for value in run.supir.parameters()
    }
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        train(run)
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return sum(held.values()) + peak


def _config(
    dataset: str, folder: str, *, stage: str, images: int, crop_px: int = 128, checkpointing: bool = False
) -> TrainConfig:
    values = {
        "stage": stage,
        "run": f"{folder}/run",
        "device": "cpu",
        "data.dataset": dataset,
        "data.crop_px": crop_px,
        "data.workers": 0,
        "gradient_checkpointing": checkpointing,
        "optimize.batch": 2 * images,
        "optimize.micro_batch": images,
        "optimize.steps": 2,
        "validation.crops": images,
        "validation.pictures": 4,
        "validation.steps": 2,
        "validation.share": 0.5,
        "checkpoint_every": 1000,
    }
    return load_config(TrainConfig, None, [f"{key}={value}" for key, value in values.items()])


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else one(*sys.argv[1:])
