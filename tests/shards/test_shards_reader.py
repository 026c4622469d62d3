"""Reading on past broken samples: every row of an index is yielded or handed over with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from supir_shards import (
    Dataset,
    DatasetError,
    Quarantined,
    QuarantineReason,
    Record,
    Store,
    caption_path,
    index_path,
    part_name,
    shard_path,
)

ONE, TWO = part_name(0), part_name(1)
Reason = QuarantineReason


def read(dataset: Store, **options: Any) -> tuple[list[Record], list[Quarantined]]:
    bad: list[Quarantined] = []
    return list(Dataset(dataset).samples(on_bad=bad.append, **options)), bad


def rewrite_index(dataset: Store, row: int, **changed: object) -> None:
    table = dataset.read_table(index_path(ONE))
    rows = table.to_pylist()
    rows[row].update(changed)
    dataset.write_table(index_path(ONE), pa.Table.from_pylist(rows, schema=table.schema))


def test_all_parts_are_read_in_order(dataset: Store, make_sample) -> None:
    good, bad = read(dataset)
    assert [record.key for record in good] == [make_sample(seed).key for seed in range(6)]
    assert [record.part for record in good] == [ONE] * 3 + [TWO] * 3
    assert bad == []


def test_only_the_parts_asked_for_are_read(dataset: Store) -> None:
    dataset.delete(shard_path(ONE))
    good, bad = read(dataset, parts=[TWO])
    assert {record.part for record in good} == {TWO}
    assert (len(good), bad) == (3, [])


def test_a_tar_is_opened_once_and_read_forward(dataset: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    positions: dict[str, list[int]] = {}
    real = Store.open

    def spying_open(self: Store, path: str):
        stream = real(self, path)
        assert path not in positions
        seek, positions[path] = stream.seek, []
        monkeypatch.setattr(stream, "seek", lambda place: positions[path].append(place) or seek(place))
        return stream

    monkeypatch.setattr(Store, "open", spying_open)
    read(dataset)
    assert [len(places) for places in positions.values()] == [6, 6]
    assert all(places == sorted(places) for places in positions.values())


def put(tar: bytearray, place: int, data: bytes) -> None:
    tar[place : place + len(data)] = data


BREAKS: dict[str, tuple[Callable[[bytearray, int, int], None], Reason, str]] = {
    "picture": (lambda tar, at, json_at: put(tar, at + 7, b"\xaa"), Reason.ALTERED, "sha256 is not"),
    "header": (lambda tar, at, json_at: put(tar, at - 500, b"?"), Reason.BAD_HEADER, "no tar header before"),
    "name": (lambda tar, at, json_at: put(tar, at - 512, tar[:512]), Reason.ALTERED, "found '[0-9a-f]{32}"),
    "json": (lambda tar, at, json_at: put(tar, json_at, b"?"), Reason.BAD_JSON, "KEY.json is not JSON"),
    "json type": (
        lambda tar, at, json_at: put(tar, json_at, b'["a"]'.ljust(tar.index(b"\0", json_at) - json_at)),
        Reason.BAD_JSON,
        "KEY.json holds a list, not an object",
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_sample_is_handed_over_and_the_others_come_through(
    dataset: Store, make_sample, case: str
) -> None:
    damage, reason, detail = BREAKS[case]
    row = dataset.read_table(index_path(ONE)).to_pylist()[1]
    tar = bytearray(dataset.read(shard_path(ONE)))
    damage(tar, row["offset"], row["offset"] + row["bytes"] + -row["bytes"] % 512 + 512)
    dataset.write(shard_path(ONE), bytes(tar))
    good, bad = read(dataset)
    assert [record.key for record in good] == [make_sample(seed).key for seed in (0, 2, 3, 4, 5)]
    assert [(one.name, one.reason) for one in bad] == [(f"{shard_path(ONE)}/{row['key']}.png", reason)]
    assert re.search(detail, bad[0].detail)


def test_a_cut_tar_gives_what_is_before_the_cut(dataset: Store) -> None:
    rows = dataset.read_table(index_path(ONE)).to_pylist()
    dataset.write(shard_path(ONE), dataset.read(shard_path(ONE))[: rows[2]["offset"] + 10])
    good, bad = read(dataset, parts=[ONE])
    assert [record.key for record in good] == [rows[0]["key"], rows[1]["key"]]
    assert [one.reason for one in bad] == [Reason.TRUNCATED]


def test_a_missing_tar_costs_its_samples_only(dataset: Store) -> None:
    dataset.delete(shard_path(ONE))
    good, bad = read(dataset)
    assert {record.part for record in good} == {TWO}
    assert [one.reason for one in bad] == [Reason.MISSING] * 3


@pytest.mark.parametrize("changed", [{"bytes": 2**60}, {"offset": 2**60}, {"offset": 3}, {"bytes": -1}])
def test_an_index_that_asks_for_what_the_tar_has_not_gets_no_memory(dataset: Store, changed: dict) -> None:
    rewrite_index(dataset, 1, **changed)
    good, bad = read(dataset, parts=[ONE])
    assert (len(good), [one.reason for one in bad]) == (2, [Reason.TRUNCATED])


def test_without_a_handler_the_first_broken_sample_raises_with_the_way_on(dataset: Store) -> None:
    rewrite_index(dataset, 1, sha256="00")
    key = dataset.read_table(index_path(ONE)).to_pylist()[1]["key"]
    with pytest.raises(
        DatasetError, match=rf"part-000000\.tar/{key}\.png: sample {key}: sha256 is not 00; run verify"
    ):
        list(Dataset(dataset).samples())


def test_a_picture_is_read_by_its_row(dataset: Store, make_sample) -> None:
    reader = Dataset(dataset)
    rows = reader.index(TWO).to_pylist()
    assert [reader.read_image(TWO, row) for row in rows] == [make_sample(seed).image for seed in (3, 4, 5)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"sha256": "00"}, "was altered; run verify"), ({"bytes": 2**60}, "ends before sample")],
)
def test_a_picture_that_is_not_the_index_s_is_never_returned(
    dataset: Store, changed: dict[str, object], message: str
) -> None:
    row = Dataset(dataset).index(ONE).to_pylist()[0]
    with pytest.raises(DatasetError, match=message):
        Dataset(dataset).read_image(ONE, {**row, **changed})


@pytest.mark.parametrize("changed", [{"offset": None}, {"sha256": None}])
def test_an_index_with_empty_cells_is_refused(dataset: Store, changed: dict[str, object]) -> None:
    rewrite_index(dataset, 0, **changed)
    with pytest.raises(DatasetError, match=f"has empty cells in {next(iter(changed))}"):
        Dataset(dataset).index(ONE)


def test_an_unknown_role_is_refused(dataset: Store) -> None:
    rewrite_index(dataset, 0, role="cat")
    with pytest.raises(DatasetError, match="has the role 'cat', not one of photo, face, negative"):
        Dataset(dataset).index(ONE)


def test_a_parquet_file_that_holds_no_captions_is_refused(dataset: Store) -> None:
    dataset.write_table(caption_path("plain", ONE), pa.table({"key": ["a"]}))
    with pytest.raises(DatasetError, match=r"is not a caption file of this format \(columns \['key'\]\)"):
        list(Dataset(dataset).samples(captions="plain"))


def test_a_parquet_file_that_is_no_index_is_refused(dataset: Store) -> None:
    dataset.write_table(index_path(ONE), pa.table({"key": ["a"]}))
    with pytest.raises(DatasetError, match=r"is not an index of this format \(columns \['key'\]\)"):
        list(Dataset(dataset).samples())
