"""What a run will cost, measured before it is spent: one tile is restored here and the figures are scaled up.

Place in the flow: `supir-infer --dry-run`. Seconds are those of a denoising step on one tile, times steps
and tiles, plus those of the VAE, times pixels. Memory is what the process holds with the model loaded, plus the
larger of two measured peaks: one tile restored, and everything but the network, which grows with the picture: it
is measured at three sizes and drawn out to the others, in the picture's pixels and, for strips, its width.
Limits: good to about a factor of 1.5; a busy machine gives busy figures. On a CPU the peaks are read from
Linux's /proc, after glibc was told to give freed memory back, and are left out elsewhere; on a GPU they are
those of torch's allocator.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from supir_infer.images import ImageError, picture_size
from supir_infer.plan import Job
from supir_infer.restore import Restorer
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes, plan_sizes

PROBE_STEPS = 2
SIDE_PX = 512
"""Of the pictures whose memory is drawn out to larger ones, and twice that: two strips high, and more than is lost in
what libraries take."""
PROBE_START_SIGMA = 1.0
"""High enough for two steps; a step costs the same wherever it is."""
LARGE_STRETCH = 100  # working px an output px; a short side of a tenth of min_size_px
GIB = 2**30
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes held before the run, and the two peaks above that: of one tile, and of a picture by its size."""

    held: int
    tile: int
    base: float
    per_column: float
    per_px: float

    def with_tile(self, share: float) -> Memory:
        """Returns the same with a tile of `share` of its pixels."""
        return replace(self, tile=int(self.tile * share))

    def picture(self, working: tuple[int, int]) -> float:
        """Returns the bytes of a working image of (width, height) px, without the network."""
        width, height = working
        return self.base + self.per_column * width + self.per_px * width * height

    def peak(self, working: Sequence[tuple[int, int]], batch_size: int) -> float:
        """Returns the bytes of a run over working images of (width, height) px."""
        return self.held + batch_size * max(self.tile, *map(self.picture, working), 0)


@dataclass(frozen=True, slots=True)
class Cost:
    """Measured on one tile: seconds a step, VAE seconds a px, bytes of weights; memory where it can be read."""

    step_s: float
    vae_s_per_px: float
    weight_bytes: int
    memory: Memory | None


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
        line = f"{source} -> {working} working, {self.num_tiles} tile(s) -> {output}"
        return f"{line}; {self.warning()}" if self.warning() else line

    def warning(self) -> str:
        """Returns what is out of proportion, "" where nothing is."""
        if self.sizes is None:
            return ""
        stretch = math.prod(self.sizes.working) / math.prod(self.sizes.output)
        if stretch < LARGE_STRETCH:
            return ""
        megapixels = math.prod(self.sizes.working) / 1e6
        return (
            f"warning: its short side is stretched to min_size_px, {stretch:.0f} times the output's pixels "
            f"({megapixels:.1f} MP): crop the picture or lower --min-size"
        )


def plan_pictures(jobs: Sequence[Job], restorer: Restorer) -> list[PicturePlan]:
    """Returns sizes and tiles of every job, from the headers of the files."""
    plans = []
    for job in jobs:
        if job.problem:
            plans.append(PicturePlan(job, None, 0, job.problem))
            continue
        try:
            sizes = plan_sizes(picture_size(job.source), restorer.settings)
        except (ImageError, ValueError) as error:
            plans.append(PicturePlan(job, None, 0, str(error)))
        else:
            plans.append(PicturePlan(job, sizes, len(restorer.windows(sizes.working)), ""))
    return plans


def tile_side(settings: RestoreSettings) -> int:
    """Returns the side of the tile that is measured, px: no larger than the smallest working image."""
    return min(settings.tile_px, max(settings.min_size_px, settings.snap_px))


def measure_cost(restorer: Restorer) -> Cost:
    """Returns the cost of one tile on this device; takes about as long as four denoising steps on it."""
    supir, side = restorer.supir, tile_side(restorer.settings)
    memory = measure_memory(restorer)  # also pays for first-use allocations
    timings = _probe(restorer).restore(_grey(side, side)).timings
    return Cost(
        step_s=timings["sample"] / PROBE_STEPS,
        vae_s_per_px=(timings["encode"] + timings["decode"]) / side**2,
        weight_bytes=sum(value.numel() * value.element_size() for value in supir.state_dict().values()),
        memory=memory,
    )


def estimate(plans: Sequence[PicturePlan], cost: Cost, num_steps: int, batch_size: int) -> dict[str, object]:
    """Returns the totals of a plan: pictures, network steps, seconds and GiB, ready for JSON.

    Args:
        plans: what is to be done; with `strength: auto` it is less, by the pictures that turn out to be clean.
        cost: of this device.
        num_steps: of a tile.
        batch_size: pictures restored together.
    """
    sizes = [plan.sizes for plan in plans if plan.sizes is not None]
    steps = sum(plan.num_tiles for plan in plans) * num_steps
    pixels = [math.prod(size.working) for size in sizes]
    together = min(batch_size, max(1, len(sizes)))
    working = [size.working for size in sizes]
    peak = None if cost.memory is None else cost.memory.peak(working, together)
    return {
        "network_steps": steps,
        "seconds": round(steps * cost.step_s + sum(pixels) * cost.vae_s_per_px, 1),
        "weights_gib": round(cost.weight_bytes / GIB, 2),
        "memory_gib": None if peak is None else round(peak / GIB, 2),
    }


class _WithoutNetwork(Restorer):
    """Everything of a restoration but the sampling: what grows with the picture and not with the tile."""

    def _sample(self, *arguments: Any) -> torch.Tensor:
        unit_noise: torch.Tensor = arguments[1]
        return unit_noise


def _probe(restorer: Restorer) -> Restorer:
    """The restorer in two steps, whose working image is the picture."""
    settings = restorer.settings
    changes = {"steps": PROBE_STEPS, "upscale": 1.0, "min_size_px": settings.snap_px, "strength": 1.0}
    if settings.start_sigma is not None:
        changes["start_sigma"] = PROBE_START_SIGMA
    return Restorer(restorer.supir, settings.model_copy(update=changes))


def measure_memory(restorer: Restorer) -> Memory | None:
    """Returns the peaks of one tile of `tile_side` px and of larger pictures; None where they cannot be read."""
    probe, side = _probe(restorer), tile_side(restorer.settings)
    probe.restore(_grey(side, side))
    device, snap = probe.supir.device, probe.settings.snap_px
    held = _held_bytes(device)
    if held is None:
        return None
    tile = _peak_bytes(device, partial(probe.restore, _grey(side, side)))
    rest = _WithoutNetwork(probe.supir, probe.settings)
    short = math.ceil(SIDE_PX / snap) * snap
    small, high, wide = (
        _peak_bytes(device, partial(rest.restore, _grey(width, height)))
        for width, height in ((short, short), (short, 2 * short), (2 * short, short))
    )
    per_px = max(0.0, (high - small) / short**2)
    per_column = max(0.0, (wide - small) / short - per_px * short)
    return Memory(held, tile, small - per_column * short - per_px * short**2, per_column, per_px)


def _grey(width: int, height: int) -> npt.NDArray[np.float32]:
    return np.full((height, width, 3), 0.5, dtype=np.float32)


def _held_bytes(device: torch.device) -> int | None:
    """Bytes that are held now, with freed ones given back first; None where that cannot be read."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if CLEAR.exists() else None
    if trim is None:
        return None
    trim(0)
    return _status_bytes("VmRSS")


def _peak_bytes(device: torch.device, work: Callable[[], object]) -> int:
    """Bytes that `work` took at its peak above what was held before."""
    before = _held_bytes(device)
    assert before is not None, "asked for only where it can be read"
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    CLEAR.write_text("5")  # resets the high-water mark of this process, see proc(5)
    work()
    return max(0, _status_bytes("VmHWM") - before)


def _status_bytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found, f"{STATUS} has no {name}"
    return int(found[1]) * 1024
