"""Finishing a dataset again: what did not change is not read, what did is, and the result is the same."""

from __future__ import annotations

import time

import pytest

from supir_shards import (
    MANIFEST,
    Dataset,
    Store,
    drop_samples,
    finish_dataset,
    index_path,
    part_name,
    verify,
    write_captions,
    write_part,
)

SETTLED_S = 0.02  # a file system's clock ticks every few milliseconds


def finish(store: Store):
    return finish_dataset(store, command="supir-curate", config={"seed": 1}, config_hash="aa")


@pytest.fixture
def reads(dataset: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read of the finished dataset from now on."""
    time.sleep(SETTLED_S)
    finish(dataset)
    time.sleep(SETTLED_S)
    seen: list[str] = []
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self, path: seen.append(path) or read(self, path))
    return seen


def from_nothing(store: Store) -> bytes:
    """The manifest as a first finish writes it."""
    store.delete(MANIFEST)
    finish(store)
    return store.read(MANIFEST)


def test_an_unchanged_dataset_is_not_read(dataset: Store, reads: list[str]) -> None:
    before = finish(dataset)
    assert reads == [MANIFEST]
    assert before.totals.captions == {"plain": 6}
    assert dataset.read(MANIFEST) == from_nothing(dataset)


def test_what_was_added_is_read_alone(dataset: Store, reads: list[str], make_sample, make_captions) -> None:
    part, samples = part_name(3), [make_sample(6)]
    write_part(dataset, part, samples)
    write_captions(dataset, "second", part, make_captions(samples))
    totals = finish(dataset).totals
    assert sorted(reads) == [f"captions/second/{part}.parquet", MANIFEST, index_path(part)]
    assert (totals.parts, totals.num_samples, totals.captions) == (4, 7, {"plain": 6, "second": 1})
    assert dataset.read(MANIFEST) == from_nothing(dataset)


def test_what_was_taken_away_is_no_longer_counted(dataset: Store, reads: list[str], make_sample) -> None:
    drop_samples(dataset, part_name(0), [make_sample(1).key])
    dataset.delete(f"captions/plain/{part_name(1)}.parquet")
    totals = finish(dataset).totals
    assert (totals.num_samples, totals.captions) == (5, {"plain": 2})
    assert verify(dataset) == []
    assert Dataset(dataset).manifest.parts[part_name(1)].captions == {}
    assert dataset.read(MANIFEST) == from_nothing(dataset)


def test_a_file_of_the_same_size_is_read_again(dataset: Store, reads: list[str]) -> None:
    path = f"scores/x/{part_name(0)}.parquet"
    for value in (1, 2):
        import pyarrow as pa

        dataset.write_table(path, pa.table({"source_row": [value]}))
        finish(dataset)
        assert verify(dataset) == []
    assert reads.count(path) >= 2
