"""Which photos are held out, and which crops of them are validated: all that were asked for, evenly, and no leak."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from supir_shards import Dataset, is_held_out
from supir_train.batch import BadSample
from supir_train.data import training_batches
from supir_train.held_out import HeldOut, spread_crops
from supir_train.held_out_batches import choose_held_out, validation_batches
from supir_train.order import Draw, Position


def draws(part: str, *photos: tuple[str, int]) -> list[Draw]:
    """So many samples of each photo, in one part."""
    return [
        Draw(
            source="photos",
            epoch=0,
            part=part,
            row={},
            key=f"{photo}.{number}",
            source_key=photo,
            negative=False,
            texture=None,
            captions=(),
        )
        for photo, count in photos
        for number in range(count)
    ]


def spread(listed: list[Draw], crops: int, *, num_parts: int = 1, bad: str = "") -> HeldOut:
    def why_bad(draw: Draw) -> BadSample | None:
        is_bad = bool(bad) and draw.key.startswith(bad)
        return BadSample(key=draw.key, part=draw.part, reason="small") if is_bad else None

    return spread_crops(listed, num_parts, crops, why_bad)


def by_photo(chosen: HeldOut) -> Counter[str]:
    return Counter(draw.source_key for draw in chosen.draws)


def test_few_photos_give_several_different_crops_each():
    chosen = spread(draws("p", ("a", 1), ("b", 1), ("c", 1)), 8)
    assert by_photo(chosen) == {"a": 3, "b": 3, "c": 2}
    assert [draw.number for draw in chosen.draws] == list(range(8))
    assert len({(draw.key, draw.epoch) for draw in chosen.draws}) == 8
    assert chosen.num_photos == 3


def test_a_photo_of_many_samples_counts_no_more_than_one_of_one():
    chosen = spread(draws("p", ("a", 5), ("b", 1)), 6)
    assert by_photo(chosen) == {"a": 3, "b": 3}
    assert {draw.key for draw in chosen.draws} == {"a.0", "a.1", "a.2", "b.0"}


def test_crops_come_from_all_parts_alike_and_no_further_part_is_opened():
    opened = []

    def parts() -> Iterator[Draw]:
        for number in range(100):
            opened.append(number)
            yield from draws(f"p{number}", *((f"{number}-{photo}", 1) for photo in range(50)))

    chosen = spread_crops(parts(), 100, 8, lambda _: None)
    assert Counter(draw.part for draw in chosen.draws) == {f"p{number}": 1 for number in range(8)}
    assert len(opened) == 9  # the next part begins where the last one is known to end


def test_where_a_part_holds_out_too_few_the_others_fill_up():
    listed = draws("p", ("a", 1)) + draws("q", *((f"q{photo}", 1) for photo in range(20)))
    chosen = spread(listed, 8, num_parts=2)
    assert Counter(draw.part for draw in chosen.draws) == {"p": 1, "q": 7}
    assert max(by_photo(chosen).values()) == 1


def test_a_photo_that_cannot_be_used_is_replaced_and_named():
    chosen = spread(draws("p", ("a", 1), ("b", 2), ("c", 1)), 4, bad="a")
    assert by_photo(chosen) == {"b": 2, "c": 2}
    assert [sample.key for sample in chosen.bad] == ["a.0"]
    assert spread(draws("p", ("b", 2), ("c", 1)), 4, bad="b.0").draws[0].key == "b.1"
    assert spread(draws("p", ("a", 3)), 4, bad="a").draws == ()
    assert spread([], 4).draws == ()


def test_no_crop_and_no_negative_of_a_held_out_photo_trains(
    crops_of_six_photos, negatives_of_six_photos, configure, tmp_path
):
    config = configure(
        "adapter",
        tmp_path,
        data__dataset=crops_of_six_photos,
        data__negatives=negatives_of_six_photos,
        data__negative_share=0.5,
    )
    photo_of = {
        row["key"]: row["source_key"]
        for url in (crops_of_six_photos, negatives_of_six_photos)
        for part in Dataset(url).parts()
        for row in Dataset(url).index(part).to_pylist()
    }
    batches = training_batches(config, images=8, degraded=False, start=Position())
    trained = {key for batch in itertools.islice(batches, 12) for key in batch.keys}
    validated = {draw.source_key for draw in choose_held_out(config).draws}
    assert validated == {key for key in photo_of.values() if is_held_out(key, config.validation.share)}
    assert 0 < len(validated) < 6
    assert trained == {key for key, photo in photo_of.items() if photo not in validated}


def test_asked_for_32_crops_of_two_photos_there_are_32_different_ones(
    crops_of_six_photos, configure, tmp_path
):
    config = configure("encoder", tmp_path, data__dataset=crops_of_six_photos, validation__crops=32)
    batches = validation_batches(config, choose_held_out(config), images=8, degraded=True)
    pictures = {hq.numpy().tobytes() for batch in batches for hq in batch.hq}
    assert (sum(len(batch.keys) for batch in batches), len(pictures)) == (32, 32)
    again = validation_batches(config, choose_held_out(config), images=8, degraded=True)
    assert all(one.lq.equal(other.lq) for one, other in zip(batches, again, strict=True))


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_the_crops_without_gap_or_overlap(size, crops_of_six_photos, configure, tmp_path):
    from supir_train.world import World

    config = configure("encoder", tmp_path, data__dataset=crops_of_six_photos, validation__crops=10)
    numbers = [
        number
        for rank in range(size)
        for batch in validation_batches(
            config, choose_held_out(config), images=4, degraded=False, world=World(rank=rank, size=size)
        )
        for number in batch.numbers
    ]
    assert sorted(numbers) == list(range(10))
