"""Other people's loaders: `datasets` reads shards and tables, webdataset pipelines run in a DataLoader's workers."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from supir_shards import (
    Caption,
    Dataset,
    DatasetError,
    Quarantined,
    Role,
    Store,
    as_webdataset,
    datasets_features,
    finish_dataset,
    part_name,
    sample_key,
    shard_path,
    write_captions,
    write_part,
)

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
PARTS = 4


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, make_picture, make_sample, make_captions) -> Store:
    """Four parts of JPEG, PNG and WebP whose samples tell much, little and nothing of themselves."""
    store = Store(tmp_path_factory.mktemp("mixed"))
    for number in range(PARTS):
        samples = []
        for seed, (kind, extension) in enumerate((("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"))):
            image = make_picture(10 * number + seed, image_format=kind)
            bare = (
                {"source": "", "licence": "", "text": "", "scores": {}, "trace": ""} if seed == number else {}
            )
            role = Role.NEGATIVE if seed == 2 else Role.PHOTO
            known = {"key": sample_key(image), "image": image, "extension": extension, "role": role}
            samples.append(make_sample(10 * number + seed, **known, **bare))
        write_part(store, part_name(number), samples)
        region = Caption(
            key=samples[0].key,
            region=1,
            box=(0, 0, 8, 8),
            text="a corner",
            short_text="corner",
            num_tokens_clip_l=1,
            num_tokens_clip_g=1,
        )
        write_captions(store, "plain", part_name(number), [*make_captions(samples[:2]), region])
    finish_dataset(store, command="supir-curate", config={}, config_hash="aa")
    return store


def shards(store: Store) -> list[str]:
    return [f"{store.url}/{shard_path(part_name(number))}" for number in range(PARTS)]


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_shards_of_mixed_pictures(mixed: Store, tmp_path: Path, streaming: bool) -> None:
    import datasets

    told = datasets.load_dataset(
        "webdataset",
        data_files={"train": shards(mixed)},
        split="train",
        features=datasets_features(),
        streaming=streaming,
        cache_dir=str(tmp_path),
    )
    rows = list(told)
    records = list(Dataset(mixed).samples())
    assert [row["__key__"] for row in rows] == [record.key for record in records]
    for row, record in zip(rows, records, strict=True):
        assert row[record.extension].size == (24, 16)
        assert row["json"]["licence"] == record.licence
        assert row["json"]["origin"]["box"] == [0, 0, 24, 16]


def test_datasets_needs_no_schema_where_all_pictures_have_one_suffix(dataset: Store, tmp_path: Path) -> None:
    import datasets

    files = [f"{dataset.url}/{shard_path(part_name(number))}" for number in range(2)]
    told = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", cache_dir=str(tmp_path)
    )
    assert told.num_rows == 6
    assert told.features == {name: datasets_features()[name] for name in told.features}
    assert told[5]["json"]["text"] == "ein Bild für 5"


@pytest.mark.parametrize("table", ["index", "captions/plain"])
def test_datasets_reads_the_tables(mixed: Store, tmp_path: Path, table: str) -> None:
    import datasets

    files = [f"{mixed.url}/{path}" for path in mixed.list(table)]
    told = datasets.load_dataset(
        "parquet", data_files={"train": files}, split="train", cache_dir=str(tmp_path)
    )
    assert told.num_rows == PARTS * 3
    if table == "index":
        assert told[0]["scores"] == []
        assert [pair["name"] for pair in told[1]["scores"]] == ["noise", "texture"]


def load(pipeline: Any, num_workers: int = 2) -> list[dict[str, Any]]:
    from torch.utils.data import DataLoader

    return list(DataLoader(pipeline, batch_size=None, num_workers=num_workers))


@pytest.mark.parametrize("shardshuffle", [0, 10])
def test_workers_yield_every_sample_once_with_its_captions(mixed: Store, shardshuffle: int) -> None:
    read = load(as_webdataset(mixed.url, captions="plain", shardshuffle=shardshuffle))
    records = {record.key: record for record in Dataset(mixed).samples(captions="plain")}
    assert Counter(one["__key__"] for one in read) == Counter(records.keys())
    for one in read:
        record = records[one["__key__"]]
        assert one[record.extension] == record.image
        assert json.loads(one["json"])["source"] == record.source == one["index"]["source"]
        assert one["index"]["scores"] == record.scores
        whole = record.role is not Role.NEGATIVE
        assert (one["text"], one["short_text"]) == (("coloured noise", "noise") if whole else ("", ""))
        regions = [{"box": [0, 0, 8, 8], "text": "a corner", "short_text": "corner"}]
        assert one["regions"] == (regions if record.extension == "jpg" else [])


def test_a_seed_gives_one_order_of_shards_and_another_seed_another(mixed: Store) -> None:
    def order(seed: int) -> list[str]:
        return [one["__key__"] for one in as_webdataset(mixed.url, shardshuffle=10, seed=seed)]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(6)}) > 1


def test_drawn_shards_go_on_for_ever(mixed: Store) -> None:
    pipeline = as_webdataset(mixed.url, resampled=True, seed=3).with_epoch(40)
    read = load(pipeline)
    assert len(read) == 2 * 40  # each worker has its own epoch
    assert len({one["__key__"] for one in read}) > 3


def test_pictures_are_decoded_webp_too_and_texts_stay(mixed: Store) -> None:
    for one in as_webdataset(mixed.url, captions="plain").decode("rgb8"):
        suffix = next(name for name in ("jpg", "png", "webp") if name in one)
        assert one[suffix].shape == (16, 24, 3)
        assert isinstance(one["json"], dict)
        assert isinstance(one["text"], str)


def test_a_poisoned_sample_goes_to_on_bad_or_raises(mixed: Store, tmp_path: Path) -> None:
    copy = Store(tmp_path / "copy")
    copy.write_many({path: mixed.read(path) for path in mixed.list()})
    row = Dataset(copy).index(part_name(1)).to_pylist()[0]
    data = bytearray(copy.read(shard_path(part_name(1))))
    data[row["offset"]] ^= 1
    copy.write(shard_path(part_name(1)), bytes(data))
    bad: list[Quarantined] = []
    read = list(as_webdataset(copy.url, on_bad=bad.append))
    assert len(read) == PARTS * 3 - 1
    assert [(one.reason, row["key"] in one.name) for one in bad] == [("altered", True)]
    with pytest.raises(DatasetError, match="sha256 is not"):
        list(as_webdataset(copy.url))


def test_nodes_share_the_shards(mixed: Store) -> None:
    from itertools import islice

    seen = [
        [
            one["__key__"]
            for one in as_webdataset(mixed.url, nodesplitter=lambda urls, n=n: islice(urls, n, None, 3))
        ]
        for n in range(3)
    ]
    assert sorted(key for keys in seen for key in keys) == sorted(
        record.key for record in Dataset(mixed).samples()
    )


def test_a_remote_dataset_is_read_by_the_same_call(mixed: Store) -> None:
    remote = Store("memory://loaders")
    remote.write_many({path: mixed.read(path) for path in mixed.list()})
    assert len(list(as_webdataset("memory://loaders", captions="plain"))) == PARTS * 3


def test_the_pipeline_can_be_sent_to_a_spawned_worker(mixed: Store) -> None:
    import pickle

    sent = pickle.loads(pickle.dumps(as_webdataset(mixed.url)))
    assert len(list(sent)) == PARTS * 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"captions": "qwen"},
            "has no captions 'qwen' of 4 of 4 parts, first part-000000; make them with supir-caption",
        ),
        ({"parts": ["part-000009"]}, "holds no samples in those parts"),
    ],
)
def test_what_is_not_there_is_one_line(mixed: Store, options: dict[str, Any], told: str) -> None:
    with pytest.raises(DatasetError, match=told):
        as_webdataset(mixed.url, **options)


def test_without_the_package_the_extra_is_named(mixed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(DatasetError, match=r"pip install 'supir-stack\[loaders\]'"):
        as_webdataset(mixed.url)
