"""Claims: SDXL's VAE decodes in strips within 1e-5 of the whole pass, in 1/8 of its memory and 1.5 x its time.

Peers: the whole forward pass, and diffusers' own `enable_tiling`, which averages overlapping tiles.
Run: python benchmarks/decode_strips.py [--side 2048] [--strip 16] [--maps-gib 0.03] [--threads 1] [--width 1]

Random weights of the published shape; the peers' in torch's default layout, which is also nearer to float64. Each side
runs in a process of its own. Memory is how far the most that it had resident rose over what it had before; time is the
processor's, so that another program beside it matters less. 2048 px take 18 GB, and 20 minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from supir_infer import kl_strips
from supir_infer.memory import Meter
from supir_infer.row_maps import GIB, Maps
from supir_model import PRESETS

WHOLE, STRIPS, TILES = "whole", "strips", "diffusers tiles"


def main() -> None:
    """Prints one line for each side, and how far its picture is from the whole pass."""
    options = _options()
    if options.one is not None:
        _measure(options)
        return
    print(
        f"decode to {options.side} px squared, float32, {options.threads} thread(s), width x{options.width:g}"
    )
    with tempfile.TemporaryDirectory() as folder:
        peer: dict[str, float] = {}
        for side in (WHOLE, STRIPS, TILES):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", side, "--folder", folder]
            ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            figures = json.loads(ended.stdout.splitlines()[-1])
            peer = peer or figures
            away = _distance(Path(folder), side)
            print(
                f"  {side:<18}{figures['gib']:7.2f} GiB  x1/{peer['gib'] / figures['gib']:<6.1f}"
                f"{figures['seconds']:8.0f} s  x{figures['seconds'] / peer['seconds']:.2f}  most away {away:.1e}",
                flush=True,
            )


def _measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = dict(PRESETS["sdxl"].vae)
    config["block_out_channels"] = [int(width * options.width) for width in config["block_out_channels"]]
    vae = AutoencoderKL(**config).requires_grad_(False).eval()
    vae.encoder = None
    latent = torch.randn(1, config["latent_channels"], options.side // 8, options.side // 8)
    decode: dict[str, Callable[[], torch.Tensor]] = {
        WHOLE: lambda: vae.decode(latent).sample,
        STRIPS: lambda: kl_strips.decode(vae, latent, options.strip, Maps(int(options.maps_gib * GIB))),
        TILES: lambda: vae.decode(latent).sample,
    }
    if options.one == TILES:
        vae.enable_tiling()
    elif options.one == STRIPS:
        vae.to(memory_format=torch.channels_last)  # as `Restorer` has it
    meter = Meter(latent.device)
    before = meter.held()
    assert before is not None, "Linux tells it"
    meter.reset()
    started = time.process_time()
    image = decode[options.one]()
    seconds = time.process_time() - started
    print(json.dumps({"gib": (meter.highest() - before) / GIB, "seconds": seconds}))
    torch.save(image, Path(options.folder) / options.one)


def _distance(folder: Path, side: str) -> float:
    whole, other = (torch.load(folder / name, mmap=True) for name in (WHOLE, side))
    return float((whole - other).abs().max() / whole.abs().max())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=2048, help="pixels")
    parser.add_argument("--strip", type=int, default=16, help="rows of the picture at once")
    parser.add_argument("--maps-gib", type=float, default=0.03, help="of maps kept in main memory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=float, default=1.0, help="of the published widths")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
