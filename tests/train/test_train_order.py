"""The walk over a dataset: every sample once an epoch, startable anywhere, the same for any number of workers."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from supir_console import UserError
from supir_shards import Dataset, is_held_out
from supir_train.data import training_batches
from supir_train.order import Place, Position, Walk, mixed

NUM_PHOTOS = 24


def walk(dataset: str, *, seed: int = 0, share: float = 0.0, shuffle_parts: int = 2) -> Walk:
    return Walk(
        Dataset(dataset),
        "photos",
        captions=None,
        seed=seed,
        shuffle_parts=shuffle_parts,
        validation_share=share,
    )


def keys(draws, count: int) -> list[str]:
    return [draw.key for _, draw in itertools.islice(draws, count)]


@pytest.mark.parametrize("shuffle_parts", [1, 3, 100])
def test_each_sample_comes_once_an_epoch_in_a_new_order(shuffle_parts, dataset):
    seen = keys(walk(dataset, shuffle_parts=shuffle_parts).training(Place()), 2 * NUM_PHOTOS)
    first, second = seen[:NUM_PHOTOS], seen[NUM_PHOTOS:]
    assert len(set(first)) == NUM_PHOTOS
    assert sorted(first) == sorted(second)
    assert first != second


def test_another_seed_gives_another_order(dataset):
    orders = [keys(walk(dataset, seed=seed).training(Place()), NUM_PHOTOS) for seed in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


def test_the_walk_goes_on_from_any_place(dataset):
    steps = list(itertools.islice(walk(dataset).training(Place()), 60))
    for done in (1, 11, 12, 23, 24, 25, 48):
        place = steps[done - 1][0]
        assert keys(walk(dataset).training(place), 10) == [draw.key for _, draw in steps[done : done + 10]]


def test_held_out_samples_are_validated_and_never_trained_on(dataset):
    trained = set(keys(walk(dataset, share=0.2).training(Place()), 100))
    validated = {draw.key for draw in walk(dataset, share=0.2).validation()}
    assert validated
    assert not trained & validated
    assert len(trained) + len(validated) == NUM_PHOTOS


def test_held_out_share_is_the_share_of_keys():
    chosen = sum(is_held_out(f"{number * 4_294_967:08x}" + "0" * 24, 0.0995) for number in range(1000))
    assert chosen == 100


def test_negatives_take_their_share_evenly(dataset, negatives):
    draws = list(itertools.islice(mixed(walk(dataset), walk(negatives), 0.25, Position()), 200))
    assert Counter(draw.negative for draw in draws) == {True: 50, False: 150}
    assert all(sum(draw.negative for draw in draws[first : first + 8]) == 2 for first in range(0, 200, 8))


def test_a_dataset_that_is_held_out_whole_is_refused(dataset):
    with pytest.raises(UserError, match="holds no sample to train on"):
        next(walk(dataset, share=0.999999).training(Place()))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(workers, configure, negatives, tmp_path):
    def batches(number: int):
        config = configure(
            "adapter",
            tmp_path,
            data__workers=number,
            data__captions="plain",
            data__negatives=negatives,
            data__cache_bytes=0 if number else 10_000_000,
            data__crops_per_image=2,
        )
        return itertools.islice(training_batches(config, images=4, degraded=True, start=Position()), 15)

    for one, other in zip(batches(0), batches(workers), strict=True):
        assert (one.keys, one.prompts, one.position) == (other.keys, other.prompts, other.position)
        assert torch.equal(one.hq, other.hq)
        assert torch.equal(one.lq, other.lq)


def test_batches_go_on_from_the_position_of_any_batch(configure, tmp_path):
    config = configure("adapter", tmp_path)
    batches = list(itertools.islice(training_batches(config, images=4, degraded=True, start=Position()), 8))
    (again,) = itertools.islice(
        training_batches(config, images=4, degraded=True, start=batches[5].position), 1
    )
    assert again.keys == batches[6].keys
    assert torch.equal(again.lq, batches[6].lq)
