"""How the images of a step are shared by processes and forward passes, which changes rounding only."""

from __future__ import annotations

from supir_console import UserError
from supir_train.optimize_config import OptimizeConfig
from supir_train.world import World


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
