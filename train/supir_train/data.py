"""From draws to batches: read, decode, crop, degrade, word the prompt; in loader processes or in this one.

Place in the flow: `order.py` says which samples, this file makes them training pairs, `loop.py` consumes batches.
The law it keeps: everything random about a sample comes from a generator keyed by (seed, key, epoch), so a batch
is the same whichever process makes it. A sample that cannot be used is reported in the batch, never replaced.

Legend: B images a batch, S crop side in pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from supir_console import UserError
from supir_degrade import Recipe, Trace, check_recipe, degrade, load_recipe, sample_generator
from supir_degrade import draw as draw_trace
from supir_images import BadImage, decode_rgb
from supir_shards import Dataset, DatasetError
from supir_train.batch import BadSample, Batch, scaled
from supir_train.config import DataConfig, TrainConfig
from supir_train.crops import CropBox, TooSmallError, choose_box, cut
from supir_train.held_out import HeldOut, spread_crops
from supir_train.launch import end_with_trainer
from supir_train.order import Draw, Place, Position, Walk, mixed
from supir_train.words import names_a_side, negative_prompt, photo_prompt
from supir_train.world import ALONE, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """One training pair: `hq` and `lq` are RGB uint8 (S, S, 3).

    `number` is that of the image in the phase. `trace` is None where nothing is degraded, and `lq` also where the
    training device does it.
    """

    number: int
    key: str
    box: CropBox
    hq: NDArray[np.uint8]
    lq: NDArray[np.uint8] | None
    trace: Trace | None
    prompt: str


@dataclass(frozen=True, slots=True)
class _Picture:
    """A decoded picture, RGB uint8 (H, W, 3), and the words that it was made with, "" for a photo."""

    pixels: NDArray[np.uint8]
    made_with: str = ""


MOST_BAD_IN_A_ROW = 256
"""So many samples without a crop between them mean that the dataset is wrong, and not a sample."""

Made = tuple[Draw, list[Crop] | BadSample | UserError]
"""A draw with its crops, or with why it has none; a `UserError` is the run's fault and ends it."""


class CropMaker(TorchDataset[Made]):
    """Makes the crops of a draw; a copy of it works in every loader process.

    Args:
        sources: the open datasets by the name that draws give them.
        config: the `data` part of the run's config.
        recipe: degradation of the LQ side; None leaves `lq` out.
        seed: the run's seed.
    """

    def __init__(
        self, sources: dict[str, Dataset], config: DataConfig, recipe: Recipe | None, seed: int
    ) -> None:
        self._sources, self._config, self._recipe, self._seed = sources, config, recipe, seed
        self._decoded: dict[str, _Picture] = {}
        self._decoded_bytes = 0

    def __getitem__(self, draw: Draw) -> Made:
        """Returns the draw with its `crops_per_image` crops, or with why it has none."""
        try:
            picture = self._picture(draw)
            rng = sample_generator(self._seed, draw.key, draw.epoch)
            return draw, [
                self._crop(draw, picture, rng, which) for which in range(self._config.crops_per_image)
            ]
        except (BadImage, DatasetError, TooSmallError, OSError) as error:
            return draw, BadSample(key=draw.key, part=draw.part, reason=str(error))
        except UserError as error:
            # handed on as a value: raised here, the loader would put its process's traceback into the one line
            return draw, error

    def _crop(self, draw: Draw, picture: _Picture, rng: np.random.Generator, which: int) -> Crop:
        height, width = picture.pixels.shape[:2]
        config = self._config
        box = choose_box(
            rng,
            width,
            height,
            crop_px=config.crop_px,
            max_downscale=config.max_downscale,
            texture=draw.texture,
        )
        # drawn for negatives too, so that what follows does not depend on the role
        prompt = photo_prompt(
            draw.captions, box.corners, rng, weights=config.caption_weights, suffix_share=config.suffix_share
        )
        if draw.negative:
            prompt = picture.made_with
        if names_a_side(prompt):
            box = replace(box, flip=False)
        hq = cut(picture.pixels, box, config.crop_px)
        lq, trace = self._degraded(hq, rng)
        number = draw.number * config.crops_per_image + which
        return Crop(number=number, key=draw.key, box=box, hq=hq, lq=lq, trace=trace, prompt=prompt)

    def _degraded(
        self, hq: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8] | None, Trace | None]:
        """The LQ side and its trace; the trace alone where the training device makes the LQ side of it."""
        if self._recipe is None:
            return None, None
        if self._config.degrade_on == "device":
            return None, draw_trace(self._recipe, (hq.shape[0], hq.shape[1]), rng)
        return degrade(hq, self._recipe, rng)

    def _picture(self, draw: Draw) -> _Picture:
        if draw.key in self._decoded:
            return self._decoded[draw.key]
        picture = _read(self._sources[draw.source], draw)
        if self._decoded_bytes + picture.pixels.nbytes <= self._config.cache_bytes:
            self._decoded[draw.key] = picture
            self._decoded_bytes += picture.pixels.nbytes
        return picture


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
        _maker(config, sources, degraded),
        batch_sampler=_Chunks(draws, images // config.data.crops_per_image, world),
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        # a plain fork would inherit locks held by OpenCV's and Ray's threads, and wait for them for ever
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_settle,
    )
    yield from _checked(loader)


def validation_batches(
    config: TrainConfig, *, images: int, degraded: bool, world: World = ALONE
) -> list[Batch]:
    """Returns this process's share of the run's held-out crops; the same ones on every call.

    Args:
        images: largest number of crops in a batch.
        degraded: whether batches carry `lq`.
        world: the processes that share the crops.

    Raises:
        UserError: no photo is held out, or none of them can be used.
    """
    maker = _held_out_maker(config, degraded=degraded)
    draws = choose_held_out(config).draws[world.rank :: world.size]
    made = [maker[draw] for draw in draws]
    return list(_checked(collate(made[first : first + images]) for first in range(0, len(made), images)))


def choose_held_out(config: TrainConfig) -> HeldOut:
    """Returns the crops that the run validates, after a look at each photo of them.

    Raises:
        UserError: no photo is held out, or none of them can be used.
    """
    _, photos, _ = open_walks(config)
    maker = _held_out_maker(config, degraded=False)

    def why_bad(draw: Draw) -> BadSample | None:
        _, result = maker[draw]
        return result if isinstance(result, BadSample) else None

    chosen = spread_crops(photos.validation(), photos.num_parts, config.validation.crops, why_bad)
    if chosen.draws:
        return chosen
    if chosen.bad:
        raise _nothing_usable(chosen.bad)
    raise UserError(
        f"no sample of {config.data.dataset} is held out with validation.share={config.validation.share}; "
        "raise the share, or set validation.crops=0 to train without validation"
    )


def _held_out_maker(config: TrainConfig, *, degraded: bool) -> CropMaker:
    sources, _, _ = open_walks(config)
    worded = {"crops_per_image": 1, "caption_weights": config.data.caption_weights.without_empty()}
    data = config.data.model_copy(update=worded)
    return _maker(config.model_copy(update={"data": data}), sources, degraded)


def collate(made: Sequence[Made]) -> Batch | UserError:
    """Returns the crops of several draws as one batch, smaller where samples are bad, or what ends the run."""
    for _, result in made:
        if isinstance(result, UserError):
            return result
    crops = [crop for _, result in made if isinstance(result, list) for crop in result]
    bad = tuple(result for _, result in made if isinstance(result, BadSample))
    return Batch(
        numbers=tuple(crop.number for crop in crops),
        keys=tuple(crop.key for crop in crops),
        boxes=tuple(crop.box for crop in crops),
        traces=tuple(crop.trace for crop in crops if crop.trace is not None),
        hq=_tensor([crop.hq for crop in crops]),
        lq=_tensor(lq) if (lq := [crop.lq for crop in crops if crop.lq is not None]) else None,
        prompts=tuple(crop.prompt for crop in crops),
        bad=bad,
        position=made[-1][0].position,
    )


def _checked(batches: Iterable[Batch | UserError]) -> Iterator[Batch]:
    """Yields the batches, as long as not too many samples in a row were bad."""
    bad: list[BadSample] = []
    for batch in batches:
        if isinstance(batch, UserError):
            raise batch
        bad = list(batch.bad) if batch.keys else [*bad, *batch.bad]
        if len(bad) >= MOST_BAD_IN_A_ROW:
            raise _nothing_usable(bad)
        yield batch


def _nothing_usable(bad: Sequence[BadSample]) -> UserError:
    first = bad[0]
    return UserError(
        f"none of {len(bad)} samples in a row could be used, the first because: {first.key} of {first.part}: "
        f"{first.reason}; check the dataset, and that its images are not smaller than data.crop_px"
    )


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


def _maker(config: TrainConfig, sources: dict[str, Dataset], degraded: bool) -> CropMaker:
    recipe = load_recipe(config.data.recipe) if degraded else None
    return CropMaker(sources, config.data, recipe, config.seed)


def _read(source: Dataset, draw: Draw) -> _Picture:
    if not draw.negative:
        return _Picture(decode_rgb(source.read_image(draw.part, draw.row)))
    image, travelling = source.read_content(draw.part, draw.row)
    return _Picture(decode_rgb(image), negative_prompt(travelling.trace))


def _tensor(images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    if not images:
        return torch.empty(0, 3, 0, 0)
    # Pixels stay side by side in memory, which is the layout that the networks are held in.
    return scaled(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))


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
