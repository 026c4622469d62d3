"""How much memory a run takes, measured here on small pictures and drawn out to larger ones.

Place in the flow: `estimate` tells it, `memory_fit` chooses settings by it. It is what the process holds with the model
loaded, plus the larger of two peaks: everything but the network, and the network on its tile with what a picture holds
meanwhile. What grows with the picture is measured on the run's largest where that is small, else at three sizes, and
drawn out in the picture's pixels and, for strips, its width. Pictures that are restored together are measured together.
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
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL

from supir_infer.noise import Noise
from supir_infer.restore import Restorer
from supir_infer.sampling import sample
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes
from supir_model.sampler import Denoise, OnStep

PROBE_STEPS = 2
KL_SIDE_PX, MINI_SIDE_PX = 512, 1024
"""Of the pictures whose memory is drawn out to larger ones, and twice that: two strips high, and with maps so large
that glibc gives each back when it is freed (32 MiB); smaller ones are kept or not by chance."""
PROBE_START_SIGMA = 1.0
"""High enough for two steps; a step costs the same wherever it is."""
PLAIN_COLOUR = (0.4, 0.5, 0.6)
"""Of a picture that a probe restores: not grey, since that takes a copy more at the end than most photos do."""
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes by the size of a working image."""

    base: float
    per_column: float = 0.0
    per_px: float = 0.0

    def at(self, working: tuple[int, int]) -> float:
        """Returns the bytes of a working image of (width, height) px."""
        width, height = working
        return self.base + self.per_column * width + self.per_px * width * height

    @classmethod
    def through(cls, small: float, high: float, wide: float, side: int) -> Growth:
        """Returns what goes through the bytes of side × side, side × 2 side and 2 side × side px (width × height)."""
        per_px = max(0.0, (high - small) / side**2)
        per_column = max(0.0, (wide - small) / side - per_px * side)
        return cls(small - per_column * side - per_px * side**2, per_column, per_px)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the pictures that are restored together.

    `held` is taken before the run, `network` on a tile; `picture` is the peak of all but the network, and `sampled`
    what is held at most while the network is at work, both above `held`.
    """

    held: int
    network: int
    picture: Growth
    sampled: Growth

    def with_tile(self, share: float) -> Memory:
        """Returns the same with a tile of `share` of its pixels."""
        return replace(self, network=int(self.network * share))

    def peak(self, working: Sequence[tuple[int, int]]) -> float:
        """Returns the bytes of a run over working images of (width, height) px."""
        return self.held + max(0.0, *map(self.of_picture, working or [(0, 0)]))

    def of_picture(self, working: tuple[int, int]) -> float:
        """Returns the bytes that one working size takes."""
        return max(self.picture.at(working), self.sampled.at(working) + self.network)


def tile_side(settings: RestoreSettings, sizes: Sequence[Sizes]) -> int:
    """Returns the side of the tile that is measured, px: that of the largest working image."""
    longest = max((max(size.working) for size in sizes), default=max(settings.min_size_px, settings.snap_px))
    return min(settings.tile_px, longest)


def probe_of(restorer: Restorer) -> Restorer:
    """Returns the restorer in two steps, whose working image is the picture."""
    settings = restorer.settings
    changes = {"steps": PROBE_STEPS, "upscale": 1.0, "min_size_px": settings.snap_px, "strength": 1.0}
    changes["working_scale"] = 1.0
    if settings.start_sigma is not None:
        changes["start_sigma"] = PROBE_START_SIGMA
    return Restorer(restorer.supir, settings.model_copy(update=changes))


def measure_memory(restorer: Restorer, sizes: Sequence[Sizes], together: int = 1) -> Memory | None:
    """Returns the peaks of a tile and of pictures; None where they cannot be read.

    Args:
        restorer: with the run's settings.
        sizes: of the run's pictures.
        together: pictures that are restored at once.
    """
    probe, side = probe_of(restorer), tile_side(restorer.settings, sizes)
    meter = Meter(probe.supir.device)
    probe.restore(plain_picture(side, side))  # first-use allocations
    held = meter.held()
    if held is None:
        return None
    watched = _Watched(meter, with_network=True)
    Restorer(probe.supir, probe.settings, watched).restore_batch(*_batch((side, side), together))
    picture, sampled = _growths(probe, meter, sizes, together)
    return Memory(held, watched.highest - watched.start, picture, sampled)


def _growths(probe: Restorer, meter: Meter, sizes: Sequence[Sizes], together: int) -> tuple[Growth, Growth]:
    """`picture` and `sampled` of a `Memory`."""
    largest = max(sizes, key=lambda size: math.prod(size.working), default=None)
    settings, stretch = probe.settings, 1.0
    if largest is not None:
        scale = math.sqrt(math.prod(largest.working) / math.prod(largest.output))
        upscale = math.sqrt(math.prod(largest.output) / math.prod(largest.source))
        settings = settings.model_copy(update={"upscale": upscale, "working_scale": scale})
        stretch = scale * upscale

    def peaks(working: tuple[int, int]) -> tuple[int, int]:
        width, height = (max(1, round(side / stretch)) for side in working)
        watched = _Watched(meter, with_network=False)
        before = meter.held() or 0
        meter.reset()
        Restorer(probe.supir, settings, watched).restore_batch(*_batch((width, height), together))
        return max(watched.before, meter.highest()) - before, watched.highest - before

    side = KL_SIDE_PX if isinstance(probe.supir.vae, AutoencoderKL) else MINI_SIDE_PX
    side = math.ceil(side / settings.snap_px) * settings.snap_px
    if largest is not None and math.prod(largest.working) <= (2 * side) ** 2:
        picture, sampled = peaks(largest.working)
        return Growth(picture), Growth(sampled)
    small, high, wide = (peaks(working) for working in ((side, side), (side, 2 * side), (2 * side, side)))
    picture_growth, sampled_growth = (
        Growth.through(*points, side) for points in zip(small, high, wide, strict=True)
    )
    return picture_growth, sampled_growth


class _Watched:
    """Takes the denoising steps as `sample` does, by the network or, to leave its memory out, with z_lq for its answer.

    Notes the most that was held before, what was at the start, and the most until the last step.
    """

    def __init__(self, meter: Meter, *, with_network: bool) -> None:
        self._meter, self._with_network = meter, with_network
        self.before = self.start = self.highest = 0

    def __call__(
        self,
        settings: RestoreSettings,
        denoise: Denoise,
        z_lq: torch.Tensor,
        noise: Noise,
        centre: torch.Tensor | None,
        on_step: OnStep | None,
    ) -> torch.Tensor:
        self.before = self._meter.highest()
        self.start = self._meter.held() or 0
        self._meter.reset()
        chosen = denoise if self._with_network else lambda *_: z_lq.clone()
        latent = sample(settings, chosen, z_lq, noise, centre, on_step)
        self.highest = self._meter.highest()
        return latent


def plain_picture(width: int, height: int) -> npt.NDArray[np.float32]:
    """Returns a picture that a probe can restore."""
    return np.full((height, width, 3), PLAIN_COLOUR, dtype=np.float32)


def _batch(
    size: tuple[int, int], together: int
) -> tuple[list[npt.NDArray[np.float32]], list[str], list[int]]:
    """Pictures, captions and seeds."""
    return [plain_picture(*size) for _ in range(together)], [""] * together, list(range(together))


class Meter:
    """Reads what is held on a device, and the most since `reset`.

    Args:
        device: a CPU's is the process's memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._device = device
        self._trim: Callable[[int], int] | None = None
        if not self._on_gpu and CLEAR.exists():
            self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def held(self) -> int | None:
        """Bytes that are held now, with freed ones given back first; None where that cannot be read."""
        if self._on_gpu:
            return torch.cuda.memory_allocated(self._device)
        if self._trim is None:
            return None
        self._trim(0)
        return _status_bytes("VmRSS")

    def reset(self) -> None:
        """Lets `highest` begin anew."""
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._trim is not None:
            CLEAR.write_text("5")  # the high-water mark of this process, see proc(5)

    def highest(self) -> int:
        """The most bytes that were held since `reset`; 0 where that cannot be read."""
        if self._on_gpu:
            return torch.cuda.max_memory_allocated(self._device)
        return 0 if self._trim is None else _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert found, f"{STATUS} has no {name}"
    return int(found[1]) * 1024
