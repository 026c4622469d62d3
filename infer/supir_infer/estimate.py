"""What a run will cost, measured before it is spent: tiles and a few of the pictures are tried, and scaled up.

Place in the flow: `supir-infer --dry-run`. Seconds are those of a denoising step on a tile and of the VAE, measured on
tiles as small and as large as the run's own and linear in their pixels, as far as `strength` and `working_scale` do
not spare the work; and those of reading, judging and saving, measured on a few of the pictures, which threads do
meanwhile.
Memory is `memory`'s.
Limits: seconds are good to about a factor of 1.5; a busy machine gives busy figures.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from supir_console import counted
from supir_infer.choice import Choice, choose
from supir_infer.folder import SAVERS, waiting_bytes
from supir_infer.images import ImageError, picture_size, read_picture
from supir_infer.memory import PROBE_STEPS, Memory, measure_memory, plain_picture, probe_of
from supir_infer.plan import Job
from supir_infer.restore import Restorer
from supir_infer.saving import SUFFIX_OF, write_picture
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes, largest_sizes

LARGE_STRETCH = 100  # working px an output px; a short side of a tenth of min_size_px
GIB = 2**30
LOOKED_AT = 8
"""Pictures, evenly taken, that are read and saved to see what that costs and how many of them are clean."""


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds by pixels: `base` and `per_px`."""

    base: float
    per_px: float

    def at(self, px: float) -> float:
        """Returns the seconds of so many pixels."""
        return self.base + self.per_px * px

    @classmethod
    def through(cls, points: Sequence[tuple[int, float]]) -> Line:
        """Returns the line through the first and last (pixels, seconds); with one point alone it begins at 0."""
        (few, little), (many, much) = points[0], points[-1]
        if few == many:
            return cls(0.0, little / few)
        per_px = max(0.0, (much - little) / (many - few))
        return cls(max(0.0, little - per_px * few), per_px)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a step on a tile, of the VAE, and of files, by the pixels of tile, working image and result.

    `restored` is the share of the planned working px that are restored, the others being of pictures that are found
    clean, or are worked on at a smaller size; `memory` is None where it cannot be read.
    """

    step: Line
    vae: Line
    file_s_per_px: float
    restored: float
    weight_bytes: int
    memory: Memory | None


@dataclass(frozen=True, slots=True)
class PicturePlan:
    """One picture of a plan: its sizes, number and pixels of its tiles, or the reason why it cannot be restored."""

    job: Job
    sizes: Sizes | None
    num_tiles: int
    problem: str
    tile_px: int = 0

    def describe(self) -> str:
        """Returns one line for people."""
        if self.sizes is None:
            return self.problem
        sides = (self.sizes.source, self.sizes.working, self.sizes.output)
        source, working, output = (f"{width}x{height}" for width, height in sides)
        line = f"{source} -> {working} working, {counted(self.num_tiles, 'tile')} -> {output}"
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
            sizes = largest_sizes(picture_size(job.source), restorer.settings)
        except (ImageError, ValueError) as error:
            plans.append(PicturePlan(job, None, 0, str(error)))
        else:
            num_tiles = len(restorer.windows(sizes.working))
            plans.append(PicturePlan(job, sizes, num_tiles, "", _tile_px(sizes, restorer.settings)))
    return plans


def _tile_px(sizes: Sizes, settings: RestoreSettings) -> int:
    """Pixels of a tile of a working image."""
    return math.prod(min(settings.tile_px, side) for side in sizes.working)


def measure_cost(plans: Sequence[PicturePlan], restorer: Restorer, batch_size: int) -> Cost:
    """Returns the cost of the pictures on this device.

    Takes about as long as eight denoising steps on a tile, the VAE on five megapixels at most, and reading and saving a
    few of the pictures.
    """
    supir = restorer.supir
    known = [plan for plan in plans if plan.sizes]
    sizes = [plan.sizes for plan in known if plan.sizes]
    file_s_per_px, restored = _look_at(known, restorer)  # holds then what files load
    memory = measure_memory(restorer, sizes, min(batch_size, max(1, len(sizes))))  # and first-use allocations
    probe = probe_of(restorer)
    steps, vae = [], []
    for side in _sides(plans, restorer.settings):
        timings = probe.restore(plain_picture(side, side)).timings
        steps.append((side**2, timings["sample"] / PROBE_STEPS))
        vae.append((side**2, timings["encode"] + timings["decode"]))
    return Cost(
        step=Line.through(steps),
        vae=Line.through(vae),
        file_s_per_px=file_s_per_px,
        restored=restored,
        weight_bytes=sum(value.numel() * value.element_size() for value in supir.state_dict().values()),
        memory=memory,
    )


def _sides(plans: Sequence[PicturePlan], settings: RestoreSettings) -> list[int]:
    """Sides of the squares that have as many pixels as the smallest and the largest tile, px."""
    snap = settings.snap_px
    pixels = [plan.tile_px for plan in plans if plan.sizes] or [settings.tile_px**2]
    return sorted({max(1, round(math.sqrt(px) / snap)) * snap for px in (min(pixels), max(pixels))})


def _look_at(plans: Sequence[PicturePlan], restorer: Restorer) -> tuple[float, float]:
    """Seconds a result's pixel of all but the network, and the share of the planned working px that are restored."""
    chosen = plans[:: max(1, len(plans) // LOOKED_AT)][:LOOKED_AT]
    untouched = Restorer(restorer.supir, restorer.settings.model_copy(update={"strength": 0.0}))
    seconds, output, planned, restored = 0.0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for plan in chosen:
            assert plan.sizes, "asked for with plans that have sizes"
            started = time.perf_counter()
            try:
                choice = _tried(plan, untouched, restorer.settings, Path(folder))
            except Exception:  # noqa: S112 - the run will say what is wrong with it
                continue
            seconds += time.perf_counter() - started
            output += math.prod(plan.sizes.output)
            planned += math.prod(plan.sizes.working)
            restored += math.prod(choice.sizes.working) if choice.taken.most else 0
    return seconds / max(1, output), restored / planned if planned else 1.0


def _tried(plan: PicturePlan, untouched: Restorer, settings: RestoreSettings, folder: Path) -> Choice:
    """Reads a picture and saves it as it is; returns what the settings would choose for it."""
    picture = read_picture(plan.job.source)
    outcome = untouched.restore(picture.rgb)
    path = folder / f"tried{SUFFIX_OF[settings.output_format]}"
    write_picture(path, outcome.image, None, {}, picture.description, settings.output_quality)
    return choose(untouched.supir, settings, picture.rgb)


def estimate(plans: Sequence[PicturePlan], cost: Cost, restorer: Restorer) -> dict[str, object]:
    """Returns the totals of a plan: network steps, seconds and GiB, ready for JSON.

    Args:
        plans: what is to be done; what `auto` spares of it is the share that it spares of the ones looked at.
        cost: of these pictures on this device.
        restorer: that would do it.
    """
    known = [(plan, plan.sizes) for plan in plans if plan.sizes is not None]
    steps = sum(plan.num_tiles for plan in plans) * restorer.num_steps
    network = cost.restored * sum(
        plan.num_tiles * restorer.num_steps * cost.step.at(plan.tile_px)
        + cost.vae.at(math.prod(sizes.working))
        for plan, sizes in known
    )
    files = cost.file_s_per_px * sum(math.prod(sizes.output) for _, sizes in known)
    files /= min(SAVERS, os.cpu_count() or 1)
    on_cpu = restorer.supir.device.type == "cpu"
    seconds = network + files if on_cpu else max(network, files)  # a CPU does both, beside a GPU files go on
    peak = None
    if cost.memory is not None:
        at_once = min(restorer.settings.tile_batch, max((plan.num_tiles for plan in plans), default=1))
        peak = cost.memory.with_tile(at_once).peak([sizes.working for _, sizes in known])
        peak += waiting_bytes([sizes for _, sizes in known]) if on_cpu else 0
    return {
        "network_steps": steps,
        "restored_share": round(cost.restored, 2),
        "seconds": round(seconds, 1),
        "weights_gib": round(cost.weight_bytes / GIB, 2),
        "memory_gib": None if peak is None else round(peak / GIB, 2),
    }
