"""The batches that are validated: of the held-out crops that `held_out.py` chooses, the same ones every time."""

from __future__ import annotations

from supir_console import UserError
from supir_train.batch import Batch
from supir_train.collate import checked, collate, nothing_usable
from supir_train.config import TrainConfig
from supir_train.crop_maker import BadSample, CropMaker, crop_maker
from supir_train.data import open_walks
from supir_train.held_out import HeldOut, spread_crops
from supir_train.order import Draw
from supir_train.world import ALONE, World


def validation_batches(
    config: TrainConfig, chosen: HeldOut, *, images: int, degraded: bool, world: World = ALONE
) -> list[Batch]:
    """Returns this process's share of the run's held-out crops; the same ones on every call.

    Args:
        chosen: those of the run, see `choose_held_out`.
        images: largest number of crops in a batch.
        degraded: whether batches carry `lq`.
        world: the processes that share the crops.
    """
    maker = _held_out_maker(config, degraded=degraded)
    draws = chosen.draws[world.rank :: world.size]
    batches = (draws[first : first + images] for first in range(0, len(draws), images))
    return list(checked(collate(batch, [maker(draw) for draw in batch]) for batch in batches))


def choose_held_out(config: TrainConfig) -> HeldOut:
    """Returns the crops that the run validates, after a look at each photo of them.

    Raises:
        UserError: no photo is held out, or none of them can be used.
    """
    _, photos, _ = open_walks(config)
    maker = _held_out_maker(config, degraded=False)

    def why_bad(draw: Draw) -> BadSample | None:
        result = maker(draw)
        return result if isinstance(result, BadSample) else None

    chosen = spread_crops(photos.validation(), photos.num_parts, config.validation.crops, why_bad)
    if chosen.draws:
        return chosen
    if chosen.bad:
        raise nothing_usable(chosen.bad)
    raise UserError(
        f"no sample of {config.data.dataset} is held out with validation.share={config.validation.share}; "
        "raise the share, or set validation.crops=0 to train without validation"
    )


def _held_out_maker(config: TrainConfig, *, degraded: bool) -> CropMaker:
    sources, _, _ = open_walks(config)
    worded = {"crops_per_image": 1, "caption_weights": config.data.caption_weights.without_empty()}
    data = config.data.model_copy(update=worded)
    return crop_maker(config.model_copy(update={"data": data}), sources, degraded)
