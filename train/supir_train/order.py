"""The order in which training sees samples: an endless, seeded walk over a dataset that can start anywhere.

Place in the flow: indexes and captions of `supir_shards` in, `Draw`s out; `crop_maker.py` turns a draw into crops.
The laws it keeps: the order depends on (seed, epoch) alone, so neither the number of workers nor a stop moves
it; and each sample that is not held out comes exactly once an epoch.

Samples are shuffled within groups of `shuffle_parts` parts, and the groups themselves are shuffled, so that the
indexes of one group are all that is held in memory, whatever the size of the dataset.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_shards import Caption, Dataset, Role, caption_path, index_path, is_held_out, read_captions
from supir_train.provenance import require_recorded

Source = Literal["photos", "negatives"]
COLUMNS = (
    "key",
    "source_key",
    "role",
    "offset",
    "bytes",
    "json_bytes",
    "extension",
    "sha256",
    "texture",
    "texture_rows",
    "texture_cols",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A point in the walk over one dataset: how many samples of which group of which epoch have been given."""

    epoch: int = 0
    group: int = 0
    given: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A point in training's walk: the number of draws so far and the place in each of the two datasets."""

    draws: int = 0
    photos: Place = field(default_factory=Place)
    negatives: Place = field(default_factory=Place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One sample to be loaded, with all that its worker needs beside the image bytes.

    Attributes:
        source: which of the two datasets it lies in.
        epoch: number of the pass over that dataset.
        part: its part; `row` is what its index says of it.
        source_key: key of the photo that it was made from.
        negative: whether its role is negative.
        texture: uint8 (rows, columns) over the whole image, or None.
        number: how many draws came before it in the phase.
        position: where training stands after this draw.
    """

    source: Source
    epoch: int
    part: str
    row: dict[str, Any]
    key: str
    source_key: str
    negative: bool
    texture: NDArray[np.uint8] | None
    captions: tuple[Caption, ...]
    number: int = 0
    position: Position = field(default_factory=Position)


class Walk:
    """The samples of one dataset in training order, or those held out from it.

    Args:
        dataset: the dataset, already open.
        source: how draws name this dataset.
        captions: name of the caption set to attach, or None.
        seed: the run's seed.
        shuffle_parts: number of parts whose samples are shuffled together.
        validation_share: share of the source photos that training skips, 0 to 1.
    """

    def __init__(
        self,
        dataset: Dataset,
        source: Source,
        *,
        captions: str | None,
        seed: int,
        shuffle_parts: int,
        validation_share: float,
    ) -> None:
        self._dataset, self._source, self._captions = dataset, source, captions
        self._seed, self._shuffle_parts, self._validation_share = seed, shuffle_parts, validation_share
        self._parts = dataset.parts()
        self._loaded: tuple[tuple[str, ...], list[Draw]] = ((), [])

    def training(self, start: Place) -> Iterator[tuple[Place, Draw]]:
        """Yields for ever the draws after `start`, each with the place that follows it.

        Raises:
            UserError: a whole epoch holds no sample to train on.
        """
        place = start
        while True:
            given_in_epoch = place.group + place.given
            for names in self._groups(place.epoch)[place.group :]:
                draws = [draw for draw in self._group(names) if not self._held_out(draw)]
                order = _generator(self._seed, self._source, place.epoch, *names).permutation(len(draws))
                for index in order[place.given :]:
                    place = replace(place, given=place.given + 1)
                    given_in_epoch += 1
                    yield place, replace(draws[index], epoch=place.epoch)
                place = Place(epoch=place.epoch, group=place.group + 1)
            if not given_in_epoch:
                raise self._nothing_to_train_on()
            place = Place(epoch=place.epoch + 1)

    def validation(self) -> Iterator[Draw]:
        """Yields the held-out photos and their crops part by part, the parts in an order that jumps about."""
        for part in _generator(self._seed, self._source, "validation").permutation(self._parts).tolist():
            yield from (draw for draw in self._group((part,)) if self._held_out(draw) and not draw.negative)

    def _nothing_to_train_on(self) -> UserError:
        total, url = self._dataset.num_samples, self._dataset.store.url
        why = (
            f"all of its {total} are held out with validation.share={self._validation_share:g}; lower it, or set "
            "validation.crops=0 to train without validation"
            if total
            else "it is empty; its report tells what was dropped and why"
        )
        return UserError(f"the dataset of {self._source}, {url}, holds no sample to train on: {why}")

    @property
    def num_parts(self) -> int:
        """Parts of the dataset."""
        return len(self._parts)

    def _held_out(self, draw: Draw) -> bool:
        return is_held_out(draw.source_key, self._validation_share)

    def _groups(self, epoch: int) -> list[tuple[str, ...]]:
        order = _generator(self._seed, self._source, epoch).permutation(len(self._parts))
        shuffled = [self._parts[index] for index in order]
        size = self._shuffle_parts
        return [tuple(sorted(shuffled[first : first + size])) for first in range(0, len(shuffled), size)]

    def _group(self, parts: tuple[str, ...]) -> list[Draw]:
        if self._loaded[0] != parts:
            self._loaded = (parts, [draw for part in parts for draw in self._part(part)])
        return self._loaded[1]

    def _part(self, part: str) -> Iterator[Draw]:
        require_recorded(self._dataset, index_path(part))
        if self._captions:
            require_recorded(self._dataset, caption_path(self._captions, part))
        captions = read_captions(self._dataset.store, self._captions, part) if self._captions else {}
        for row in self._dataset.index(part).select(COLUMNS).to_pylist():
            texture = row.pop("texture")
            shape = row.pop("texture_rows"), row.pop("texture_cols")
            yield Draw(
                source=self._source,
                epoch=0,
                part=part,
                row=row,
                key=row["key"],
                source_key=row["source_key"],
                negative=row["role"] == Role.NEGATIVE,
                texture=np.frombuffer(texture, np.uint8).reshape(shape) if texture else None,
                captions=tuple(captions.get(row["key"], ())),
            )


def mixed(photos: Walk, negatives: Walk | None, share: float, start: Position) -> Iterator[Draw]:
    """Yields for ever the draws of training after `start`: photos, and `share` of negatives spread evenly.

    Args:
        share: share of draws that are negatives, 0 to 1; draw n is one when floor(n·share) grows at n.
    """
    position = start
    photo_draws = photos.training(start.photos)
    negative_draws = negatives.training(start.negatives) if negatives else iter(())
    for number in itertools.count(start.draws):
        if negatives and math.floor((number + 1) * share) > math.floor(number * share):
            place, draw = next(negative_draws)
            position = replace(position, draws=number + 1, negatives=place)
        else:
            place, draw = next(photo_draws)
            position = replace(position, draws=number + 1, photos=place)
        yield replace(draw, number=number, position=position)


def _generator(*identity: int | str) -> np.random.Generator:
    digest = hashlib.sha256("/".join(str(part) for part in identity).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
