"""What to do where memory does not suffice: the next smaller way to sample.

Place in the flow: `restore` goes on with less, as this says.
The law it keeps: what is given up first changes no pixel (strips, tiles of a batch), then the tile's side, and the
result says so.
"""

from __future__ import annotations

import sys

import torch

from supir_console import counted
from supir_infer.settings import RestoreSettings

LEAST_TILE_PX = 64
GRID_PX = 32


def smaller(settings: RestoreSettings, working: tuple[int, int]) -> RestoreSettings | None:
    """Returns the settings with half the tiles at once, or tiles of half the side; None where they cannot be smaller.

    Args:
        settings: that did not fit.
        working: width and height of the working image, px; a tile is no larger.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if settings.tile_batch > 1:
        batch = settings.tile_batch // 2
        sys.stderr.write(f"out of memory: goes on with {counted(batch, 'tile')} at once\n")
        return settings.model_copy(update={"tile_batch": batch})
    tile = halved(settings, min(settings.tile_px, max(working)))
    if tile is not None:
        sys.stderr.write(f"out of memory: goes on in tiles of {tile.tile_px} px\n")
    return tile


def halved(settings: RestoreSettings, used_px: int) -> RestoreSettings | None:
    """Returns the settings with tiles of half the side `used_px` and the same overlap; None under `LEAST_TILE_PX`."""
    tile = used_px // 2 // GRID_PX * GRID_PX
    if tile < LEAST_TILE_PX:
        return None
    stride = max(GRID_PX, settings.tile_stride_px * tile // settings.tile_px // 8 * 8)
    return settings.model_copy(update={"tile_px": tile, "tile_stride_px": stride})
