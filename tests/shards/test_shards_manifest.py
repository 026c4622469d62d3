"""dataset.json: totals, hashes, lineage, and what happens when it is damaged."""

from __future__ import annotations

import hashlib
import json

import pytest

from supir_shards import (
    MANIFEST,
    Dataset,
    DatasetError,
    Role,
    Store,
    finish_dataset,
    index_path,
    load_manifest,
    part_name,
    shard_path,
    write_part,
)

PART = part_name(0)


def finish(store: Store, command: str = "supir-curate", config_hash: str = "aa", **config: object):
    return finish_dataset(store, command=command, config=config, config_hash=config_hash)


def test_the_totals_count_samples_by_role_bytes_captions_and_candidates(dataset: Store, make_sample) -> None:
    face = make_sample(9, role=Role.FACE)
    write_part(dataset, part_name(3), [face])
    totals = finish(dataset).totals
    assert totals.samples == {Role.PHOTO: 6, Role.FACE: 1}
    assert (totals.parts, totals.num_samples, totals.ledger_rows) == (4, 7, 6)
    assert totals.captions == {"plain": 6}
    assert totals.image_bytes == sum(len(make_sample(seed).image) for seed in range(6)) + len(face.image)
    assert totals.shard_bytes == sum(dataset.size(path) for path in dataset.list("shards"))
    assert Dataset(dataset).num_samples == 7


def test_every_file_is_listed_with_its_size_and_hash(dataset: Store) -> None:
    files = load_manifest(dataset).files
    assert sorted(files) == [path for path in dataset.list() if path != MANIFEST]
    assert len(files) == 2 + 3 + 3 + 1
    for path, info in files.items():
        data = dataset.read(path)
        assert (info.bytes, info.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_finishing_opens_no_tar(dataset: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    for name in ("read", "open", "read_range"):
        real = getattr(Store, name)
        monkeypatch.setattr(
            Store, name, lambda self, path, *rest, r=real: opened.append(path) or r(self, path, *rest)
        )
    finish(dataset)
    assert MANIFEST in opened
    assert [path for path in opened if path.endswith(".tar")] == []


def test_the_lineage_has_one_entry_for_each_command_and_config_in_order(dataset: Store) -> None:
    finish(dataset, "supir-caption", "bb", model="tags")
    finish(dataset, "supir-caption", "cc", model="vlm")
    manifest = finish(dataset, "supir-caption", "bb", model="tags")
    steps = [(step.command, step.config_hash) for step in manifest.lineage]
    assert steps == [("supir-curate", "aa"), ("supir-caption", "bb"), ("supir-caption", "cc")]
    assert manifest.lineage[2].config == {"model": "vlm"}
    assert (manifest.config, manifest.config_hash) == ({"seed": 1}, "aa")


def test_the_config_is_the_latest_one_of_the_command_that_began_the_dataset(dataset: Store) -> None:
    finish(dataset, "supir-caption", "bb", model="tags")
    manifest = finish(dataset, "supir-curate", "dd", seed=2)
    assert (manifest.config, manifest.config_hash) == ({"seed": 2}, "dd")


def test_finishing_twice_gives_the_same_bytes(dataset: Store) -> None:
    before = dataset.read(MANIFEST)
    finish(dataset, seed=1)
    assert dataset.read(MANIFEST) == before


def test_a_tar_that_is_gone_or_short_stops_the_finish_with_the_way_out(dataset: Store) -> None:
    tar = dataset.read(shard_path(PART))
    dataset.write(shard_path(PART), tar[:-1])
    with pytest.raises(
        DatasetError, match=f"is {len(tar) - 1} bytes long but its index says {len(tar)} bytes"
    ):
        finish(dataset)
    dataset.delete(shard_path(PART))
    with pytest.raises(
        DatasetError, match=f"is missing .*; delete {index_path(PART)} and run the command again"
    ):
        finish(dataset)


def test_an_unfinished_dataset_says_so(store: Store, make_sample) -> None:
    write_part(store, PART, [make_sample(0)])
    with pytest.raises(DatasetError, match=r"holds no finished dataset: dataset\.json is missing"):
        _ = Dataset(store).manifest


def test_a_place_without_parts_is_no_dataset(store: Store) -> None:
    with pytest.raises(DatasetError, match=r"holds no dataset: no index/part-\*\.parquet there"):
        Dataset(store)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"format_version": 2}', b'{"format_version": "x"}'],
    ids=["empty", "cut", "list", "bytes", "deep", "fields", "version"],
)
def test_a_damaged_manifest_is_one_line_with_the_way_out(dataset: Store, data: bytes) -> None:
    dataset.write(MANIFEST, data)
    with pytest.raises(DatasetError) as caught:
        load_manifest(dataset)
    assert "\n" not in str(caught.value)
    assert "restore it, or delete it" in str(caught.value) or "reads 2; upgrade it" in str(caught.value)


@pytest.mark.parametrize(
    ("version", "mend"), [(3, "upgrade it"), (1, r"write it anew .*select \(OLD -o NEW\) and pack NEW")]
)
def test_another_format_is_refused_by_number(dataset: Store, version: int, mend: str) -> None:
    content = json.loads(dataset.read(MANIFEST)) | {"format_version": version}
    dataset.write(MANIFEST, json.dumps(content).encode())
    with pytest.raises(
        DatasetError, match=f"has format {version}, this release of supir-stack reads 2; {mend}"
    ):
        load_manifest(dataset)


@pytest.mark.parametrize("version", [b"3", b"0", b"\xff"])
def test_an_index_of_another_format_is_refused_before_its_columns_are_looked_at(
    dataset: Store, version: bytes
) -> None:
    table = dataset.read_table(index_path(PART))
    metadata = {**table.schema.metadata, b"supir.format_version": version}
    newer = table.drop_columns(["texture"]).replace_schema_metadata(metadata)
    dataset.write_table(index_path(PART), newer)
    message = f"{index_path(PART)} has format .*, this release of supir-stack reads 2; upgrade it"
    with pytest.raises(DatasetError, match=message):
        Dataset(dataset).index(PART)
    with pytest.raises(DatasetError, match=message):
        finish(dataset)


def test_an_index_that_states_no_format_is_none(dataset: Store) -> None:
    table = dataset.read_table(index_path(PART))
    metadata = {key: value for key, value in table.schema.metadata.items() if not key.endswith(b"version")}
    dataset.write_table(index_path(PART), table.replace_schema_metadata(metadata))
    with pytest.raises(DatasetError, match="is not an index of this format"):
        Dataset(dataset).index(PART)


def test_a_manifest_cannot_name_files_outside_the_dataset(dataset: Store) -> None:
    content = json.loads(dataset.read(MANIFEST))
    content["files"]["../../etc/passwd"] = {"bytes": 1, "sha256": "00"}
    dataset.write(MANIFEST, json.dumps(content).encode())
    with pytest.raises(DatasetError, match="is damaged"):
        load_manifest(dataset)


def test_the_index_of_another_part_is_refused(dataset: Store) -> None:
    dataset.write(index_path(PART), dataset.read(index_path(part_name(1))))
    with pytest.raises(DatasetError, match=r"index/part-000000\.parquet is the index of 'part-000001'"):
        Dataset(dataset).index(PART)
