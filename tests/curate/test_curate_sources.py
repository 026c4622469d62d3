"""Tars and Parquet files as sources: what they hold is listed without reading a picture, and read where it lies."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supir_console import UserError
from supir_curate.config import CurateConfig, SourceConfig
from supir_curate.forecasting.cost import estimate
from supir_curate.ledger import read_scores
from supir_curate.score import score_part
from supir_curate.sources.folder import Folder
from supir_curate.sources.listing import list_source
from supir_curate.sources.originals import read_originals
from supir_curate.sources.plan import make_plan, read_candidates
from supir_curate.sources.unpacking import START_BYTES
from supir_curate.verdict import Reason
from supir_shards import Store, ledger_path

PAGE = "https://a.example/cat.jpg"


def tar_of(path, files):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def pictures(photos, encode):
    return [encode(photos[name][:160, :200], "JPEG", quality=90) for name in ("chelsea", "coffee", "china")]


@pytest.fixture(scope="module")
def tars(pictures, tmp_path_factory):
    """Two tars as img2dataset leaves them, with a hostile sample, and a third that is cut off."""
    folder = tmp_path_factory.mktemp("tars")
    record = json.dumps({"url": PAGE, "caption": "a cat", "license": "CC0", "punsafe": 0.25}).encode()
    first = {"00.jpg": pictures[0], "00.json": record, "../x.jpg": b"x", "01.JPEG": pictures[1]}
    tar_of(folder / "00000.tar", first | {"01.txt": b"coffee\n", "notes.json": b"{}"})
    tar_of(folder / "00001.tar", {"02.jpg": pictures[2], "03.jpg": b"no picture", "04.json": b"["})
    whole = (folder / "00001.tar").read_bytes()
    (folder / "00002.tar").write_bytes(whole[: 512 + len(pictures[2]) // 2])
    pq.write_table(pa.table({"url": [PAGE]}), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")
    return folder


def planned(source, dataset, **section):
    store = Store(dataset)
    config = CurateConfig(source=SourceConfig(**section))
    return store, make_plan(store, str(source), config), config


def read(store, plan, wanted=lambda _row: True, max_bytes=10**7):
    return [one for part in plan.parts() for one in read_originals(store, plan, part, wanted, max_bytes)]


def test_a_tars_samples_come_with_what_their_sidecars_say(tars, pictures, tmp_path):
    store, plan, _ = planned(tars, tmp_path / "set", licence="other")
    read_back = {one.url: one for one in read(store, plan)}
    cat, coffee = read_back[PAGE], read_back["00000.tar/01.JPEG"]
    assert plan.kind == "tars"
    assert (cat.data, cat.text, cat.licence, cat.reason) == (pictures[0], "a cat", "CC0", None)
    assert (coffee.data, coffee.text, coffee.licence) == (pictures[1], "coffee", "other")
    assert read_back["00001.tar/03.jpg"].data == b"no picture"


def test_what_the_guard_refuses_is_a_candidate_with_its_reason(tars, tmp_path):
    store, plan, _ = planned(tars, tmp_path / "set")
    refused = {one.url: one.detail.partition(":")[0] for one in read(store, plan) if one.reason}
    assert refused == {
        "00000.tar/../x.jpg": "bad_name",
        "00002.tar/02.jpg": "truncated",
    }
    assert {one.reason for one in read(store, plan)} == {None, Reason.UNREADABLE}
    assert plan.left_out == {
        "not_pictures": {".json": 1, ".parquet": 1},
        "sidecars_used": {".json": 1, ".txt": 1},
        "sidecars_unused": {".json": 2},
    }


def test_a_tars_part_is_scored_from_its_own_bytes_alone(tars, pictures, tmp_path, monkeypatch):
    store, plan, config = planned(tars, tmp_path / "set", part_size=2)
    ranges = []
    read_range = Folder.read_range

    def noted(folder, path, offset, size):
        ranges.append((path, size))
        return read_range(folder, path, offset, size)

    monkeypatch.setattr(Folder, "read_range", noted)
    tally = score_part(store.url, plan, "part-000001", config)
    rows = store.read_table(ledger_path("part-000001")).to_pylist()
    assert [row["sha256"] for row in rows] == [hashlib.sha256(pictures[n]).hexdigest() for n in (1, 2)]
    assert (tally.seen, tally.kept) == (2, 2)
    starts = [("00000.tar", START_BYTES), ("00001.tar", START_BYTES)]  # tell whether the tar is packed
    own = [("00000.tar", len(pictures[1])), ("00001.tar", len(pictures[2]))]
    assert ranges == [starts[0], own[0], starts[1], own[1]]


def test_a_tar_that_went_or_shrank_fails_its_candidates_only(pictures, tmp_path):
    source = tmp_path / "tars"
    source.mkdir()
    for number in range(3):
        tar_of(source / f"{number}.tar", {"a.jpg": pictures[number]})
    store, plan, _ = planned(source, tmp_path / "set")
    (source / "0.tar").unlink()
    (source / "1.tar").write_bytes((source / "1.tar").read_bytes()[:2000])
    gone, cut, whole = read(store, plan)
    assert (gone.reason, gone.detail[:17]) == (Reason.UNREADABLE, "FileNotFoundError")
    assert cut.detail == f"OSError: 1.tar ends {len(pictures[1]) - 1488} bytes before the picture does"
    assert whole.data == pictures[2]
    assert [one.reason for one in read(store, plan, max_bytes=10)][2] is Reason.TOO_MANY_BYTES


@pytest.mark.parametrize("layout", ["binary", "struct", "named"])
def test_pictures_in_parquet_are_found_by_type_and_name(pictures, tmp_path, layout):
    columns = {
        "binary": {"payload": pictures},
        "struct": {"image": [{"bytes": one, "path": f"{n}.jpg"} for n, one in enumerate(pictures)]},
        "named": {
            "url": [PAGE, None, ""],
            "thumbnail": [b"t"] * 3,
            "scan": pictures,
            "TEXT": ["a", None, "ü"],
        },
    }
    pq.write_table(pa.table(columns[layout]), tmp_path / "a.parquet", row_group_size=2)
    section = {"image_column": "scan"} if layout == "named" else {}
    store, plan, _ = planned(tmp_path / "a.parquet", tmp_path / "set", part_size=2, **section)
    read_back = read(store, plan)
    names = {
        "binary": ["a.parquet#0", "a.parquet#1", "a.parquet#2"],
        "struct": ["a.parquet/0.jpg", "a.parquet/1.jpg", "a.parquet/2.jpg"],
        "named": [PAGE, "a.parquet#1", "a.parquet#2"],
    }
    assert (plan.kind, plan.num_parts) == ("images", 2)
    assert [one.data for one in read_back] == pictures
    assert [one.url for one in read_back] == names[layout]
    assert [one.data for one in read(store, plan, {1}.__contains__)] == [pictures[1]]
    assert [one.text for one in read_back] == (["a", "", "ü"] if layout == "named" else ["", "", ""])


def test_a_row_without_bytes_and_a_damaged_row_group_are_rows_of_their_own(pictures, tmp_path):
    source = tmp_path / "a.parquet"
    rows = [pictures[0], None, pictures[1], pictures[2]]
    pq.write_table(
        pa.table({"image": rows}), source, row_group_size=2, compression="NONE", use_dictionary=False
    )
    store, plan, _ = planned(source, tmp_path / "set")
    place = pq.ParquetFile(source).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(source.read_bytes())
    data[place : place + 8] = b"\xff" * 8
    source.write_bytes(data)
    first, empty, *damaged = read(store, plan)
    assert first.data == pictures[0]
    assert (empty.reason, empty.detail) == (Reason.UNREADABLE, "DatasetError: the row holds no bytes")
    assert [one.reason for one in damaged] == [Reason.UNREADABLE] * 2
    assert [one.row for one in read(store, plan, {0, 3}.__contains__)] == [0, 3]


def test_numbers_of_the_source_become_scores_that_rules_can_use(tars, tmp_path):
    table = pa.table({"URL": [PAGE] * 3, "punsafe": [0.5, None, 1.0], "similarity": pa.array([1, 2, 3])})
    pq.write_table(table, tmp_path / "urls.parquet")
    names = ("punsafe", "similarity")
    store, plan, _ = planned(tmp_path / "urls.parquet", tmp_path / "set", part_size=2, score_columns=names)
    rows = [
        row for part in plan.parts() for row in store.read_table(f"scores/source/{part}.parquet").to_pylist()
    ]
    assert [row["score.similarity"] for row in rows] == [1.0, 2.0, 3.0]
    assert (rows[0]["score.punsafe"], rows[1]["score.punsafe"]) == (
        0.5,
        pytest.approx(float("nan"), nan_ok=True),
    )
    assert [row["source_row"] for row in rows] == [0, 1, 0]
    store, plan, config = planned(tars, tmp_path / "tars", score_columns=("punsafe",))
    score_part(store.url, plan, "part-000000", config)
    assert read_scores(store, "part-000000", ["score.punsafe"]).column("score.punsafe")[0].as_py() == 0.25


def test_a_remote_source_gives_the_same_as_a_local_one(tars, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.put(str(tars), "/curate-tars", recursive=True)
    local, remote = planned(tars, tmp_path / "local"), planned("memory://curate-tars", tmp_path / "remote")
    assert read(*remote[:2]) == read(*local[:2])
    assert read_candidates(remote[0], "part-000000") == read_candidates(local[0], "part-000000")


def test_a_list_that_was_killed_half_way_ends_with_the_same_bytes(tars, tmp_path, monkeypatch, content):
    names = {"part_size": 1, "score_columns": ("punsafe",)}
    planned(tars, tmp_path / "whole", **names)
    write_many, killed = Store.write_many, tmp_path / "killed"

    def failing(store, files):
        write_many(store, dict(list(files.items())[:5]))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_many", failing)
        with pytest.raises(KeyboardInterrupt):
            planned(tars, killed, **names)
    assert len(list(killed.rglob("*.parquet"))) == 5
    assert not (killed / "plan.json").exists()
    planned(tars, killed, **names)
    assert content(killed) == content(tmp_path / "whole")


def test_the_cost_of_tars_and_pictures_is_told_before(tars, pictures, tmp_path):
    of_tars = estimate(str(tars), CurateConfig(), 1)
    assert (of_tars["kind"], of_tars["candidates"], of_tars["seconds_measured_on"]) == ("tars", 6, 4)
    assert of_tars["source_bytes"] == sum(map(len, pictures)) + len(b"no picture")
    pq.write_table(pa.table({"image": pictures}), tmp_path / "a.parquet")
    of_table = estimate(str(tmp_path / "a.parquet"), CurateConfig(), 1)
    assert (of_table["candidates"], of_table["source_bytes"]) == (3, (tmp_path / "a.parquet").stat().st_size)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"url_column": "ULR"}, "no column 'ULR'; did you mean 'URL'\\? Its columns are URL, scan, width;"),
        ({"image_column": "scam"}, "no column 'scam'; did you mean 'scan'"),
        ({"image_column": "width"}, "column 'width' is int64, not binary or a struct with `bytes`"),
        ({"score_columns": ("punsafe",)}, "no column 'punsafe'.*--set source.score_columns=NAME"),
        ({"score_columns": ("noise_sigma",)}, "noise_sigma is a score of ours"),
    ],
)
def test_a_wrong_column_is_named_with_the_nearest(tmp_path, section, message):
    pq.write_table(pa.table({"URL": [PAGE], "scan": [b"x"], "width": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=message):
        planned(tmp_path / "a.parquet", tmp_path / "set", **section)


def test_a_source_of_two_kinds_is_refused(tars, tmp_path):
    pq.write_table(pa.table({"size": [1]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"no column url or URL and none of pictures; its columns are size;"):
        list_source(str(tmp_path), SourceConfig())
    (tmp_path / "a.tar").write_bytes((tars / "00001.tar").read_bytes())
    with pytest.raises(UserError, match=r"holds 1 tars and 1 Parquet files; give one kind alone"):
        list_source(str(tmp_path), SourceConfig())


@pytest.mark.parametrize("place", ["set", "a/../set/deep"])
def test_a_dataset_inside_its_source_is_refused(tars, place):
    with pytest.raises(UserError, match=r"lies inside the source .*, which would then hold our files"):
        make_plan(Store(tars / place), str(tars), CurateConfig())
    assert not (tars / "set").exists()


def test_what_a_killed_list_of_another_config_left_is_not_part_of_the_dataset(tars, tmp_path, monkeypatch):
    store, scored = Store(tmp_path / "set"), SourceConfig(part_size=1, score_columns=("punsafe",))
    monkeypatch.setattr("supir_curate.sources.plan.save_plan", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_plan(store, str(tars), CurateConfig(source=scored))
    monkeypatch.undo()
    assert store.list("scores")
    store.write("candidates/mine.odt", b"a file of the user's")
    make_plan(store, str(tars), CurateConfig())
    assert store.list() == ["candidates/mine.odt", "candidates/part-000000.parquet", "plan.json"]
