"""A draw becomes crops: read, decode, crop, degrade, word the prompt.

Place in the flow: `order.py` says which samples, this file makes them training pairs, in loader processes or in this
one, `collate.py` makes batches of them. The law it keeps: everything random about a sample comes from a generator keyed
by (seed, key, epoch), so its crops are the same whichever process makes them.

Legend: S crop side in pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from supir_console import Unfinished
from supir_degrade import Recipe, Trace, degrade, load_recipe, sample_generator
from supir_degrade import draw as draw_trace
from supir_images import BadImage, decode_rgb
from supir_shards import Dataset, DatasetError
from supir_train.crops import CropBox, TooSmallError, choose_box, cut
from supir_train.data_config import DataConfig
from supir_train.order import Draw
from supir_train.words import names_a_side, negative_prompt, photo_prompt

if TYPE_CHECKING:
    from supir_train.config import TrainConfig

READ_AGAIN_AFTER_S = (0.5, 2.0, 8.0, 30.0)
"""Waits for a store that gives no answer. The pictures are those of the run, and none of them is left out for it."""
Content = TypeVar("Content")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BadSample:
    """A sample that gave no crop, and why."""

    key: str
    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Picture:
    """A decoded picture, RGB uint8 (H, W, 3), and the words that it was made with, "" for a photo."""

    pixels: NDArray[np.uint8]
    made_with: str = ""


Made = list[Crop] | BadSample
"""The crops of a draw, or why it has none."""


class CropMaker:
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

    def __call__(self, draw: Draw) -> Made:
        """Returns the `crops_per_image` crops of a draw, or why it has none.

        Raises:
            UserError: what the recipe needs went away.
            Unfinished: the dataset cannot be read.
        """
        try:
            picture = self._picture(draw)
            rng = sample_generator(self._seed, draw.key, draw.epoch)
            return [self._crop(draw, picture, rng, which) for which in range(self._config.crops_per_image)]
        except (BadImage, DatasetError, TooSmallError) as error:
            return BadSample(key=draw.key, part=draw.part, reason=str(error))

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


def crop_maker(config: TrainConfig, sources: dict[str, Dataset], degraded: bool) -> CropMaker:
    """Returns the maker of the run's crops from its open datasets by name; `degraded` says whether they carry `lq`."""
    recipe = load_recipe(config.data.recipe) if degraded else None
    return CropMaker(sources, config.data, recipe, config.seed)


def _read(source: Dataset, draw: Draw) -> _Picture:
    if not draw.negative:
        return _Picture(decode_rgb(_patiently(lambda: source.read_image(draw.part, draw.row))))
    image, travelling = _patiently(lambda: source.read_content(draw.part, draw.row))
    return _Picture(decode_rgb(image), negative_prompt(travelling.trace))


def _patiently(read: Callable[[], Content]) -> Content:
    """What `read` returns, at the first try at which the store answers."""
    for wait_s in READ_AGAIN_AFTER_S:
        try:
            return read()
        except OSError:
            time.sleep(wait_s)
    try:
        return read()
    except OSError as error:
        raise Unfinished(
            f"the dataset cannot be read: {error}; when it can, the same command goes on from the last checkpoint"
        ) from error
