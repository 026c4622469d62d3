"""verify names every file that is missing, cut, exchanged, altered or superfluous, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supir_shards import (
    MANIFEST,
    DatasetError,
    Problem,
    ProblemKind,
    Store,
    caption_path,
    index_path,
    ledger_path,
    part_name,
    shard_path,
    verify,
    write_captions,
    write_part,
)

ONE, TWO, NEW = part_name(0), part_name(1), part_name(7)
Kind = ProblemKind


def found(dataset: Store) -> list[tuple[Kind, str]]:
    return [(problem.kind, problem.path) for problem in verify(dataset)]


def flip(dataset: Store, path: str, position: int) -> None:
    data = bytearray(dataset.read(path))
    data[position] ^= 0x10
    dataset.write(path, bytes(data))


def exchange(dataset: Store, one: str, other: str) -> None:
    first, second = dataset.read(one), dataset.read(other)
    dataset.write(one, second)
    dataset.write(other, first)


def test_a_sound_dataset_has_no_problem_and_is_read_once(
    dataset: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    for name in ("read", "open"):
        real = getattr(Store, name)
        monkeypatch.setattr(Store, name, lambda self, path, r=real: opened.append(path) or r(self, path))
    assert verify(dataset) == []
    assert sorted({*opened}) == dataset.list()
    assert [path for path in opened if opened.count(path) > 1] == [MANIFEST] * 2


FILES = [shard_path(ONE), index_path(ONE), caption_path("plain", ONE), ledger_path(ONE)]


@pytest.mark.parametrize("path", FILES)
def test_a_missing_file_is_named(dataset: Store, path: str) -> None:
    dataset.delete(path)
    assert found(dataset) == [(Kind.MISSING, path)]


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("cut", [1, 700])
def test_a_cut_file_is_named_with_both_sizes(dataset: Store, path: str, cut: int) -> None:
    data = dataset.read(path)
    dataset.write(path, data[:-cut])
    (problem,) = verify(dataset)
    assert (problem.kind, problem.path) == (Kind.TRUNCATED, path)
    assert problem.detail.startswith(f"{len(data) - cut} bytes long, was {len(data)}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (shard_path(ONE), shard_path(TWO)),
        (index_path(ONE), index_path(TWO)),
        (caption_path("plain", ONE), caption_path("plain", TWO)),
    ],
)
def test_exchanged_files_are_both_named_with_their_counterpart(dataset: Store, one: str, other: str) -> None:
    exchange(dataset, one, other)
    problems = {problem.path: problem for problem in verify(dataset)}
    assert {path: problem.kind for path, problem in problems.items()} == {
        one: Kind.SWAPPED,
        other: Kind.SWAPPED,
    }
    assert problems[one].detail.startswith(f"has the content of {other}")


@pytest.mark.parametrize("path", FILES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_single_altered_bit_anywhere_is_found(dataset: Store, path: str, place: float) -> None:
    position = int(place * dataset.size(path))
    flip(dataset, path, position)
    try:
        assert found(dataset) == [(Kind.ALTERED, path)]
    finally:
        flip(dataset, path, position)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_single_altered_bit_in_the_manifest_is_found(dataset: Store, place: float) -> None:
    position = int(place * dataset.size(MANIFEST))
    flip(dataset, MANIFEST, position)
    try:
        assert found(dataset)[0] == (Kind.ALTERED, MANIFEST)
    finally:
        flip(dataset, MANIFEST, position)


def test_an_altered_shard_is_named_with_the_samples_that_it_cost(dataset: Store) -> None:
    rows = dataset.read_table(index_path(ONE)).to_pylist()
    flip(dataset, shard_path(ONE), rows[1]["offset"] + 5)
    (problem,) = verify(dataset)
    assert "1 of 3 samples unreadable" in problem.detail
    assert rows[1]["key"] in problem.detail
    assert rows[0]["key"] not in problem.detail


def drop_row(dataset: Store) -> None:
    table = dataset.read_table(index_path(ONE))
    dataset.write_table(index_path(ONE), table.slice(0, 2).replace_schema_metadata(table.schema.metadata))


def edit_totals(dataset: Store) -> None:
    content = json.loads(dataset.read(MANIFEST))
    content["totals"]["num_samples"] += 1
    dataset.write(
        MANIFEST, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (drop_row, [(Kind.TRUNCATED, index_path(ONE))]),
        (edit_totals, [(Kind.ALTERED, MANIFEST)]),
        (lambda dataset: dataset.write(MANIFEST, b"{}"), [(Kind.ALTERED, MANIFEST)]),
        (lambda dataset: dataset.delete(MANIFEST), [(Kind.MISSING, MANIFEST)]),
        (lambda dataset: dataset.write("shards/notes.txt", b"x"), [(Kind.ORPHAN, "shards/notes.txt")]),
        (lambda dataset: dataset.write(shard_path(NEW), b"x"), [(Kind.ORPHAN, shard_path(NEW))]),
        (lambda dataset: dataset.write("report/index.html", b"x"), []),
    ],
    ids=[
        "index rewritten",
        "totals edited",
        "manifest emptied",
        "manifest gone",
        "stranger",
        "tar alone",
        "report",
    ],
)
def test_other_changes_are_named(
    dataset: Store, change: Callable[[Store], None], expected: list[tuple[Kind, str]]
) -> None:
    change(dataset)
    assert found(dataset) == expected


@pytest.mark.parametrize("place", ["none", "other"])
def test_a_place_that_is_no_dataset_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/photo.jpg").write_bytes(b"x")
    with pytest.raises(DatasetError, match=rf"{place} holds no dataset: neither dataset\.json nor index/"):
        verify(tmp_path / place)


def test_a_dataset_of_another_format_is_not_called_damaged(dataset: Store) -> None:
    content = json.loads(dataset.read(MANIFEST)) | {"format_version": 3}
    dataset.write(MANIFEST, json.dumps(content).encode())
    with pytest.raises(DatasetError, match="has format 3, this release of supir-stack reads 2; upgrade it"):
        verify(dataset)


def test_a_finished_dataset_without_parts_has_no_problem(tmp_path: Path) -> None:
    from supir_shards import finish_dataset

    finish_dataset(Store(tmp_path / "d"), command="supir-curate", config={}, config_hash="aa")
    assert verify(tmp_path / "d") == []


def test_a_part_written_after_the_finish_is_an_orphan(dataset: Store, make_sample) -> None:
    write_part(dataset, NEW, [make_sample(70)])
    assert found(dataset) == [(Kind.ORPHAN, index_path(NEW)), (Kind.ORPHAN, shard_path(NEW))]


def test_a_scorers_answers_are_listed_and_an_altered_one_is_found(dataset: Store) -> None:
    import pyarrow as pa

    from supir_shards import finish_dataset

    path = f"scores/clipiqa+/{ONE}.parquet"
    dataset.write_table(path, pa.table({"source_row": [0], "score.x": [0.5]}))
    assert found(dataset) == [(Kind.ORPHAN, path)]
    manifest = finish_dataset(dataset, command="supir-curate assess", config={}, config_hash="bb")
    assert manifest.files[path].bytes == dataset.size(path)
    assert found(dataset) == []
    flip(dataset, path, 40)
    assert found(dataset) == [(Kind.ALTERED, path)]


def test_what_a_killed_write_left_is_an_orphan(dataset: Store, tmp_path: Path) -> None:
    (tmp_path / "dataset/shards/.part-000002.tar.00aa11bb.tmp").write_bytes(b"half")
    assert found(dataset) == [(Kind.ORPHAN, "shards/.part-000002.tar.00aa11bb.tmp")]


def test_without_a_manifest_the_indexes_still_guard_the_tars(dataset: Store) -> None:
    dataset.delete(MANIFEST)
    flip(dataset, shard_path(TWO), 600)
    assert found(dataset) == [(Kind.MISSING, MANIFEST), (Kind.ALTERED, shard_path(TWO))]


def test_captions_of_samples_that_are_not_there_are_inconsistent(
    dataset: Store, make_sample, make_captions
) -> None:
    from supir_shards import finish_dataset

    strange = make_sample(50)
    write_captions(dataset, "plain", ONE, make_captions([make_sample(0), strange]))
    finish_dataset(dataset, command="supir-caption", config={}, config_hash="bb")
    (problem,) = verify(dataset)
    assert (problem.kind, problem.path) == (Kind.INCONSISTENT, caption_path("plain", ONE))
    assert problem.detail == f"has captions of 1 samples that the index lacks, first {strange.key}"


def test_an_index_that_points_elsewhere_is_found_although_every_hash_fits(dataset: Store) -> None:
    import pyarrow as pa

    from supir_shards import finish_dataset

    table = dataset.read_table(index_path(ONE))
    rows = table.to_pylist()
    rows[0]["offset"], rows[1]["offset"] = rows[1]["offset"], rows[0]["offset"]
    rows[2]["bytes"] = 2**60
    dataset.write_table(index_path(ONE), pa.Table.from_pylist(rows, schema=table.schema))
    finish_dataset(dataset, command="supir-curate", config={"seed": 1}, config_hash="aa")
    problems: list[Problem] = verify(dataset)
    assert [(problem.kind, problem.path) for problem in problems] == [(Kind.INCONSISTENT, shard_path(ONE))]
    assert "3 of 3 samples unreadable" in problems[0].detail
