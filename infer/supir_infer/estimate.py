"""What a run will cost, measured before it is spent: one tile is restored here and the figures are scaled up.

Place in the flow: `supir-infer --dry-run`. Seconds are those of a denoising step on one tile, times steps
and tiles, plus those of the VAE, times pixels. Memory is the weights plus the larger of two measured peaks:
one tile restored, and one VAE pass scaled to the largest picture.
Limits: good to about a factor of 1.5; a busy machine gives busy figures. On a CPU the peaks are read from
Linux's /proc and are left out elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from supir_infer.codec import Codec
from supir_infer.images import ImageError, picture_size
from supir_infer.plan import Job
from supir_infer.restore import LATENT_PX, Restorer
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes, plan_sizes

PROBE_STEPS = 2
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Cost:
    """Measured on one tile: seconds a step, VAE seconds and bytes a px, bytes of weights and of the tile."""

    step_s: float
    vae_s_per_px: float
    weight_bytes: int
    tile_bytes: int | None
    vae_bytes_per_px: float | None


@dataclass(frozen=True, slots=True)
class PicturePlan:
    """One picture of a plan: its sizes and number of tiles, or the reason why it cannot be restored."""

    job: Job
    sizes: Sizes | None
    num_tiles: int
    problem: str

    def describe(self) -> str:
        """Returns one line for people."""
        if self.sizes is None:
            return self.problem
        sides = (self.sizes.source, self.sizes.working, self.sizes.output)
        source, working, output = (f"{width}x{height}" for width, height in sides)
        return f"{source} -> {working} working, {self.num_tiles} tile(s) -> {output}"


def plan_pictures(jobs: Sequence[Job], restorer: Restorer) -> list[PicturePlan]:
    """Returns sizes and tiles of every job, from the headers of the files."""
    plans = []
    for job in jobs:
        try:
            sizes = plan_sizes(picture_size(job.source), restorer.settings)
        except (ImageError, ValueError) as error:
            plans.append(PicturePlan(job, None, 0, str(error)))
        else:
            plans.append(PicturePlan(job, sizes, len(restorer.windows(sizes.working)), ""))
    return plans


def measure_cost(restorer: Restorer) -> Cost:
    """Returns the cost of one tile on this device; takes about as long as four denoising steps on it."""
    settings, supir = restorer.settings, restorer.supir
    side = min(settings.tile_px, max(settings.min_size_px, settings.snap_px))
    probe = Restorer(
        supir, settings.model_copy(update={"steps": PROBE_STEPS, "upscale": 1.0, "min_size_px": side})
    )
    picture = np.full((side, side, 3), 0.5, dtype=np.float32)
    tile_bytes = _peak_bytes(
        supir.device, lambda: probe.restore(picture)
    )  # also pays for first-use allocations
    timings = probe.restore(picture).timings
    codec = Codec(supir, settings.vae_strip_px)
    latent = torch.zeros(1, supir.latent_channels, side // LATENT_PX, side // LATENT_PX, device=supir.device)
    with torch.no_grad():
        vae_bytes = _peak_bytes(supir.device, lambda: codec.decode(latent))
    return Cost(
        step_s=timings["sample"] / PROBE_STEPS,
        vae_s_per_px=(timings["encode"] + timings["decode"]) / side**2,
        weight_bytes=sum(value.numel() * value.element_size() for value in supir.state_dict().values()),
        tile_bytes=tile_bytes,
        vae_bytes_per_px=None if vae_bytes is None else vae_bytes / side**2,
    )


def estimate(plans: Sequence[PicturePlan], cost: Cost, settings: RestoreSettings) -> dict[str, object]:
    """Returns the totals of a plan: pictures, network steps, seconds and GiB, ready for JSON."""
    sizes = [plan.sizes for plan in plans if plan.sizes is not None]
    steps = sum(plan.num_tiles for plan in plans) * settings.steps
    pixels = [math.prod(size.working) for size in sizes]
    memory = None
    if cost.tile_bytes is not None and cost.vae_bytes_per_px is not None:
        whole_vae = 0.0 if settings.vae_strip_px else cost.vae_bytes_per_px * max(pixels, default=0)
        memory = round((cost.weight_bytes + max(cost.tile_bytes, whole_vae)) / GIB, 2)
    return {
        "network_steps": steps,
        "seconds": round(steps * cost.step_s + sum(pixels) * cost.vae_s_per_px, 1),
        "weights_gib": round(cost.weight_bytes / GIB, 2),
        "memory_gib": memory,
    }


def _peak_bytes(device: torch.device, work: Callable[[], object]) -> int | None:
    """Bytes that `work` took at its peak above what was held before; None where that cannot be read."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not clear.exists():
        work()
        return None
    clear.write_text("5")  # resets the high-water mark of this process, see proc(5)
    before = _status_bytes(status, "VmRSS")
    work()
    return max(0, _status_bytes(status, "VmHWM") - before)


def _status_bytes(status: Path, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
    assert found, f"{status} has no {name}"
    return int(found[1]) * 1024
