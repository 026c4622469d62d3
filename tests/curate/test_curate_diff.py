"""The difference of two datasets, beside the same counted plainly."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest

from supir_console import UserError, load_config
from supir_curate import pipeline
from supir_curate.compare import compare, match, read_samples
from supir_curate.config import CurateConfig
from supir_curate.selection.select import branch, select
from supir_shards import Dataset, Role, Sample, Store, finish_dataset, part_name, write_part


@pytest.fixture(scope="module")
def stricter(finished, in_this_process, tmp_path_factory):
    """The same ledger under stricter rules, all pictures encoded anew."""
    store = Store(tmp_path_factory.mktemp("stricter") / "dataset")
    plan = branch(Store(finished), store)
    overrides = [
        "source.part_size=7",
        "select.rules.below_min_side.limit=100",
        "select.rules.noisy.limit={top: 0.5}",
    ]
    config = load_config(CurateConfig, None, [*overrides, "pack.max_side_px=100", "pack.size_px=64"])
    select(store, plan, config.select)
    pipeline.pack(store, plan, config, in_this_process)
    return store.url


def fates(dataset):
    store = Store(dataset)
    ledger, selection = (
        [row for path in store.list(folder) for row in store.read_table(path).to_pylist()]
        for folder in ("ledger", "selection")
    )
    return {row["url"]: choice["reason"] or "kept" for row, choice in zip(ledger, selection, strict=True)}


def test_samples_and_fates_are_counted_as_a_plain_comparison_counts_them(finished, stricter, here, tmp_path):
    summary = here("diff", finished, stricter, "-o", tmp_path / "list.csv").summary
    a, b = ({record.key: record for record in Dataset(place).samples()} for place in (finished, stricter))
    samples = summary["samples"]
    assert (samples["a"], samples["b"]) == (len(a), len(b))
    assert (samples["only_in_a"], samples["only_in_b"]) == (len(a.keys() - b.keys()), 0)
    assert samples["other_bytes"] == len(b) > 5
    assert (samples["same"], samples["other_scores"], samples["other_role"]) == (0, 0, 0)
    was, now = fates(finished), fates(stricter)
    noisy = sum(was[url] == "kept" and now[url] == "noisy" for url in was)
    assert {"a": "kept", "b": "noisy", "count": noisy} in summary["candidates"]["changed"]
    assert sum(one["count"] for one in summary["candidates"]["changed"]) == sum(
        was[url] != now[url] for url in was
    )
    assert 'select.rules.noisy.limit: 10.0, {"top": 0.5}' in summary["config"]
    assert "pack.max_side_px: 2048, 100" in summary["config"]
    listed = list(csv.DictReader((tmp_path / "list.csv").read_text().splitlines()))
    assert summary["listed"] == len(listed) == len(a)
    for row in listed:
        assert row["change"] == ("other_bytes" if row["key"] in b else "only_in_a")
        assert (row["source"], row["in_a"]) == (a[row["key"]].source, "kept")
        assert row["in_b"] == now[row["source"]]


def test_the_other_way_round_names_the_other_side(finished, stricter, here, tmp_path):
    back = here("diff", stricter, finished, "-o", tmp_path / "list.parquet").summary
    there = here("diff", finished, stricter).summary
    assert back["samples"]["only_in_b"] == there["samples"]["only_in_a"] > 0
    listed = pq.read_table(tmp_path / "list.parquet").to_pylist()
    assert sum(row["change"] == "only_in_b" for row in listed) == back["samples"]["only_in_b"]


def test_a_dataset_does_not_differ_from_itself(finished, here):
    summary = here("diff", finished, finished).summary
    assert summary["samples"]["same"] == summary["samples"]["a"] == summary["samples"]["b"]
    assert not any(
        summary["samples"][change] for change in ("only_in_a", "only_in_b", "other_bytes", "other_scores")
    )
    assert summary["candidates"]["changed"] == summary["config"] == []


def made(folder, samples):
    store = Store(folder)
    about = {"extension": "jpg", "width": 8, "height": 8}
    write_part(store, part_name(0), [Sample(**about, **sample) for sample in samples])
    finish_dataset(store, command="test", config={}, config_hash="0")
    return store


def test_other_scores_and_roles_are_told_from_the_same_in_another_order(tmp_path):
    one, two, three = ({"key": digit * 32, "image": b"x", "role": Role.PHOTO} for digit in "abc")
    scores = {"sharp": 0.1, "noise": 0.2}
    a = made(tmp_path / "a", [one | {"scores": scores}, two | {"scores": scores}, three])
    exchanged = {"sharp": 0.2, "noise": 0.1}
    changed = [
        three | {"role": Role.FACE},
        one | {"scores": exchanged},
        two | {"scores": dict(reversed(scores.items()))},
    ]
    b = made(tmp_path / "b", changed)
    summary = compare(a, b).summary
    assert summary["samples"] == {"a": 3, "b": 3, "same": 1, "only_in_a": 0, "only_in_b": 0} | {
        "other_bytes": 0,
        "other_scores": 1,
        "other_role": 1,
    }
    assert summary["candidates"]["in_both"] == 0
    assert len(np.unique(read_samples(a).scores)) == 2


def test_what_both_have_is_matched_once():
    a = np.array([[1, 2], [1, 3], [1, 2], [9, 9]], dtype=np.uint64)
    b = np.array([[9, 9], [1, 2], [1, 2], [2, 1]], dtype=np.uint64)
    in_a, in_b = match(a, b)
    assert sorted(map(tuple, a[in_a].tolist())) == sorted(map(tuple, b[in_b].tolist())) == [(1, 2), (9, 9)]


def test_a_wrong_call_is_one_line(finished, here, tmp_path):
    with pytest.raises(UserError, match="a second dataset is missing; type: supir-curate diff DATASET OTHER"):
        here("diff", finished)
    with pytest.raises(UserError, match=r"list.txt ends in neither .csv nor .parquet"):
        here("diff", finished, finished, "-o", tmp_path / "list.txt")
    with pytest.raises(ValueError, match="holds no finished dataset"):
        here("diff", finished, tmp_path)
