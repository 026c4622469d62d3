"""How much memory a run takes, measured here on small pictures and drawn out to larger ones.

Place in the flow: `estimate` tells it, `memory_fit` chooses settings by it. It is what the process holds with the model
loaded, plus the larger of two measured peaks: one tile restored, and everything but the network, which grows with the
picture: it is measured at three sizes and drawn out to the others, in the picture's pixels and, for strips, its width.
Beside a picture at work others wait, read or to be saved, see `folder`.
Limits: on a CPU the peaks are read from Linux's /proc, after glibc was told to give freed memory back, and are left out
elsewhere; on a GPU they are those of torch's allocator.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from supir_infer.restore import Restorer
from supir_infer.settings import RestoreSettings
from supir_model.sampler import Denoise

PROBE_STEPS = 2
SIDE_PX = 512
"""Of the pictures whose memory is drawn out to larger ones, and twice that: two strips high, and more than is lost in
what libraries take."""
PROBE_START_SIGMA = 1.0
"""High enough for two steps; a step costs the same wherever it is."""
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


def tile_side(settings: RestoreSettings) -> int:
    """Returns the side of the tile that is measured, px: no larger than the smallest working image."""
    return min(settings.tile_px, max(settings.min_size_px, settings.snap_px))


def _no_steps(
    _settings: RestoreSettings, _denoise: Denoise, z_lq: torch.Tensor, *_others: object
) -> torch.Tensor:
    """Leaves of a restoration what grows with the picture and not with the tile."""
    return z_lq


def probe_of(restorer: Restorer) -> Restorer:
    """Returns the restorer in two steps, whose working image is the picture."""
    settings = restorer.settings
    changes = {"steps": PROBE_STEPS, "upscale": 1.0, "min_size_px": settings.snap_px, "strength": 1.0}
    changes["working_scale"] = 1.0
    if settings.start_sigma is not None:
        changes["start_sigma"] = PROBE_START_SIGMA
    return Restorer(restorer.supir, settings.model_copy(update=changes))


def measure_memory(restorer: Restorer) -> Memory | None:
    """Returns the peaks of one tile of `tile_side` px and of larger pictures; None where they cannot be read."""
    probe, side = probe_of(restorer), tile_side(restorer.settings)
    probe.restore(grey(side, side))
    device, snap = probe.supir.device, probe.settings.snap_px
    held = _held_bytes(device)
    if held is None:
        return None
    tile = _peak_bytes(device, partial(probe.restore, grey(side, side)))
    rest = Restorer(probe.supir, probe.settings, _no_steps)
    short = math.ceil(SIDE_PX / snap) * snap
    small, high, wide = (
        _peak_bytes(device, partial(rest.restore, grey(width, height)))
        for width, height in ((short, short), (short, 2 * short), (2 * short, short))
    )
    per_px = max(0.0, (high - small) / short**2)
    per_column = max(0.0, (wide - small) / short - per_px * short)
    return Memory(held, tile, small - per_column * short - per_px * short**2, per_column, per_px)


def grey(width: int, height: int) -> npt.NDArray[np.float32]:
    """Returns a picture that a probe can restore."""
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
