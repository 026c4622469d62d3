"""Which held-out crops a run validates: as many as were asked for, spread evenly over the photos that are held out.

Place in the flow: `order.py` yields what is held out, `held_out_batches.py` makes the chosen crops. The law it keeps:
every photo gives as many crops as any other, or one more, so that neither a photo with many stored crops nor the first
part of the dataset stands for the whole; where photos are few, each gives several.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from supir_train.crop_maker import BadSample
from supir_train.order import Draw


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The chosen crops, numbered from 0; the number of photos that they come from; the samples passed over, and why."""

    draws: tuple[Draw, ...]
    num_photos: int
    bad: tuple[BadSample, ...]


def spread_crops(
    held_out: Iterable[Draw], num_parts: int, crops: int, why_bad: Callable[[Draw], BadSample | None]
) -> HeldOut:
    """Returns `crops` crops of the held-out samples, none if no sample can be used.

    Reads no further than it must: as soon as there is a photo for each crop, no other part is opened.

    Args:
        held_out: the held-out samples, part by part.
        num_parts: parts of the dataset.
        crops: how many are wanted.
        why_bad: says of a sample why no crop can be made of it.
    """
    bad: dict[str, BadSample] = {}
    checked: set[str] = set()

    def usable(draw: Draw) -> bool:
        if draw.key not in checked:
            checked.add(draw.key)
            if found := why_bad(draw):
                bad[draw.key] = found
        return draw.key not in bad

    candidates = _photos(held_out, math.ceil(crops / num_parts), crops)
    photos = list(itertools.islice((photo for photo in candidates if any(map(usable, photo))), crops))
    rounds = -(-crops // len(photos)) if photos else 0
    spread = ((turn, _turn(photo, turn, usable)) for turn in range(rounds) for photo in photos)
    draws = enumerate(itertools.islice(spread, crops))
    return HeldOut(
        # The epoch is part of what a crop's randomness is keyed by, so each turn takes another crop.
        draws=tuple(replace(draw, epoch=turn, number=number) for number, (turn, draw) in draws),
        num_photos=len(photos),
        bad=tuple(bad.values()),
    )


def _turn(photo: list[Draw], turn: int, usable: Callable[[Draw], bool]) -> Draw:
    """The sample that gives a photo's crop number `turn`; its samples take turns."""
    samples = [sample for sample in photo[: turn + 1] if usable(sample)] or [next(filter(usable, photo))]
    return samples[turn % len(samples)]


def _photos(held_out: Iterable[Draw], quota: int, enough: int) -> Iterator[list[Draw]]:
    """Yields the samples of each photo: of every part the first `quota` photos by key, then the others."""
    first: dict[str, list[Draw]] = {}
    others: dict[str, list[Draw]] = {}
    for _, part in itertools.groupby(held_out, key=lambda draw: draw.part):
        # Keys are hashes, so their order has nothing to do with what the photos show.
        ordered = sorted(part, key=lambda draw: (draw.source_key, draw.key))
        for number, (source_key, samples) in enumerate(
            itertools.groupby(ordered, key=lambda draw: draw.source_key)
        ):
            known = first if source_key in first or number < quota else others
            known.setdefault(source_key, []).extend(samples)
        if len(first) >= enough:
            break
    for source_key in others.keys() & first.keys():
        first[source_key] += others.pop(source_key)
    yield from first.values()
    yield from others.values()
