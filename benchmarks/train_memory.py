"""Bytes that `supir-train --dry-run` plans beside the peak that a real run of the same setting is measured to take.

    python benchmarks/train_memory.py DATASET

Six settings of `mini` on the CPU, each in a process of its own: two steps and a validation, peak of the resident set
over what the process had before it loaded weights. glibc gives every block of 64 KiB and more back at once, so that the
figure is torch's allocations and oneDNN's workspaces and not the allocator's reserve.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = {
    "encoder, 16 of 128 px": ("encoder", {"micro_batch": 16}),
    "encoder, 32 of 128 px": ("encoder", {"micro_batch": 32}),
    "adapter, 16 of 128 px": ("adapter", {"micro_batch": 16}),
    "adapter, 32 of 128 px": ("adapter", {"micro_batch": 32}),
    "adapter, 32, checkpointing": ("adapter", {"micro_batch": 32, "checkpointing": True}),
    "encoder, 8 of 256 px": ("encoder", {"micro_batch": 8, "crop_px": 256}),
}
BLOCK_BYTES = 65536


def main(dataset: str) -> None:
    """Prints the six settings, planned and measured, and the farthest ratio."""
    ratios = []
    for name in SETTINGS:
        settings = {
            "MALLOC_MMAP_THRESHOLD_": str(BLOCK_BYTES),
            "MALLOC_TRIM_THRESHOLD_": "0",
            "MALLOC_TOP_PAD_": "0",
        }
        command = [sys.executable, __file__, dataset, name]
        child = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, check=False
        )
        if child.returncode:
            raise SystemExit(child.stderr)
        planned, measured = json.loads(child.stdout.splitlines()[-1])
        ratios.append(planned / measured)
        print(
            f"{name:<28}planned {planned / 1e6:7.1f} MB  measured {measured / 1e6:7.1f} MB  x{ratios[-1]:.2f}",
            flush=True,
        )
    print(f"farthest from the measured peak: {100 * max(abs(ratio - 1) for ratio in ratios):.0f} %")


def measure(dataset: str, name: str) -> None:
    """Prints planned and measured bytes of one setting, whose run is made in this process."""
    from supir_console import load_config
    from supir_train import TrainConfig
    from supir_train.rehearsal import peak_bytes
    from supir_train.run import prepare, train
    from supir_train.world import ALONE

    stage, setting = SETTINGS[name]
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "stage": stage,
            "device": "cpu",
            "data.dataset": dataset,
            "data.crop_px": setting.get("crop_px", 128),
            "data.workers": 0,
            "gradient_checkpointing": setting.get("checkpointing", False),
            "optimize.batch": 2 * setting["micro_batch"],
            "optimize.micro_batch": setting["micro_batch"],
            "optimize.steps": 2,
            "validation.crops": setting["micro_batch"],
            "validation.share": 0.5,
            "checkpoint_every": 1000,
        }

        def config(run: str) -> TrainConfig:
            return load_config(
                TrainConfig,
                None,
                [f"{key}={value}" for key, value in values.items()] + [f"run={folder}/{run}"],
            )

        planned = peak_bytes(config("plan"), ALONE)
        warm = config("warm")
        small = warm.optimize.model_copy(update={"batch": 2, "micro_batch": 1, "steps": 1})
        train(prepare(warm.model_copy(update={"optimize": small})))  # libraries load, kernels are made
        before, files = _status("VmRSS"), _status("RssFile")
        Path("/proc/self/clear_refs").write_text("5")
        train(prepare(config("run")))
        print(json.dumps([planned, _status("VmHWM") - before - (_status("RssFile") - files)]))


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, f"/proc/self/status has no {key}"
    return int(found[1]) * 1024


if __name__ == "__main__":
    measure(*sys.argv[1:]) if len(sys.argv) == 3 else main(*sys.argv[1:])
