"""What a training step is fed: a batch of pairs, where it stands in the data, and its way onto the device.

Place in the flow: `collate.py` makes batches, `loop.py` and the stages take them. The law it keeps: a batch whose LQ
side is still to be made holds the traces that make it, so it is the same on every call of `to` for one kind of device.

Legend: B images a batch, S crop side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from supir_degrade import Trace
from supir_degrade.batch import replay_batch
from supir_train.crop_maker import BadSample
from supir_train.crops import CropBox
from supir_train.order import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Training pairs; B may be 0, where no sample of it could be used.

    `hq`, `lq`: (B, 3, S, S), uint8 as they are loaded, and after `to` as the networks take them, float32 in [-1, 1];
    `lq` is None where nothing is degraded, or not yet: see `to`.
    `numbers`: which image of the phase each one is. `position`: where training stands after this batch.
    `keys`, `boxes` and `traces` (none where nothing is degraded) say what each pair was made from.
    `replaced_loaders`: loader processes that died since the batch before.
    """

    numbers: tuple[int, ...]
    keys: tuple[str, ...]
    boxes: tuple[CropBox, ...]
    traces: tuple[Trace, ...]
    hq: torch.Tensor
    lq: torch.Tensor | None
    prompts: tuple[str, ...]
    bad: tuple[BadSample, ...]
    position: Position
    replaced_loaders: int = 0

    def parts(self, images: int) -> Iterator[Batch]:
        """Yields the batch in parts of at most so many images, in their order; an empty one as it is."""
        for first in range(0, max(len(self.keys), 1), images):
            yield self.part(slice(first, first + images))

    def part(self, images: slice) -> Batch:
        """Returns some of the images; what the batch says of its position and of bad samples stays."""
        return replace(
            self,
            numbers=self.numbers[images],
            keys=self.keys[images],
            boxes=self.boxes[images],
            traces=self.traces[images],
            prompts=self.prompts[images],
            hq=self.hq[images],
            lq=None if self.lq is None else self.lq[images],
        )

    def to(self, device: torch.device) -> Batch:
        """Returns the loaded batch for the networks on `device`; there its traces make `lq`, if the loader did not."""
        hq = _moved(self.hq, device)
        lq = None if self.lq is None else _moved(self.lq, device)
        if lq is None and self.traces:
            lq = replay_batch(hq, self.traces)
        return replace(self, hq=scaled(hq), lq=None if lq is None else scaled(lq))


def scaled(pixels: torch.Tensor) -> torch.Tensor:
    """Returns float32 (B, 3, S, S) in [-1, 1] of uint8 (B, 3, S, S), in the same memory layout.

    The same bits on every device: CUDA multiplies by the inverse of a number, and divides by a tensor as CPUs do.
    """
    return pixels.float().div(torch.full((), 127.5, device=pixels.device)).sub(1.0)


def _moved(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The bytes on `device`; a GPU fetches them by itself out of pinned memory, while this process goes on."""
    return (pixels.pin_memory() if device.type == "cuda" else pixels).to(device, non_blocking=True)
