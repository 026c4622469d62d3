"""What is written is what is read, and the same samples give the same bytes."""

from __future__ import annotations

import json
import math
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_shards import (
    INDEX_SCHEMA,
    Dataset,
    DatasetError,
    Origin,
    Role,
    Sample,
    Store,
    crop_key,
    index_path,
    is_committed,
    part_name,
    sample_key,
    shard_path,
    write_part,
)

PART = part_name(0)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WHOLE = st.integers(0, 2**53)
BOXES = st.tuples(WHOLE, WHOLE, WHOLE, WHOLE)
ORIGINS = st.builds(
    Origin,
    producer=TEXT,
    icc_profile=TEXT,
    bytes=WHOLE,
    box=BOXES,
    scale=st.floats(allow_nan=False, allow_infinity=False),
    is_original=st.booleans(),
    parent_box=BOXES,
)
SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 5))


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    image = draw(st.binary(min_size=1, max_size=2000))
    rows, cols = draw(SHAPES)
    return Sample(
        key=sample_key(image),
        image=image,
        extension=draw(st.sampled_from(["jpg", "png", "webp"])),
        role=draw(st.sampled_from(Role)),
        width=draw(st.integers(1, 2**31 - 1)),
        height=draw(st.integers(1, 2**31 - 1)),
        source=draw(TEXT),
        licence=draw(TEXT),
        scores=draw(st.dictionaries(TEXT, st.floats(), max_size=4)),
        texture=draw(st.binary(min_size=rows * cols, max_size=rows * cols)),
        texture_shape=(rows, cols),
        text=draw(TEXT),
        source_key=draw(st.sampled_from(["", "0123456789abcdef" * 2])),
        origin=draw(ORIGINS),
        trace=draw(TEXT),
    )


def without_nan(scores: dict[str, float]) -> dict[str, float | str]:
    return {name: "nan" if math.isnan(value) else value for name, value in scores.items()}


@settings(max_examples=60, deadline=None)
@given(written=st.lists(samples(), max_size=5, unique_by=lambda sample: sample.key))
def test_any_sample_comes_back_field_by_field(written: list[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        info = write_part(Store(folder), PART, written)
        read = list(Dataset(folder).samples())
        assert info.num_samples == len(read) == len(written)
        for before, after in zip(written, read, strict=True):
            for name in Sample.__dataclass_fields__:
                if name != "scores":
                    assert getattr(after, name) == getattr(before, name)
            assert without_nan(after.scores) == without_nan(before.scores)


@settings(max_examples=20, deadline=None)
@given(written=st.lists(samples(), max_size=4, unique_by=lambda sample: sample.key))
def test_the_same_samples_give_the_same_bytes(written: list[Sample]) -> None:
    turned = [replace(sample, scores=dict(reversed(sample.scores.items()))) for sample in written]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        assert write_part(Store(one), PART, written) == write_part(Store(other), PART, iter(turned))
        assert Store(one).read(index_path(PART)) == Store(other).read(index_path(PART))
        if written:
            assert Store(one).read(shard_path(PART)) == Store(other).read(shard_path(PART))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves it to the collector
def test_the_webdataset_library_reads_a_shard(store: Store, make_sample, tmp_path: Path) -> None:
    written = [make_sample(seed) for seed in range(3)]
    write_part(store, PART, written)
    path = str(tmp_path / "dataset" / shard_path(PART))
    read = list(webdataset.WebDataset(path, shardshuffle=False, empty_check=False))
    assert [item["__key__"] for item in read] == [sample.key for sample in written]
    assert [item["png"] for item in read] == [sample.image for sample in written]
    told = [json.loads(item["json"]) for item in read]
    assert [one["source"] for one in told] == [sample.source for sample in written]
    assert [one["licence"] for one in told] == ["CC-BY-4.0"] * 3
    assert [one["text"] for one in told] == [f"ein Bild für {seed}" for seed in range(3)]
    assert [(one["role"], one["source_key"]) for one in told] == [("photo", one.key) for one in written]
    assert told[0]["origin"]["box"] == [0, 0, 24, 16]


def test_a_shard_is_plain_ustar_without_time_or_owner(store: Store, make_sample, tmp_path: Path) -> None:
    write_part(store, PART, [make_sample(0)])
    path = tmp_path / "dataset" / shard_path(PART)
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    assert path.stat().st_size % tarfile.RECORDSIZE == 0
    assert path.read_bytes()[257:265] == b"ustar\x0000"
    assert [(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members] == [
        (0, 0, 0, "", "", 0o644)
    ] * 2


def test_the_index_states_the_place_of_the_picture_and_the_hash_of_the_tar(
    store: Store, make_sample, tmp_path: Path
) -> None:
    info = write_part(store, PART, [make_sample(0), make_sample(1)])
    index = store.read_table(index_path(PART))
    row = index.to_pylist()[1]
    tar = (tmp_path / "dataset" / shard_path(PART)).read_bytes()
    assert index.schema.equals(INDEX_SCHEMA, check_metadata=False)
    assert tar[row["offset"] : row["offset"] + row["bytes"]] == make_sample(1).image
    assert index.schema.metadata[b"supir.shard_sha256"].decode() == info.shard_sha256
    assert int(index.schema.metadata[b"supir.shard_bytes"]) == len(tar) == info.shard_bytes


def test_a_part_of_many_samples_keeps_their_order(store: Store, make_sample) -> None:
    images = [number.to_bytes(2, "big") for number in range(600)]
    written = (make_sample(0, key=sample_key(image), image=image) for image in images)
    assert write_part(store, PART, written).num_samples == 600
    assert [record.image for record in Dataset(store).samples()] == images
    assert store.read_table(index_path(PART)).column("key").to_pylist() == [
        sample_key(image) for image in images
    ]


def test_a_part_without_samples_is_committed_and_has_no_tar(store: Store, make_sample) -> None:
    write_part(store, PART, [make_sample(0)])
    write_part(store, PART, [])
    assert is_committed(store, PART)
    assert store.list() == [index_path(PART)]
    assert list(Dataset(store).samples()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "ABC"}, "key 'ABC' is not 32 lower-case hex digits"),
        ({"extension": "gif"}, "extension 'gif' is not one of jpg, png, webp"),
        ({"image": b""}, "the picture has 0 bytes"),
        ({"width": 0}, "0x16 px is not a picture's size"),
        ({"texture_shape": (2, 2)}, "the texture map has 6 bytes, not 2 x 2 cells"),
        ({"source": "\udcff"}, "'\\\\udcff' is not valid Unicode text"),
        ({"origin": Origin(scale=math.nan)}, r"origin\.scale is nan, not float"),
        ({"origin": Origin(scale=1)}, r"origin\.scale is 1, not float"),
        ({"origin": Origin(format=None)}, r"origin\.format is None, not str"),  # type: ignore[arg-type]
        ({"origin": Origin(box=(0, 0, 1))}, r"origin\.box is \(0, 0, 1\), not four whole"),  # type: ignore[arg-type]
        ({"origin": Origin(mode="\ud800")}, r"origin\.mode is .* not valid Unicode"),
        ({"source_key": "ab"}, "source_key 'ab' is not 32"),
        ({"text": "\udfff"}, "not valid Unicode"),
    ],
)
def test_a_sample_that_breaks_a_rule_is_refused_and_nothing_is_committed(
    store: Store, make_sample, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        write_part(store, PART, [make_sample(0), make_sample(1, **fields)])
    assert store.list() == []
    assert store.leftovers() == []


def test_a_key_that_comes_twice_is_refused(store: Store, make_sample) -> None:
    with pytest.raises(DatasetError, match=f"sample {make_sample(0).key} came twice"):
        write_part(store, PART, [make_sample(0), make_sample(0)])
    assert not is_committed(store, PART)


def test_the_key_is_the_start_of_the_sha256() -> None:
    assert sample_key(b"abc") == "ba7816bf8f01cfea414140de5dae2223"


def test_the_key_of_a_crop_never_changes_and_tells_boxes_and_sizes_apart() -> None:
    key = crop_key("ab" * 32, (64, 0, 1088, 1024), (1024, 1024))
    assert key == "3d356f0c9a64e36e32aca5e5e239bcfd"
    others = [((64, 0, 1088, 1088), (1024, 1024)), ((64, 0, 1088, 1024), (512, 512))]
    assert (
        len({key, *(crop_key("ab" * 32, box, size) for box, size in others), crop_key("cd" * 32, *others[0])})
        == 4
    )


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_part_numbers_that_would_sort_wrongly_are_refused(number: int) -> None:
    with pytest.raises(DatasetError, match=f"part number {number} is not in 0 to 999999"):
        part_name(number)


def test_a_name_that_is_not_a_part_cannot_reach_the_disk(store: Store, make_sample) -> None:
    with pytest.raises(DatasetError, match=r"part name '\.\./x' does not look like part-000000"):
        write_part(store, "../x", [make_sample(0)])
