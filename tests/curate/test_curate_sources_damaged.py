"""Damaged files among good ones are candidates that failed; the others are listed, wherever, to equal bytes."""

from __future__ import annotations

import asyncio
import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supir_console import UserError
from supir_curate.config import CurateConfig, SourceConfig
from supir_curate.config.rules import DEFAULT_RULES
from supir_curate.config.select import SelectConfig
from supir_curate.fetching.fetch import Fetcher
from supir_curate.forecasting.cost import estimate
from supir_curate.score import score_part
from supir_curate.selection.select import select, selection_path
from supir_curate.sources.cutting import in_parts
from supir_curate.sources.listing import SPREAD_FROM
from supir_curate.sources.originals import read_originals
from supir_curate.sources.plan import make_plan, read_candidates
from supir_curate.verdict import Reason
from supir_shards import Store


def tar_of(path, names, json=b"{}"):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            for extension, data in ((".jpg", name.encode()), (".json", json)):
                member = tarfile.TarInfo(name + extension)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def planned(source, dataset, spread=None, **section):
    store, config = Store(dataset), CurateConfig(source=SourceConfig(**section))
    return store, make_plan(store, str(source), config, *([spread] if spread else []))


def candidates(source, dataset, **section):
    store, plan = planned(source, dataset, **section)
    return [one for part in plan.parts() for one in read_candidates(store, part)]


@pytest.fixture
def tables(tmp_path):
    """Parquet files of URLs: good, cut off, of numbers, without the column, good with an empty one beside it."""
    folder = tmp_path / "tables"
    folder.mkdir()
    pq.write_table(pa.table({"url": ["a", "b"]}), folder / "0.parquet")
    pq.write_table(pa.table({"url": ["lost"] * 9}), folder / "1.parquet")
    (folder / "1.parquet").write_bytes((folder / "1.parquet").read_bytes()[:-20])
    pq.write_table(pa.table({"url": [1, 2]}), folder / "2.parquet")
    pq.write_table(pa.table({"link": ["x"]}), folder / "3.parquet")
    pq.write_table(pa.table({"url": pa.array([], pa.string())}), folder / "4.parquet")
    pq.write_table(pa.table({"url": ["c"]}), folder / "5.parquet")
    return folder


def test_a_damaged_table_is_one_failure_and_the_others_go_on(tables, tmp_path):
    rows = candidates(tables, tmp_path / "set")
    assert [(row.url, row.reason) for row in rows] == [
        ("a", None),
        ("b", None),
        ("1.parquet", Reason.UNREADABLE),
        ("2.parquet", Reason.UNREADABLE),
        ("3.parquet", Reason.UNREADABLE),
        ("c", None),
    ]
    assert "1.parquet is not a readable Parquet file (" in rows[2].detail
    assert "column 'url' is int64, not text" in rows[3].detail
    assert "has no column 'url'; did you mean 'link'" in rows[4].detail


def test_a_tar_that_cannot_be_opened_is_one_failure(tmp_path):
    source = tmp_path / "tars"
    source.mkdir()
    (source / "0.tar").symlink_to(tmp_path / "nowhere")
    tar_of(source / "1.tar", ["x"])
    gone, there = candidates(source, tmp_path / "set")
    assert (gone.url, gone.file, gone.reason) == ("0.tar", "0.tar", Reason.UNREADABLE)
    assert gone.detail.startswith("FileNotFoundError: ")
    assert there.url == "1.tar/x.jpg"


def test_a_first_file_that_is_damaged_does_not_decide_the_kind(tables, tmp_path):
    (tables / "0.parquet").write_text("no parquet")
    _, plan = planned(tables, tmp_path / "set")
    assert (plan.kind, plan.num_candidates) == ("urls", 5)


def test_a_source_of_which_nothing_can_be_read_is_refused_and_leaves_no_plan(tables, tmp_path):
    for name in ("0", "4", "5"):
        (tables / f"{name}.parquet").write_text("no parquet")
    with pytest.raises(
        UserError, match=r"none of 6 Parquet files is of use; the first: .*0.parquet is not a re"
    ):
        planned(tables, tmp_path / "set")
    bad = tmp_path / "tars"
    bad.mkdir()
    for number in range(3):
        (bad / f"{number}.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match=r"nothing in .*/tars can be read; the first of 3: 0.tar/?"):
        planned(bad, tmp_path / "set", score_columns=("punsafe",))
    with pytest.raises(UserError, match=r"nothing in .*/tars can be read"):
        estimate(str(bad), CurateConfig(), 1)
    assert not list((tmp_path / "set").rglob("*.parquet"))


def test_of_a_damaged_row_group_what_stands_before_and_after_is_kept(tmp_path):
    source = tmp_path / "a.parquet"
    rows = {"image": [b"%d" % row for row in range(6)], "url": [f"u{row}" for row in range(6)]}
    pq.write_table(pa.table(rows), source, row_group_size=2, compression="NONE", use_dictionary=False)
    column = pq.ParquetFile(source).metadata.row_group(1).column(1)
    data = bytearray(source.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 8] = b"\xff" * 8
    source.write_bytes(data)
    store, plan = planned(source, tmp_path / "set")
    read = list(read_originals(store, plan, "part-000000", lambda _row: True, 99))
    assert [(one.url, one.data) for one in read] == [
        ("u0", b"0"),
        ("u1", b"1"),
        ("a.parquet#2", b""),
        ("u4", b"4"),
        ("u5", b"5"),
    ]
    assert (read[2].reason, read[2].detail[:14]) == (Reason.UNREADABLE, "rows 2 to 3: O")


def test_a_url_that_was_not_listed_is_not_fetched(tables, tmp_path):
    store, plan = planned(tables, tmp_path / "set")

    async def fetched():
        fetcher = Fetcher(CurateConfig().fetch, False, 1)
        try:
            await fetcher.fetch_part(store.url, "part-000000")
        finally:
            await fetcher.close()

    asyncio.run(fetched())
    read = list(read_originals(store, plan, "part-000000", lambda _row: True, 99))
    assert [one.reason for one in read] == [Reason.BAD_URL] * 2 + [Reason.UNREADABLE] * 3 + [Reason.BAD_URL]
    assert read[2].detail == read_candidates(store, "part-000000")[2].detail


def test_a_dry_run_tells_what_cannot_be_read(tables):
    told = estimate(str(tables), CurateConfig(), 1)
    assert (told["candidates"], told["unreadable"], told["hosts"]) == (6, 3, 1)
    assert told["largest_host"] == ": 3 URLs"
    assert told["first_unreadable"].startswith("1.parquet: ")
    assert told["first_unreadable"].count("\n") == 0


def test_a_role_that_the_source_says_is_noted_and_an_unknown_one_fails_its_candidate(tmp_path):
    said = ["face", " Photo ", None, "portrait", ""]
    pq.write_table(pa.table({"url": list("abcde"), "kind": said}), tmp_path / "a.parquet")
    rows = candidates(tmp_path / "a.parquet", tmp_path / "set", role_column="kind")
    assert [row.role for row in rows] == ["face", "photo", "", "", ""]
    assert [row.reason for row in rows] == [None, None, None, Reason.UNKNOWN_ROLE, None]
    assert rows[3].detail == "role 'portrait' is none of photo, face, negative"
    tar_of(tmp_path / "a.tar", ["x"], json=b'{"kind": "negative"}')
    (row,) = candidates(tmp_path / "a.tar", tmp_path / "tar set", role_column="kind")
    assert (row.role, row.reason) == ("negative", None)
    with pytest.raises(
        UserError, match=r"no column 'knid'; did you mean 'kind'.*--set source.role_column=NAME"
    ):
        candidates(tmp_path / "a.parquet", tmp_path / "other", role_column="knid")


def test_a_given_role_goes_before_the_rules_and_counts_for_its_quota(photos, encode, tmp_path):
    names = ("chelsea", "coffee", "china", "rocket")
    pictures = [encode(photos[name][:160, :200], "JPEG", quality=90) for name in names]
    table = {"image": pictures, "url": list(names), "kind": ["photo", None, "negative", "face"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    store, plan = planned(tmp_path / "a.parquet", tmp_path / "set", role_column="kind", part_size=3)
    for part in plan.parts():
        score_part(store.url, plan, part, CurateConfig(source=plan.scoring.source))
    off = {reason: {"limit": None} for reason in DEFAULT_RULES}
    config = SelectConfig.model_validate(
        {"rules": off, "roles": {"face": {"url": "*"}}, "quotas": {"negative": 0}}
    )
    selection = select(store, plan, config)
    rows = [row for part in plan.parts() for row in store.read_table(selection_path(part)).to_pylist()]
    assert [row["role"] for row in rows] == ["photo", "face", "negative", "face"]
    assert (selection.roles, selection.reasons) == ({"face": 2, "photo": 1}, {"over_quota": 1})
    assert rows[2]["detail"] == "rank 1 as negative, kept are 0"


def test_many_files_are_spread_and_the_plan_does_not_tell(tmp_path, content):
    source = tmp_path / "tars"
    source.mkdir()
    for number in range(SPREAD_FROM):
        tar_of(source / f"{number:03d}.tar", [f"{row}" for row in range(number % 3)])
    (source / "005.tar").write_bytes(b"no tar" * 200)
    asked = []

    def spread(list_files, files):
        asked.extend(files)
        for first in range(0, len(files), 5):
            yield from list_files(files[first : first + 5])

    planned(source, tmp_path / "spread", spread, part_size=7)
    assert asked == sorted(path.name for path in source.iterdir())
    planned(source, tmp_path / "here", part_size=7)
    assert content(tmp_path / "spread") == content(tmp_path / "here")
    (source / "000.tar").unlink()
    planned(source, tmp_path / "few", pytest.fail, part_size=7)


@pytest.mark.parametrize(("place", "spreads"), [("memory://curate-many-tables", True), ("LOCAL", False)])
def test_tables_are_spread_where_storage_is_remote(tmp_path, place, spreads):
    folder = Store(tmp_path / "tables" if place == "LOCAL" else place)
    for number in range(SPREAD_FROM):
        folder.write_table(f"{number:03d}.parquet", pa.table({"url": [f"u{number}"]}))
    asked = []

    def spread(list_files, files):
        asked.extend(files)
        return list_files(files)

    _, plan = planned(folder.url, tmp_path / "set", spread)
    assert (plan.num_candidates, len(asked)) == (SPREAD_FROM, SPREAD_FROM * spreads)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_parts_are_cut_alike_however_the_rows_come(size):
    rows = pa.table({"n": range(12)})
    cuts = [
        [rows],
        [rows.slice(n, 1) for n in range(12)],
        [rows.slice(0, 5), rows.slice(5, 0), rows.slice(5)],
    ]
    expected = [list(range(first, min(12, first + size))) for first in range(0, 12, size)]
    for tables in cuts:
        assert [part.column("n").to_pylist() for part in in_parts(tables, size)] == expected


def test_a_number_too_large_to_be_a_score_is_none_and_the_tar_goes_on(tmp_path):
    tar_of(tmp_path / "a.tar", ["1", "2"], json=b'{"punsafe": 1' + b"0" * 400 + b"}")
    names = [one.url for one in candidates(tmp_path / "a.tar", tmp_path / "set", score_columns=("punsafe",))]
    assert names == ["a.tar/1.jpg", "a.tar/2.jpg"]


def test_two_columns_of_one_name_are_one_line(tmp_path):
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["url", "url"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(
        UserError, match=r"twice.parquet has several columns 'url'; rename or drop all but one"
    ):
        candidates(tmp_path / "twice.parquet", tmp_path / "set")
