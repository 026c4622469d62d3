"""`supir-infer --fit 8GB`: the settings of a run that fit a memory, one plan for robust encoder, diffusion and decoder.

Place in the flow: `cli` asks after the model is loaded and before results are looked for, since a tile's side decides
pixels. What is changed first changes none: the VAE's strips, where its maps lie, tiles at once; then tiles are halved.
Limits: as good as `memory`'s measure of one tile and of a picture without the network, `FREE_SHARE` is left free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffusers import AutoencoderKL

from supir_console import UserError
from supir_console.byte_sizes import read_bytes
from supir_infer.estimate import plan_pictures
from supir_infer.folder import waiting_bytes
from supir_infer.memory import Memory, measure_memory, tile_side
from supir_infer.out_of_memory import halved
from supir_infer.plan import Job
from supir_infer.restore import Restorer
from supir_infer.settings import RestoreSettings
from supir_model import Supir

FREE_SHARE = 0.05
"""Share of a memory that is left free, for what allocators cut to pieces."""
KL_ROWS, MINI_ROWS = 16, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Settings that fit, and the bytes that they take at most."""

    settings: RestoreSettings
    peak: float

    def describe(self) -> str:
        """Returns the plan in one line."""
        settings = self.settings
        where = "" if settings.vae_maps_gib is None else ", its maps in temporary files"
        return (
            f"robust encoder and decoder in strips of {settings.vae_strip_px} rows{where}; diffusion in tiles of "
            f"{settings.tile_px} px every {settings.tile_stride_px} px, {settings.tile_batch} at once; about "
            f"{self.peak / 1e9:.2f} GB at most"
        )


def fit(jobs: Sequence[Job], settings: RestoreSettings, supir: Supir, size: str, batch_size: int) -> Fitted:
    """Returns the settings with the largest tiles that fit.

    Args:
        jobs: all pictures of the run, done or not, so that a rerun finds the same plan.
        settings: that were asked for.
        supir: loaded; a tile and pictures of up to five megapixels in all are run on it, where it is.
        size: of the memory (a GPU's, else that of the whole process), as in 8GB.
        batch_size: pictures restored together.

    Raises:
        UserError: the size is none, memory cannot be measured here, or not even the smallest tiles fit.
    """
    room = read_bytes(size, "--fit") * (1 - FREE_SHARE)
    plans = plan_pictures(jobs, Restorer(supir, settings))
    sizes = [plan.sizes for plan in plans if plan.sizes is not None]
    working = [size.working for size in sizes]
    if supir.device.type == "cpu":
        room -= waiting_bytes(sizes)
    is_kl = isinstance(supir.vae, AutoencoderKL)
    changes: dict[str, object] = {"vae_strip_px": settings.vae_strip_px or (KL_ROWS if is_kl else MINI_ROWS)}
    if is_kl and supir.device.type == "cpu":
        changes["vae_maps_gib"] = 0.0
    asked = settings.model_copy(update=changes)
    memory = measure_memory(Restorer(supir, asked), sizes, min(batch_size, max(1, len(sizes))))
    if memory is None:
        raise UserError(
            "--fit: how much memory a run takes can be read on Linux and on CUDA alone; use --tile"
        )
    return _largest(asked, memory, working, tile_side(asked, sizes), room, size)


def _largest(
    asked: RestoreSettings,
    memory: Memory,
    working: Sequence[tuple[int, int]],
    side: int,
    room: float,
    size: str,
) -> Fitted:
    """`side` is that of the tile that was measured, px."""
    current = asked
    while True:
        pixels = current.tile_batch * min(current.tile_px, side) ** 2
        peak = memory.with_tile(pixels / side**2).peak(working)
        if peak <= room:
            return Fitted(settings=current, peak=peak)
        smaller = (
            current.model_copy(update={"tile_batch": current.tile_batch // 2})
            if current.tile_batch > 1
            else halved(current, min(current.tile_px, side))
        )
        if smaller is None:
            width, height = max(working, key=memory.of_picture, default=(0, 0))
            tile = min(current.tile_px, side)
            raise UserError(
                f"--fit {size}: the model, one tile of {tile} px and a picture of {width}x{height} "
                f"working px take {peak / 1e9:.2f} GB, {room / 1e9:.2f} GB of it are free; give more memory, "
                "--dtype bfloat16, --float8 or --offload, or a smaller --upscale, --min-size or --batch-size"
            )
        current = smaller
