"""From the config to batches: the open datasets, the order of training, the loader processes.

Place in the flow: `order.py` says which samples, `crop_maker.py` makes them training pairs, `loop.py` consumes batches.
The law it keeps: a batch is the same whichever process makes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.data import DataLoader

from supir_degrade import check_recipe, load_recipe
from supir_shards import Dataset
from supir_train.batch import Batch
from supir_train.collate import checked, collate
from supir_train.config import TrainConfig
from supir_train.crop_maker import crop_maker
from supir_train.launch import end_with_trainer
from supir_train.order import Draw, Place, Position, Walk, mixed
from supir_train.world import ALONE, World


def check_data(config: TrainConfig) -> int:
    """Returns the number of samples of the dataset, after a look at all that training will read of it.

    Raises:
        DatasetError: a dataset or the captions are not there or not finished.
        UserError: the recipe is not there or wrong, or a stage that degrades lacks what it needs.
    """
    sources, photos, negatives = open_walks(config)
    recipe = load_recipe(config.data.recipe)
    if config.stage != "prior":
        check_recipe(recipe)
    for walk in (photos, negatives):
        if walk:
            next(walk.training(Place()))
    return sources["photos"].num_samples


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
) -> Iterator[Batch]:
    """Yields for ever the batches of training after `start` that are this process's.

    All processes walk the same order; of each `world.size` batches that follow each other, each takes one.

    Args:
        images: crops in a batch, a multiple of `crops_per_image`.
        degraded: whether batches carry `lq`.
        world: the processes that share the batches.

    Raises:
        UserError: the dataset holds nothing to train on, none of `MOST_BAD_IN_A_ROW` samples can be used, or what
            the recipe needs went away.
    """
    sources, photos, negatives = open_walks(config)
    draws = mixed(photos, negatives, config.data.negative_share, start)
    workers = config.data.workers
    loader = DataLoader(
        crop_maker(config, sources, degraded),
        batch_sampler=_Chunks(draws, images // config.data.crops_per_image, world),
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        # a plain fork would inherit locks held by OpenCV's and Ray's threads, and wait for them for ever
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_settle,
    )
    yield from checked(loader)


class _Chunks:
    """This process's lists of `size` draws, as DataLoader wants a batch sampler to give them.

    A list's position is that after the lists of all processes, which is where training then stands.
    """

    def __init__(self, draws: Iterator[Draw], size: int, world: World) -> None:
        self._draws, self._size, self._world = draws, size, world

    def __iter__(self) -> Iterator[list[Draw]]:
        first = self._world.rank * self._size
        while True:
            everyone = list(itertools.islice(self._draws, self._size * self._world.size))
            own = everyone[first : first + self._size]
            yield [*own[:-1], replace(own[-1], position=everyone[-1].position)]


def _settle(_worker: int) -> None:
    # A loader process must not fight the training process for cores, and a signal to the whole process group is
    # the training process's to handle: it still needs its batches until the checkpoint is written.
    import signal

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    end_with_trainer()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
