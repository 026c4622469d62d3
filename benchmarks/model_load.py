"""Claim: an official checkpoint opens onto a single-file base with a peak of at most 1.15 times its weights.

Peer: the plain way with the same libraries: both files read whole, names turned by diffusers, modules built and filled.
Run: python benchmarks/model_load.py [WIDTH]   (SDXL's own width is 320; 160 needs 5 GB of disk and memory)

Every side runs in a process of its own; its peak is the largest resident memory above that after the imports. Weights
are random, in float16 on disk and float32 in memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file

from supir_model.checkpoint import Adapter, load_checkpoint, save_checkpoint
from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.official_names import CONTROL, UNET, VAE, official_shape, unet_name, vae_name
from supir_model.presets import FULL_DEPTH, PRESETS
from supir_model.single_file import load_unet, load_vae
from supir_model.tensor_file import TensorFile

BASE, DELTA = "base.safetensors", "supir.safetensors"
SIDES = ("plain", "supir_model")


def main() -> None:
    """Prints time and peak memory of both sides."""
    if len(sys.argv) == 3 and sys.argv[1] in SIDES:
        print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
        return
    width = int(sys.argv[1]) if len(sys.argv) > 1 else 160
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), width)
        figures = {
            side: _in_a_process(side, folder) for side in SIDES for _ in range(2)
        }  # the second is warm
    weights = figures["supir_model"]["weights_bytes"]
    print(
        f"UNet, VAE, control encoder, connectors and robust encoder at width {width}: {weights / 1e9:.2f} GB"
    )
    for side, figure in figures.items():
        slower = figure["seconds"] / figures["plain"]["seconds"]
        print(
            f"  {side:<12}peak {figure['peak_bytes'] / weights:.2f} x the weights   {figure['seconds']:.1f} s"
            f"   x{1 / slower:.2f} of plain"
        )
    print("  " + json.dumps({"torch": torch.__version__, "width": width, **figures}))


def _in_a_process(side: str, folder: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, side, folder], capture_output=True, text=True, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _measure(side: str, folder: Path) -> dict[str, float]:
    before = _peak_bytes()
    started = time.perf_counter()
    parts = _plain(folder) if side == "plain" else _ours(folder)
    seconds = time.perf_counter() - started
    weights = sum(value.nbytes for part in parts for value in part.state_dict().values())
    return {"seconds": seconds, "peak_bytes": _peak_bytes() - before, "weights_bytes": weights}


def _ours(folder: Path) -> list[torch.nn.Module]:
    file = TensorFile(folder / BASE)
    unet, vae = load_unet(file), load_vae(file)
    adapter = load_checkpoint(folder / DELTA, unet, vae)
    return [unet, vae, adapter.control, adapter.connectors, adapter.robust_encoder]


def _plain(folder: Path) -> list[torch.nn.Module]:
    base, delta = load_file(folder / BASE), load_file(folder / DELTA)
    unet = UNet2DConditionModel(**json.loads((folder / "unet.json").read_text()))
    vae = AutoencoderKL(**json.loads((folder / "vae.json").read_text()))
    unet.load_state_dict(convert_ldm_unet_checkpoint(dict(base), dict(unet.config)))
    vae.load_state_dict(convert_ldm_vae_checkpoint(dict(base), dict(vae.config)))
    control = ControlEncoder.for_unet(unet, FULL_DEPTH)
    trunk = {key.replace(CONTROL, UNET): value for key, value in delta.items() if key.startswith(CONTROL)}
    hint = {f"hint.{leaf}": trunk.pop(f"{UNET}input_hint_block.0.{leaf}") for leaf in ("weight", "bias")}
    control.load_state_dict({**convert_ldm_unet_checkpoint(trunk, dict(unet.config)), **hint})
    connectors = Connectors(block_out_channels=unet.config["block_out_channels"])
    robust = AutoencoderKL(**json.loads((folder / "vae.json").read_text())).encoder
    renamed = {key.replace("denoise_encoder", "encoder"): value for key, value in delta.items()}
    filled = convert_ldm_vae_checkpoint(renamed, dict(vae.config))
    robust.load_state_dict({key.removeprefix("encoder."): value for key, value in filled.items()})
    return [unet, vae, control, connectors, robust]


def _write(folder: Path, width: int) -> None:
    unet_config = {
        **PRESETS["sdxl"].unet,
        "block_out_channels": (width, 2 * width, 4 * width),
        "attention_head_dim": tuple(max(1, factor * width // 64) for factor in (1, 2, 4)),
    }
    (folder / "unet.json").write_text(json.dumps(unet_config))
    (folder / "vae.json").write_text(json.dumps(PRESETS["sdxl"].vae))
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**unet_config), AutoencoderKL(**PRESETS["sdxl"].vae)
    names = {UNET + unet_name(key): value.shape for key, value in unet.named_parameters()}
    names |= {VAE + vae_name(key, 4): value.shape for key, value in vae.named_parameters()}
    tensors = {
        name: torch.randn(official_shape(name, tuple(shape)), dtype=torch.float16)
        for name, shape in names.items()
    }
    save_file(tensors, folder / BASE)
    del tensors
    adapter = Adapter(
        ControlEncoder.for_unet(unet, FULL_DEPTH),
        Connectors(block_out_channels=unet_config["block_out_channels"]),
        AutoencoderKL(**PRESETS["sdxl"].vae).encoder,
    )
    save_checkpoint(adapter, folder / DELTA, torch.float16)


def _peak_bytes() -> int:
    # of this program alone; getrusage would count what the parent process held when it was started
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
