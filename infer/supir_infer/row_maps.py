"""Whole feature maps outside the device: in main memory as far as they may, beyond it in temporary files.

Place in the flow: `kl_strips` writes a map here strip by strip, from top to bottom, and reads it back likewise.
Legend: C channels, (H, W) of a map. Rows lie one behind the other, channels innermost, the layout that convolutions are
fastest in, so that a strip is one piece of memory.
The law it keeps: a file is deleted with its map, and has no name that could be left behind; its whole room is taken
before the first strip, so that a full disk is told before work is done.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import BinaryIO

import torch
from torch import Tensor

from supir_console import UserError
from supir_infer.row_stream import Rows, split_rows

GIB = 2**30


class Maps:
    """Makes maps, in main memory as long as all that are there take no more than `most_bytes` (None: any number)."""

    def __init__(self, most_bytes: int | None) -> None:
        self._most = most_bytes
        self._held = 0

    def new(self, channels: int, height: int, width: int, dtype: torch.dtype) -> RowMap:
        """Returns an empty map."""
        size = channels * height * width * dtype.itemsize
        if self._most is not None and self._held + size > self._most:
            return RowMap((height, width, channels), dtype, _file_of(size))
        made = RowMap((height, width, channels), dtype, None)
        self._held += size
        weakref.finalize(made, self._give_back, size)
        return made

    def _give_back(self, size: int) -> None:
        self._held -= size


class RowMap:
    """A map (1, C, H, W) that is written and read in strips; `height`, `width` and `channels` are its."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, file: BinaryIO | None) -> None:
        self.height, self.width, self.channels = shape
        self._dtype, self._file = dtype, file
        self._memory = torch.empty(shape, dtype=dtype) if file is None else None
        if file is not None:
            weakref.finalize(self, file.close)

    def write(self, top: int, strip: Tensor) -> None:
        """Puts the strip (1, C, rows, W) at the rows from `top`."""
        rows = strip[0].permute(1, 2, 0)
        if self._memory is not None:
            self._memory[top : top + len(rows)] = rows
            return
        assert self._file is not None, "a map lies in memory or in a file"
        self._file.seek(top * self._row_bytes)
        left = _bytes_of(rows.cpu().contiguous())
        while left:
            left = left[self._file.write(left) :]

    def read(self, rows: int, device: torch.device) -> Rows:
        """Yields the map in strips of `rows` rows on a device; a strip may be a view, whose rows a write changes."""
        if self._memory is not None:
            yield from (strip.to(device) for strip in split_rows(self._memory.permute(2, 0, 1)[None], rows))
            return
        for top in range(0, self.height, rows):
            yield self._read(top, min(rows, self.height - top)).to(device)

    @property
    def _row_bytes(self) -> int:
        return self.width * self.channels * self._dtype.itemsize

    def _read(self, top: int, rows: int) -> Tensor:
        assert self._file is not None, "asked for maps in files alone"
        strip = torch.empty((rows, self.width, self.channels), dtype=self._dtype)
        self._file.seek(top * self._row_bytes)
        left = _bytes_of(strip)
        while left:
            left = left[self._file.readinto(left) :]  # type: ignore[attr-defined]  # of a raw file
        return strip.permute(2, 0, 1)[None]


def _bytes_of(rows: Tensor) -> memoryview:
    return rows.view(-1).view(torch.uint8).numpy().data


def _file_of(size: int) -> BinaryIO:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with its map
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        file.close()
        raise UserError(
            f"a map of {size / GIB:.1f} GiB finds no room in {tempfile.gettempdir()} ({error.strerror}); set TMPDIR "
            "to a folder with more room, or vae_maps_gib higher"
        ) from error
    return file
