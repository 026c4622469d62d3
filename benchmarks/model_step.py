"""Claim: a guided step costs at most 5 % over UNet plus control encoder alone, and is 1.15 x two plain passes.

Peer: diffusers' UNet and the control encoder's own blocks run the plain way, without connectors: one call with both
guidance branches in a batch ("bare sum"), and one call a branch ("two plain passes").
Run: python benchmarks/model_step.py [--width 320] [--size 1024] [--device cuda] [--dtype bfloat16] [--compile]

Random weights, SDXL's depths [1, 2, 10]; SDXL's own width is 320. The time is that of one step at control scale 1 with
text, size and hint prepared before, as in a run of many steps. Memory is the largest over one step above the weights.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from common import race, show
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from supir_model import Supir, TextConditioning
from supir_model.connectors import Connectors
from supir_model.control import ControlEncoder
from supir_model.guidance import LinearScale, guided
from supir_model.memory import compile_blocks, lay_out_channels_last
from supir_model.presets import FULL_DEPTH, PRESETS

SIGMA, TIMESTEP = 1.0, 260
GUIDED, BARE, TWICE = "guided step", "bare sum", "two plain passes"


def main() -> None:
    """Prints time and memory of the three sides."""
    options = _options()
    dtype, device = getattr(torch, options.dtype), torch.device(options.device)
    sides = _sides(_supir(options.width, device, dtype, options.compile), options.size // 8, dtype)
    peaks = {name: _peak_bytes(step, device) for name, step in sides.items()}
    with FlopCounterMode(display=False) as counter:
        sides[GUIDED]()

    def timed(step: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    timings = race({name: timed(step) for name, step in sides.items()}, options.rounds)
    title = f"width {options.width}, {options.size}x{options.size} px, {options.dtype}, {options.device}"
    show(title + (", compiled" if options.compile else ""), timings, peer=TWICE, count=1, unit="steps")
    over = timings[GUIDED].median_s / timings[BARE].median_s - 1
    print(f"  guided step over bare sum: {100 * over:+.1f} %")
    tflops = counter.get_total_flops() / 1e12
    rate = tflops / timings[GUIDED].median_s
    share = (
        f", {100 * rate / options.peak_tflops:.0f} % of {options.peak_tflops:g}"
        if options.peak_tflops
        else ""
    )
    print(f"  {tflops:.2f} TFLOP a guided step, {rate:.2f} TFLOP/s{share}")
    print(
        "  peak over the weights: "
        + json.dumps({name: f"{peak / 1e6:.0f} MB" for name, peak in peaks.items()})
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time of one guided step beside its parts.")
    parser.add_argument("--width", type=int, default=64, help="width of the UNet's first level; SDXL has 320")
    parser.add_argument("--size", type=int, default=512, help="side of the image, px")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", action="store_true", help="compile the transformer blocks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak-tflops", type=float, help="matrix peak of the device, for the share reached")
    return parser.parse_args()


def _supir(width: int, device: torch.device, dtype: torch.dtype, compiled: bool) -> Supir:
    shape = {
        "block_out_channels": (width, 2 * width, 4 * width),
        "attention_head_dim": tuple(max(1, factor * width // 64) for factor in (1, 2, 4)),
    }
    with torch.device("meta"):
        unet = UNet2DConditionModel(**{**PRESETS["sdxl"].unet, **shape})
        control = ControlEncoder.for_unet(unet, FULL_DEPTH)
        connectors = Connectors(block_out_channels=shape["block_out_channels"])
    for part in (unet, control, connectors):
        part.to_empty(device=device).to(dtype)
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
    idle = torch.nn.Identity()  # neither text encoder nor VAE takes part in a step
    supir = Supir(unet=unet, control=control, connectors=connectors, vae=idle, text=idle, robust_encoder=idle)
    if compiled:
        compile_blocks(supir, fullgraph=True)
    lay_out_channels_last(supir)
    return supir


def _sides(supir: Supir, side: int, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    device, width = supir.device, supir.unet.config["cross_attention_dim"]
    x, z_lq = torch.randn(2, 1, 4, side, side, device=device)
    texts = [
        TextConditioning(torch.randn(1, 77, width), torch.randn(1, 1280)).to(device, dtype) for _ in range(2)
    ]
    sizes = supir.time_ids(8 * side, 8 * side, 1)
    denoise = guided(
        supir,
        z_lq,
        positive=texts[1],
        negative=texts[0],
        time_ids=sizes,
        guidance_scale=LinearScale(4.0, 4.0),
        control_scale=LinearScale(1.0, 1.0),
    )

    @torch.no_grad()
    def plain(copies: int, text: TextConditioning) -> torch.Tensor:
        x_in, lq, ids = (
            tensor.repeat(copies, *[1] * (tensor.ndim - 1)) for tensor in (x.to(dtype), z_lq.to(dtype), sizes)
        )
        timestep = torch.full((copies,), TIMESTEP, device=device)
        hint, embedding = supir.control.hint(lq), supir.control.embed(text.pooled, ids)
        supir.control(x_in, timestep, hint, text.context, embedding)
        added = {"text_embeds": text.pooled, "time_ids": ids}
        return supir.unet(x_in, timestep, text.context, added_cond_kwargs=added).sample

    both = TextConditioning(
        *(torch.cat([getattr(text, name) for text in texts]) for name in ("context", "pooled"))
    )
    return {
        TWICE: lambda: [plain(1, text) for text in texts],
        BARE: lambda: plain(2, both),
        GUIDED: lambda: denoise(x, SIGMA, SIGMA),
    }


def _peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    """The most memory that one step takes above what is held before it."""
    if device.type == "cuda":
        step()
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - held
    reader, writer = os.pipe()
    if os.fork() == 0:  # a process of its own, so that no earlier peak hides this one
        torch.set_num_threads(1)
        before = _resident_peak()
        step()
        os.write(writer, str(_resident_peak() - before).encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    return int(os.read(reader, 32))


def _resident_peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
