"""Taking samples out of a finished part."""

from __future__ import annotations

import pytest

from supir_shards import (
    Dataset,
    DatasetError,
    Store,
    drop_samples,
    finish_dataset,
    index_path,
    part_name,
    read_captions,
    shard_path,
    verify,
    write_captions,
    write_part,
)

ONE = part_name(0)


def finish(dataset: Store) -> None:
    finish_dataset(dataset, command="supir-curate remove", config={}, config_hash="cc")


def test_a_dropped_sample_leaves_no_trace_and_the_others_stay_as_they_were(
    dataset: Store, make_sample, make_captions, tmp_path
) -> None:
    kept = [make_sample(0), make_sample(2)]
    info = drop_samples(dataset, ONE, [make_sample(1).key, make_sample(4).key, "f" * 32])
    fresh = Store(tmp_path / "fresh")
    assert info == write_part(fresh, ONE, kept)
    assert dataset.read(shard_path(ONE)) == fresh.read(shard_path(ONE))
    assert dataset.read(index_path(ONE)) == fresh.read(index_path(ONE))
    assert sorted(read_captions(dataset, "plain", ONE)) == sorted(sample.key for sample in kept)
    finish(dataset)
    assert verify(dataset) == []


def test_a_part_that_loses_all_samples_has_no_tar(dataset: Store, make_sample) -> None:
    assert drop_samples(dataset, ONE, [make_sample(seed).key for seed in range(3)]).num_samples == 0
    finish(dataset)
    assert verify(dataset) == []
    assert Dataset(dataset).num_samples == 3


def test_a_part_without_the_samples_is_not_rewritten(dataset: Store, make_sample, monkeypatch) -> None:
    monkeypatch.setattr(Store, "writing", None)
    assert drop_samples(dataset, ONE, [make_sample(4).key]).num_samples == 3


@pytest.mark.parametrize("dropped", [[1], [0, 1, 2]])
def test_a_takedown_that_died_after_the_tar_is_completed_by_the_same_call(
    dataset: Store, make_sample, dropped: list[int]
) -> None:
    keys = [make_sample(seed).key for seed in dropped]
    old_index = dataset.read(index_path(ONE))
    drop_samples(dataset, ONE, keys)
    expected = {path: dataset.read(path) for path in dataset.list()}
    dataset.write(index_path(ONE), old_index)
    drop_samples(dataset, ONE, keys)
    assert {path: dataset.read(path) for path in dataset.list()} == expected


@pytest.mark.parametrize("damage", ["altered", "missing", "cut"])
def test_damage_to_a_sample_that_stays_stops_the_takedown(dataset: Store, make_sample, damage: str) -> None:
    tar = bytearray(dataset.read(shard_path(ONE)))
    row = dataset.read_table(index_path(ONE)).to_pylist()[2]
    tar[row["offset"]] ^= damage == "altered"
    dataset.write(shard_path(ONE), bytes(tar)[: row["offset"] + 5 if damage == "cut" else None])
    if damage == "missing":
        dataset.delete(shard_path(ONE))
    before = {path: dataset.read(path) for path in [*dataset.list("shards"), *dataset.list("index")]}
    with pytest.raises(DatasetError, match="run verify, restore the part, then try again"):
        drop_samples(dataset, ONE, [make_sample(0).key])
    assert {path: dataset.read(path) for path in [*dataset.list("shards"), *dataset.list("index")]} == before


def test_captions_of_every_captioner_go(dataset: Store, make_sample, make_captions) -> None:
    write_captions(dataset, "second", ONE, make_captions([make_sample(0), make_sample(1)]))
    drop_samples(dataset, ONE, [make_sample(0).key])
    assert list(read_captions(dataset, "second", ONE)) == [make_sample(1).key]
