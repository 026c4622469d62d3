"""What a run leaves for the next step: configs, marks, and pictures that changed in between."""

from __future__ import annotations

import json
import shutil

import pytest

from supir_console import UserError
from supir_curate.config import CurateConfig
from supir_shards import Dataset, Store, load_manifest, verify


def rows(dataset, folder):
    store = Store(dataset)
    return [row for path in store.list(folder) for row in store.read_table(path).to_pylist()]


@pytest.fixture
def scored(curate, collection, settings, tmp_path):
    """A source of 14 pictures and its dataset, selected but not packed."""
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(collection / "set-2", source)
    curate("score", source, "-o", dataset, *settings)
    curate("select", dataset, *settings)
    return source, dataset


def kept_urls(dataset):
    selection, ledger = rows(dataset, "selection"), rows(dataset, "ledger")
    return [row["url"] for row, choice in zip(ledger, selection, strict=True) if choice["state"] == "kept"]


def test_pictures_that_changed_or_went_are_listed_and_the_rest_is_packed(curate, scored, content):
    source, dataset = scored
    changed, gone, *others = kept_urls(dataset)
    before = (source / changed).read_bytes()
    (source / changed).write_bytes(before + b"\0")
    (source / gone).unlink()
    outcome = curate("pack", dataset)
    assert outcome.code == 1
    assert (outcome.summary["changed"], outcome.summary["samples"]) == (2, len(others))
    assert sorted(record.source for record in Dataset(dataset).samples()) == sorted(others)
    listed = (dataset / "report" / "failures.csv").read_text().splitlines()[1:]
    assert [line.split(",")[2:4] for line in listed] == [
        [changed, "changed_since_scored"],
        [gone, "changed_since_scored"],
    ]
    assert f"other bytes: {len(before) + 1}, scored were {len(before)}" in listed[0]
    assert "No such file" in listed[1]
    assert verify(dataset) == []
    files = content(dataset)
    (source / changed).write_bytes(before)
    assert curate("pack", dataset) == outcome  # the part is done, like any with a failed row
    assert content(dataset) == files


def test_a_part_packed_anew_forgets_what_had_changed(curate, scored):
    source, dataset = scored
    victim, *_ = urls = kept_urls(dataset)
    before = (source / victim).read_bytes()
    (source / victim).write_bytes(b"other")
    assert curate("pack", dataset).code == 1
    (source / victim).write_bytes(before)
    (dataset / "index" / f"{rows(dataset, 'changed')[0]['part']}.parquet").unlink()
    outcome = curate("pack", dataset)
    assert (outcome.code, outcome.summary["samples"]) == (0, len(urls))
    assert not rows(dataset, "changed")
    assert len((dataset / "report" / "failures.csv").read_text().splitlines()) == 1


def test_crops_are_as_many_as_foretold_and_the_same_twice(curate, scored, content, tmp_path):
    dataset, again = scored[1], tmp_path / "again"
    shutil.copytree(dataset, again)
    values = ("mode=crops", "size_px=64", "min_frame_share=0.01", "min_effective_ratio=0")
    crops = [word for value in values for word in ("--set", f"pack.{value}")]
    foretold = curate("pack", dataset, "--dry-run", *crops).summary
    packed = curate("pack", dataset, *crops).summary
    assert foretold["samples"] == packed["samples"] > 1.5 * packed["kept"]
    assert foretold["photos"] == packed["kept"]
    records = list(Dataset(dataset).samples())
    assert len({record.key for record in records}) == len(records) == packed["samples"]
    assert {(record.width, record.height) for record in records} == {(64, 64)}
    assert {record.source for record in records} == set(kept_urls(dataset))
    assert not any(record.origin.reencoded for record in records)
    curate("pack", again, *crops)
    assert content(again) == content(dataset)
    assert verify(dataset) == []


def test_a_source_that_is_not_mounted_is_not_a_folder_of_changed_pictures(curate, scored):
    source, dataset = scored
    shutil.rmtree(source)
    source.mkdir()
    with pytest.raises(UserError, match=r"source is gone or empty.*mount or restore it"):
        curate("pack", dataset)
    assert not (dataset / "index").exists()


def test_the_manifest_tells_the_config_that_made_the_dataset(curate, scored, settings):
    dataset = scored[1]
    stricter = [*settings, "--set", "select.rules.noisy.limit=9", "--set", "fetch.pace.retries=7"]
    curate("select", dataset, *stricter)
    curate("pack", dataset, "--set", "pack.jpeg_quality=96")
    manifest = load_manifest(Store(dataset))
    made = CurateConfig.model_validate_json(json.dumps(manifest.config))
    assert made.source.part_size == 7
    assert made.select.rules["noisy"].limit == 9
    assert made.select.rules["below_min_side"].limit == 100
    assert made.pack.jpeg_quality == 96
    assert "pace" not in manifest.config["fetch"]


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("pack", "probe.working_side_px=64", "probe.working_side_px=1024, not 64"),
        ("pack", "source.part_size=99", "source.part_size=7, not 99"),
        ("pack", "select.rules.noisy.limit=3", r"select.rules.noisy.limit=10.0, not 3.0"),
        ("report", "select.rules.grey.limit=null", r"select.rules.grey.limit=3.0, not None"),
        ("select", "fetch.policy.max_bytes=5", "fetch.policy.max_bytes=33554432, not 5"),
    ],
)
def test_a_later_step_refuses_what_an_earlier_one_recorded_otherwise(
    curate, curated, command, given, message
):
    with pytest.raises(UserError, match=rf"was made with {message}; leave out what an earlier step recorded"):
        curate(command, curated[0], "--set", given)


def test_a_later_step_takes_what_was_recorded(curate, curated):
    dataset, outcome = curated
    summary = curate("pack", dataset).summary
    assert {name: summary[name] for name in ("kept", "samples")} == {
        name: outcome.summary[name] for name in ("kept", "samples")
    }
    curate("report", dataset)
    assert "short_side_px &gt;= 100" in (dataset / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("name", "command", "message"),
    [
        (
            "plan.json",
            "select",
            r"plan.json is damaged \(.*\); restore it from a copy, or start a new dataset",
        ),
        (
            "selection.json",
            "pack",
            r"selection.json is damaged \(.*\); delete it and run: supir-curate select",
        ),
        (
            "selection.json",
            "select",
            r"selection.json is damaged \(.*\); delete it and run: supir-curate select",
        ),
        ("packing.json", "pack", r"packing.json is damaged \(.*\); delete it and pack again with the config"),
    ],
)
@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"kept": 1'])
def test_a_damaged_mark_is_named_with_its_mend(curate, curated, tmp_path, name, command, message, damage):
    dataset = tmp_path / "dataset"
    shutil.copytree(curated[0], dataset)
    (dataset / name).write_bytes(damage)
    with pytest.raises(UserError, match=message):
        curate(command, dataset)
