"""`supir-train --fit 24GB`: the setting of a run that fits a device's memory.

Place in the flow: `cli` calls it before the plan or the run, which then see the setting as if the config had said so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from supir_console import UserError
from supir_console.byte_sizes import read_bytes
from supir_train.config import TrainConfig
from supir_train.micro_batch import share
from supir_train.rehearsal import Rehearsal
from supir_train.world import World

FREE_SHARE = 0.08
"""Share of a memory that is left free: for the CUDA context, workspaces of convolutions and fragmentation."""
BUSY_IMAGES = 4
"""Images of a forward pass that keep a device busy at 512 px; for more of them activations are not computed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A config with the setting that fits, and the most bytes that it takes on one device."""

    config: TrainConfig
    peak: int


def fit(config: TrainConfig, size: str, world: World) -> Fitted:
    """Returns the config with the largest micro-batch that fits, its checkpointing and precision.

    Checkpointing, which costs a third more time, is on where it allows a larger micro-batch and fewer than
    `BUSY_IMAGES` fit without it; bf16 takes the place of fp32 where nothing fits without.

    Args:
        size: of the device's memory, as in 24GB; `FREE_SHARE` of it is left free.

    Raises:
        UserError: the size is none, not even the smallest setting fits, or the processes cannot share a step.
    """
    room = int(read_bytes(size, "--fit") * (1 - FREE_SHARE))
    choices = _micro_batches(config, world)
    for precision in dict.fromkeys((config.optimize.precision, "bf16")):
        settings = {
            checkpointing: [_with(config, checkpointing, images, precision) for images in choices]
            for checkpointing in (False, True)
        }
        rehearsal = Rehearsal(settings[False][0], world)
        kept = _largest(rehearsal, settings[False], room)
        if kept and _images(kept) >= min(BUSY_IMAGES, choices[-1]):
            return kept
        fitting = [found for found in (kept, _largest(rehearsal, settings[True], room)) if found]
        if fitting:
            return max(fitting, key=_images)
        least = rehearsal.peak(settings[True][0])
    raise UserError(
        f"--fit {size}: the smallest setting of this run takes {least / 1e9:.2g} GB, {room / 1e9:.2g} GB of it are "
        "free; give more memory, or a smaller data.crop_px or model"
    )


def _largest(rehearsal: Rehearsal, settings: list[TrainConfig], room: int) -> Fitted | None:
    """The last of `settings`, which grow, that fits; None where none does."""

    def tried(setting: TrainConfig) -> Fitted | None:
        peak = rehearsal.peak(setting)
        return Fitted(config=setting, peak=peak) if peak <= room else None

    # the largest holds no gradients while it makes them, so that it may fit where the one before it does not
    *others, largest = settings
    found = tried(largest)
    if found or not others:
        return found
    low, high = 0, len(others)
    while low < high:
        middle = (low + high) // 2
        fits = tried(others[middle])
        found = fits or found
        low, high = (middle + 1, high) if fits else (low, middle)
    return found


def _micro_batches(config: TrainConfig, world: World) -> list[int]:
    """The numbers of images that a forward pass of this run may have, smallest first.

    Raises:
        UserError: the processes cannot share a step evenly.
    """
    fits = [config.optimize, *([config.autoencoder] if config.autoencoder.steps else [])]
    crops = config.data.crops_per_image
    for one in fits:
        share(one.model_copy(update={"micro_batch": crops}), world, crops)
    own = min(one.batch // world.size for one in fits)
    return [
        images
        for images in range(1, own + 1)
        if images % crops == 0 and all(one.batch % (world.size * images) == 0 for one in fits)
    ]


def _with(
    config: TrainConfig, checkpointing: bool, images: int, precision: Literal["fp32", "bf16"]
) -> TrainConfig:
    update = {"micro_batch": images, "precision": precision}
    changed: dict[str, Any] = {"gradient_checkpointing": checkpointing}
    changed |= {"optimize": config.optimize.model_copy(update=update)}
    if config.autoencoder.steps:
        changed |= {"autoencoder": config.autoencoder.model_copy(update=update)}
    return config.model_copy(update=changed)


def _images(fitted: Fitted) -> int:
    return fitted.config.optimize.images_per_forward
