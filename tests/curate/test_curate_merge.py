"""Datasets as sources: several become one, and nothing that is known of a sample is lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supir_console import UserError, load_config
from supir_curate import carry, pipeline, score
from supir_curate.config import CurateConfig, SourceConfig
from supir_curate.failures import changed_pictures
from supir_curate.forecasting.cost import estimate
from supir_curate.packing.carry import captions_left_out
from supir_curate.selection.select import select
from supir_curate.sources.candidate import candidates_from
from supir_curate.sources.left_out import without_notes
from supir_curate.sources.listing import list_source
from supir_curate.sources.plan import load_plan
from supir_shards import (
    Caption,
    Dataset,
    Role,
    Sample,
    Store,
    finish_dataset,
    load_manifest,
    part_name,
    shard_path,
    verify,
    write_captions,
    write_part,
)

LOOSE = ("select.rules.below_min_side.limit=64", "select.rules.low_detail.limit=0.01", "source.part_size=2")
FIELDS = [name for name in Sample.__dataclass_fields__ if name != "scores"]


@pytest.fixture(scope="module")
def make(in_this_process) -> Any:
    """Makes or continues a dataset of some sources: make(dataset, sources, *settings)."""

    def made(dataset: Path, sources: list[Any], *settings: str) -> Store:
        store, config = Store(dataset), load_config(CurateConfig, None, list(settings))
        names = [str(source) for source in sources]
        plan = pipeline.score(store, names, config, in_this_process, allow_private=False)
        select(store, plan, config.select)
        pipeline.pack(store, plan, config, in_this_process)
        return store

    return made


@pytest.fixture(scope="module")
def tables(photos, encode, tmp_path_factory) -> dict[str, Path]:
    """Two Parquet files of pictures with URL, text, licence and role; one picture is in both."""
    folder = tmp_path_factory.mktemp("tables")
    rows = []
    for number, (name, pixels) in enumerate(sorted(photos.items())):
        kind = {"quality": 92} if number % 2 else {}
        about = {
            "url": f"https://ex.org/{name}",
            "caption": f"a {name}",
            "role": "face" if number == 0 else "photo",
        }
        licence = {"license": "CC-BY-4.0" if number % 2 else ""}
        rows.append(about | licence | {"image": encode(pixels, "JPEG" if kind else "PNG", **kind)})
    parts = {"a": rows[:4], "b": rows[3:]}
    for name, some in parts.items():
        pq.write_table(pa.Table.from_pylist(some), folder / f"{name}.parquet")
    return {name: folder / f"{name}.parquet" for name in parts}


@pytest.fixture(scope="module")
def a(make, tables, tmp_path_factory) -> Store:
    """Four whole photos with captions."""
    store = make(tmp_path_factory.mktemp("a") / "A", [tables["a"]], *LOOSE, "source.role_column=role")
    return captioned(store, "plain", b'{"config": 1}')


@pytest.fixture(scope="module")
def b(make, tables, tmp_path_factory) -> Store:
    """Crops of four photos, one of which is in `a`; a negative of one; captions of another captioner's config."""
    cut = ("pack.mode=crops", "pack.size_px=256", "pack.max_crops=2", "source.licence=CC0-1.0")
    store = make(tmp_path_factory.mktemp("b") / "B", [tables["b"]], *LOOSE, *cut)
    crop = next(iter(Dataset(store).samples()))
    key = "e" * 32
    negative = replace(crop, key=key, role=Role.NEGATIVE, trace="{}", scores={"quality": 0.5})
    write_part(store, part_name(900), [negative])
    return captioned(store, "plain", b'{"config": 2}')


def captioned(store: Store, name: str, record: bytes) -> Store:
    for part in Dataset(store).parts():
        about = {"text": "t", "short_text": "s", "num_tokens_clip_l": 1, "num_tokens_clip_g": 1}
        write_captions(
            store,
            name,
            part,
            [
                Caption(key=one.key, region=0, box=(0, 0, 9, 9), model=store.url, **about)
                for one in Dataset(store).samples([part])
            ],
        )
    store.write(f"report/captions/{name}/config.json", record)
    finish_dataset(store, command="supir-caption", config={}, config_hash="aa")
    return store


def read(store: Store, **options: Any) -> dict[str, Any]:
    return {record.key: record for record in Dataset(store).samples(**options)}


@pytest.fixture(scope="module")
def merged(make, a, b, tmp_path_factory) -> Store:
    """Both in one, made while nothing could be measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "measure", None)
        return make(tmp_path_factory.mktemp("c") / "C", [a.url, f"{b.url}/shards"])


def test_merged_samples_are_what_they_were(a, b, merged) -> None:
    before, after = read(a) | read(b), read(merged)
    assert after.keys() == before.keys()
    assert len(after) == 4 + 7 + 1
    for key, record in after.items():
        assert [name for name in FIELDS if getattr(record, name) != getattr(before[key], name)] == []
        assert record.scores == before[key].scores
    assert {record.licence for record in after.values()} == {"CC-BY-4.0", "", "CC0-1.0"}
    assert load_manifest(merged).totals.samples == {"face": 1, "photo": 10, "negative": 1}
    assert verify(merged) == []


def test_captions_go_along_but_not_under_a_name_that_another_config_has(a, b, merged) -> None:
    told = [record for store in (merged,) for record in read(store).values()]
    parts = [part for part in Dataset(merged).parts() if merged.exists(f"captions/plain/{part}.parquet")]
    captions = [one for record in Dataset(merged).samples(parts, captions="plain") for one in record.captions]
    assert len(told) == 12
    assert {one.key for one in captions} == read(a).keys()
    assert {one.model for one in captions} == {a.url}
    assert captions_left_out(load_plan(merged)) == [f"{b.url}: plain"]
    assert merged.read("report/captions/plain/config.json") == b'{"config": 1}'


def test_a_merged_dataset_is_a_source_again(make, merged, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(score, "measure", None)
    again = make(tmp_path / "D", [merged.url])
    assert read(again) == {
        key: replace(record, part=read(again)[key].part) for key, record in read(merged).items()
    }


def test_a_rerun_does_nothing_and_other_sources_are_refused(make, a, b, merged, content) -> None:
    before = content(Path(merged.url))
    make(Path(merged.url), [a.url, f"{b.url}/shards"])
    assert content(Path(merged.url)) == before
    with pytest.raises(UserError, match="was begun from"):
        make(Path(merged.url), [b.url, a.url])


def test_a_sample_of_both_is_that_of_the_first(make, a, tmp_path) -> None:
    copy = Store(tmp_path / "copy")
    copy.write_many({path: a.read(path) for path in a.list()})
    for part in Dataset(copy).parts():
        write_part(copy, part, [replace(one, text="the second") for one in Dataset(a).samples([part])])
    finish_dataset(copy, command="supir-curate", config={}, config_hash="aa")
    for number, sources in enumerate(([a.url, copy.url], [copy.url, a.url])):
        store = make(tmp_path / f"D{number}", sources)
        texts = {record.text for record in read(store).values()}
        assert (len(read(store)), "the second" in texts, len(texts)) == (4, bool(number), 1 if number else 4)


def test_other_probes_make_a_sample_be_measured_again(make, a, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("supir_curate.scores.PROBE_VERSION", 99)
    looked = []
    real = score.measure
    monkeypatch.setattr(score, "measure", lambda *given: looked.append(1) or real(*given))
    store = make(tmp_path / "D", [a.url])
    assert len(looked) == 4
    before = read(a)
    for key, record in read(store).items():
        assert [name for name in FIELDS if getattr(record, name) != getattr(before[key], name)] == []
        assert record.scores.keys() == before[key].scores.keys()
    assert carry.known_rows(store, part_name(0), CurateConfig().probe)


def test_only_a_rule_that_is_given_judges_a_sample_again(make, a, tmp_path) -> None:
    assert len(read(make(tmp_path / "D", [a.url]))) == 4  # smaller than the default rules take
    store = make(tmp_path / "E", [a.url], "select.rules.below_min_side.limit=401")
    assert len(read(store)) == 2


def test_what_looks_like_a_photo_of_another_source_goes_and_its_own_crops_stay(
    make, b, photos, encode, tmp_path
) -> None:
    record = next(one for one in read(b).values() if one.role == "photo")
    name = record.source.rpartition("/")[2]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/again.png").write_bytes(encode(photos[name][3:, 3:], "PNG"))
    store = make(tmp_path / "D", [b.url, tmp_path / "folder"], *LOOSE)
    assert read(store).keys() == read(b).keys()
    reasons = [
        row["reason"] for path in store.list("selection") for row in store.read_table(path).to_pylist()
    ]
    assert sorted(filter(None, reasons)) == ["near_duplicate"]


def test_two_folders_and_a_list_become_one_dataset(make, photos, encode, tables, tmp_path) -> None:
    for folder, name in (("one", "china"), ("two", "flower")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(encode(photos[name], "JPEG", quality=90))
    store = make(tmp_path / "D", [tmp_path / "one", tables["a"], tmp_path / "two"], *LOOSE)
    kinds = [piece.kind for piece in load_plan(store).pieces]
    assert (kinds, load_plan(store).num_parts) == (["folder", "images", "folder"], 4)
    assert len(read(store)) == 5  # one of them is in the list too
    assert verify(store) == []
    with pytest.raises(UserError, match="named twice"):
        make(tmp_path / "E", [tmp_path / "one", tmp_path / "one"], *LOOSE)


def test_a_sample_that_was_altered_is_noted_and_the_rest_is_packed(make, a, tmp_path) -> None:
    copy = Store(tmp_path / "copy")
    copy.write_many({path: a.read(path) for path in a.list()})
    row = Dataset(copy).index(part_name(0)).to_pylist()[0]
    data = bytearray(copy.read(shard_path(part_name(0))))
    data[row["offset"] + 9] ^= 1
    copy.write(shard_path(part_name(0)), bytes(data))
    store = make(tmp_path / "D", [copy.url])
    assert read(store).keys() == read(a).keys() - {row["key"]}
    assert [one.source_row for one in changed_pictures(store)] == [0]
    assert verify(store) == []


def test_a_takedown_of_a_photo_takes_its_crops_and_negatives(make, merged, here, tmp_path) -> None:
    copy = Store(tmp_path / "copy")
    copy.write_many({path: merged.read(path) for path in merged.list()})
    negative = next(one for one in read(copy).values() if one.role == "negative")
    family = {key for key, one in read(copy).items() if one.source == negative.source}
    assert len(family) > 2
    outcome = here("remove", copy.url, "--sha256", negative.origin.sha256)
    assert (outcome.code, outcome.summary["still_standing"]) == (0, [])
    assert read(copy).keys() == read(merged).keys() - family
    crop = next(one for one in read(copy).values() if one.key != one.source_key)
    outcome = here("remove", copy.url, "--key", crop.key)
    assert (outcome.code, outcome.summary["samples"], outcome.summary["still_standing"]) == (
        0,
        [crop.key],
        [],
    )
    assert verify(copy) == []


def test_a_dry_run_says_what_is_scored_already(a, b, tables) -> None:
    config = load_config(CurateConfig, None, list(LOOSE))
    told = estimate([a.url, str(tables["b"])], config, 1)
    assert (told["candidates"], told["parts"]) == (8, 4)
    assert [one["kind"] for one in told["sources"]] == ["dataset", "images"]
    assert (told["sources"][0]["scored_already"], told["sources"][0]["score_hours"]) == (4, 0)


def test_an_unfinished_dataset_is_one_line(make, a, tmp_path) -> None:
    copy = Store(tmp_path / "copy")
    copy.write_many({path: a.read(path) for path in a.list()})
    copy.write("dataset.json", b"{")
    with pytest.raises(UserError, match=r"dataset\.json is damaged"):
        make(tmp_path / "D", [copy.url])


def test_a_shard_alone_gives_source_licence_role_and_text(make, a, b, tmp_path) -> None:
    """A tar that somebody was handed, without index and dataset.json."""
    made = make(tmp_path / "made", [shards_of(a, tmp_path / "a")], *LOOSE, "source.licence=CC0-1.0")
    before, after = ({one.source: one for one in read(store).values()} for store in (a, made))
    assert after.keys() == before.keys()
    for name, one in after.items():
        was = before[name]
        assert (one.role, one.text, one.licence) == (was.role, was.text, was.licence or "CC0-1.0")
    assert {one.role for one in after.values()} == {Role.FACE, Role.PHOTO}
    tables = list_source(str(shards_of(b, tmp_path / "b")), SourceConfig()).tables
    rows = [row for table in map(without_notes, tables, repeat({})) for row in candidates_from(table)]
    told = [(one.source, one.licence, str(one.role), one.text) for one in Dataset(b).samples()]
    assert [(row.url, row.licence, row.role, row.text) for row in rows] == told
    assert rows[-1].role == "negative"


def shards_of(store: Store, folder: Path) -> Path:
    """The tars of a dataset in a folder of their own."""
    folder.mkdir()
    for path in store.list("shards"):
        (folder / path.rpartition("/")[2]).write_bytes(store.read(path))
    return folder
