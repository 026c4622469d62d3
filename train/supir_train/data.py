"""From the config to batches: the open datasets, the order of training, the loader processes.

Place in the flow: `order.py` says which samples, `crop_maker.py` makes them training pairs, `loop.py` consumes batches.
The law it keeps: a batch is the same whichever process makes it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace

from supir_console import UserError
from supir_degrade import check_recipe, load_recipe
from supir_degrade.requirements import late_modules
from supir_shards import Dataset, Role
from supir_train.batch import Batch
from supir_train.collate import checked, collate
from supir_train.config import TrainConfig
from supir_train.crop_maker import CropMaker, crop_maker
from supir_train.loaders import Loaders
from supir_train.order import Draw, Place, Position, Walk, mixed
from supir_train.world import ALONE, World

log = logging.getLogger(__name__)


def check_data(config: TrainConfig) -> int:
    """Returns the number of samples of the dataset, after a look at all that training will read of it.

    Raises:
        DatasetError: a dataset or the captions are not there or not finished.
        UserError: the recipe is not there or wrong, a stage that degrades lacks what it needs, all photos are held
            out, or there are no negatives among the negatives.
    """
    sources, photos, negatives = open_walks(config)
    if negatives and not sources["negatives"].manifest.totals.samples.get(Role.NEGATIVE):
        raise UserError(
            f"data.negatives: {config.data.negatives} holds no sample of role negative; make it with `supir-degrade "
            "negatives`, or set data.negatives=null"
        )
    recipe = load_recipe(config.data.recipe)
    if config.stage != "prior":
        check_recipe(recipe)
    for walk in (photos, negatives):
        if walk:
            next(walk.training(Place()))
    _tell_of_missing_captions(sources["photos"], config.data.captions)
    return sources["photos"].num_samples


def _tell_of_missing_captions(photos: Dataset, name: str | None) -> None:
    """Warns where there are fewer captions than samples; of some pictures there may be several."""
    totals = photos.manifest.totals
    missing = totals.num_samples - totals.captions.get(name, 0) if name else 0
    if missing > 0:
        log.warning(
            "at least %d of %d samples have no caption by %s and are learned without one; run supir-caption to the end",
            missing,
            totals.num_samples,
            name,
        )


def open_walks(config: TrainConfig) -> tuple[dict[str, Dataset], Walk, Walk | None]:
    """Returns the open datasets by name, the walk over the photos, and the one over the negatives if there are any."""
    data = config.data
    photos = Dataset(data.dataset)
    share = config.validation.share if config.validation.crops else 0.0
    walk = Walk(
        photos,
        "photos",
        captions=data.captions,
        seed=config.seed,
        shuffle_parts=data.shuffle_parts,
        validation_share=share,
    )
    if not data.negatives or not data.negative_share:
        return {"photos": photos}, walk, None
    negatives = Dataset(data.negatives)
    negative_walk = Walk(
        negatives,
        "negatives",
        captions=None,
        seed=config.seed,
        shuffle_parts=data.shuffle_parts,
        validation_share=share,
    )
    return {"photos": photos, "negatives": negatives}, walk, negative_walk


def training_batches(
    config: TrainConfig, *, images: int, degraded: bool, start: Position, world: World = ALONE
) -> Generator[Batch, None, None]:
    """Yields for ever the batches of training after `start` that are this process's.

    Loader processes live until this is closed. All processes of the run walk the same order; of each `world.size`
    batches that follow each other, each takes one.

    Args:
        images: crops in a batch, a multiple of `crops_per_image`.
        degraded: whether batches carry `lq`.
        world: the processes that share the batches.

    Raises:
        UserError: the dataset holds nothing to train on, none of `MOST_BAD_IN_A_ROW` samples can be used, or what
            the recipe needs went away.
        Unfinished: loader processes die again and again.
    """
    sources, photos, negatives = open_walks(config)
    draws = mixed(photos, negatives, config.data.negative_share, start)
    work = _own(draws, images // config.data.crops_per_image, world)
    maker, workers = crop_maker(config, sources, degraded), config.data.workers
    if not workers:
        yield from checked(_made_here(maker, work))
        return
    # also where this phase degrades nothing: what the fork server imports is settled with the first loader
    late = late_modules(load_recipe(config.data.recipe)) if config.stage != "prior" else ()
    with closing(_loaded(Loaders(maker, workers, late), work)) as batches:
        yield from checked(batches)


def _made_here(maker: CropMaker, work: Iterator[list[Draw]]) -> Iterator[Batch]:
    for draws in work:
        yield collate(draws, [maker(draw) for draw in draws])


def _loaded(loaders: Loaders, work: Iterator[list[Draw]]) -> Generator[Batch, None, None]:
    with closing(loaders.made_in_order(work)) as made_in_order:
        for draws, made in made_in_order:
            yield replace(collate(draws, made), replaced_loaders=loaders.take_deaths())


def _own(draws: Iterator[Draw], size: int, world: World) -> Iterator[list[Draw]]:
    """Yields this process's lists of `size` draws.

    A list's position is that after the lists of all processes, which is where training then stands.
    """
    first = world.rank * size
    while True:
        everyone = list(itertools.islice(draws, size * world.size))
        own = everyone[first : first + size]
        yield [*own[:-1], replace(own[-1], position=everyone[-1].position)]
