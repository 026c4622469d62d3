"""How the images of a step are shared by processes and forward passes, and what happens when one takes too much memory.

Place in the flow: `step.py` and `validation.py` run their forward passes through `StepSplit.fitted`. The laws it keeps:
a split changes rounding only, since noise is keyed by image; all processes use one size, and halve it together.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from supir_console import UserError
from supir_model.out_of_memory import is_out_of_memory
from supir_train.data_config import DataConfig
from supir_train.optimize_config import OptimizeConfig
from supir_train.world import World

Result = TypeVar("Result")
log = logging.getLogger(__name__)
REMEDIES = (
    "use gradient_checkpointing=true, optimize.precision=bf16, a smaller data.crop_px, shard=full with more processes, "
    "or a device with more memory (`--fit SIZE` chooses, `--dry-run` tells what a run takes)"
)

REFUSAL_LENGTH = 160
"""Characters of what refused memory that a line repeats."""


def share(fit: OptimizeConfig, world: World, crops_per_image: int) -> int:
    """Returns the number of images in one forward pass of one process.

    Raises:
        UserError: the images of a step, or those of a photo, cannot be shared evenly.
    """
    own, left = divmod(fit.batch, world.size)
    images = fit.micro_batch or own
    if left or own % images or images % crops_per_image:
        raise UserError(
            f"batch={fit.batch} in micro-batches of {images or fit.batch} images, {crops_per_image} a photo, cannot be "
            f"shared evenly by {world.size} processes; choose batch = processes * n * micro_batch, and micro_batch a "
            "multiple of data.crops_per_image"
        )
    return images


class StepSplit:
    """The split of a process's share of a step.

    Args:
        images: in a batch of the loader.
        batches: of the loader in a step.
        crop_px: side of an image, pixels.
        world: the processes that share the step.

    `forward` is the number of images in a forward pass: `images`, or less where memory did not suffice.
    """

    def __init__(self, images: int, batches: int, crop_px: int, world: World) -> None:
        self.images, self.batches, self.crop_px = images, batches, crop_px
        self.forward = images
        self._world = world

    @classmethod
    def of(cls, fit: OptimizeConfig, data: DataConfig, world: World) -> StepSplit:
        """The split that the config asks for.

        Raises:
            UserError: as in `share`.
        """
        images = share(fit, world, data.crops_per_image)
        return cls(images, fit.batch // world.size // images, data.crop_px, world)

    def fitted(self, work: Callable[[int], Result]) -> Result:
        """Returns `work(forward)`, done again with half as many images as long as any process lacks memory for it.

        Args:
            work: begins anew at every call and waits for no other process; all processes call it.

        Raises:
            UserError: one image is too much.
        """
        while True:
            result, refusal = self._tried(work)
            if not self._world.any(bool(refusal)):
                assert result is not None, "no process failed"
                return result[0]
            if self.forward == 1:
                here = f" ({refusal})" if refusal else ""
                raise UserError(f"out of memory with one image in a forward pass{here}; {REMEDIES}")
            self._halve()

    def unhalved(self, work: Callable[[int], Result]) -> Result:
        """Returns `work(forward)`, within which the processes wait for each other and so cannot agree to halve it.

        Raises:
            UserError: memory does not suffice.
        """
        result, refusal = self._tried(work)
        if refusal:
            smaller = (
                f"set micro_batch={self.forward // 2}, the same command goes on from the last checkpoint"
            )
            raise UserError(
                f"out of memory with {self.forward} images in a forward pass, which cannot be halved under way where "
                f"shard=full; {smaller if self.forward > 1 else REMEDIES}"
            )
        assert result is not None, "it did not fail"
        return result[0]

    def _tried(self, work: Callable[[int], Result]) -> tuple[tuple[Result] | None, str]:
        """The result, in a tuple, or the words that refused memory; what the attempt held is given up on return."""
        try:
            return (work(self.forward),), ""
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None, _in_short(error)

    def _halve(self) -> None:
        before, self.forward = self.forward, self.forward // 2
        if self._world.writes:
            log.warning(
                "out of memory with %d images in a forward pass; the step is made again with %d, which changes "
                "rounding only (set micro_batch=%d to begin with it)",
                before,
                self.forward,
                self.forward,
            )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _in_short(error: BaseException) -> str:
    """The first of an error's words, in one line and never none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= REFUSAL_LENGTH else f"{text[:REFUSAL_LENGTH]}…"


@contextmanager
def lack_of_memory_told() -> Iterator[None]:
    """Turns what is left of errors for want of memory, outside of forward and backward passes, into one line.

    Raises:
        UserError: memory did not suffice.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "out of memory for what is held beside the images of a pass (weights, moments, averages): use shard=full "
            "with more processes, optimize.precision=bf16, which holds frozen networks in half, or a device with more "
            "memory (`--dry-run` tells what a run takes)"
        ) from error
