"""Folders as other tools leave them: img2dataset's `files`, Hugging Face's `imagefolder`, tars that are packed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_rows import files_in, rows_of, tar_of

from supir_console import UserError
from supir_curate.config import CurateConfig, SourceConfig
from supir_curate.score import score_part
from supir_curate.sources.originals import read_originals
from supir_curate.sources.plan import make_plan
from supir_curate.verdict import Reason
from supir_shards import Store, ledger_path

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
PAGE = "https://a.example/cat.jpg"


def record(**values):
    return json.dumps(values)


@pytest.fixture(scope="module")
def samples(photos, encode):
    """Pictures with what img2dataset tells of them."""
    names = ("chelsea", "coffee")
    pictures = [encode(photos[name][:160, :200], "JPEG", quality=90) for name in names]
    told = [
        {
            "url": f"https://a.example/{name}.jpg",
            "caption": name,
            "key": f"00000000{number}",
            "status": "success",
        }
        | {"original_width": 900, "sha256": "0" * 64, "exif": "{}", "error_message": None}
        for number, name in enumerate(names)
    ]
    return list(zip(pictures, told, strict=True))


def img2dataset(folder, samples, output):
    """The three outputs of img2dataset."""
    members = {}
    for number, (picture, told) in enumerate(samples):
        key = f"00000000{number}"
        members |= {f"{key}.jpg": picture, f"{key}.txt": told["caption"], f"{key}.json": json.dumps(told)}
    table = pa.Table.from_pylist([told for _, told in samples])
    files_in(folder, {"00000_stats.json": "{}"})
    if output == "parquet":
        table = table.append_column("jpg", [[picture for picture, _ in samples]])
    pq.write_table(table, folder / "00000.parquet")
    if output == "files":
        files_in(folder / "00000", members)
    if output == "webdataset":
        tar_of(folder / "00000.tar", members)
    return folder


@pytest.mark.parametrize("output", ["files", "webdataset", "parquet"])
def test_each_output_of_img2dataset_gives_the_same(tmp_path, samples, output):
    source = img2dataset(tmp_path / "in", samples, output)
    rows, counts = rows_of(source, licence="CC0-1.0")
    assert {row.url: (row.text, row.licence, row.digest) for row in rows.values()} == {
        told["url"]: (told["caption"], "CC0-1.0", "") for _, told in samples
    }
    store, config = Store(tmp_path / "set"), CurateConfig()
    plan = make_plan(store, str(source), config)
    tally = score_part(store.url, plan, "part-000000", config)
    assert (tally.seen, tally.kept) == (2, 2)
    assert store.read_table(ledger_path("part-000000")).column("url").to_pylist() == [
        t["url"] for _, t in samples
    ]
    left = {"files": {".json": 2, ".txt": 2}, "webdataset": {".json": 2, ".txt": 2}, "parquet": None}
    assert counts.get("sidecars_used") == left[output]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_packed_tars_are_read_forward_and_a_damaged_one_up_to_the_damage(tmp_path, samples, mode):
    members = {f"{number:02d}.jpg": samples[0][0] + bytes([number]) for number in range(20)}
    suffix = mode.partition(":")[2]
    source = tar_of(tmp_path / "in" / f"a.tar.{suffix}", members, mode)
    if suffix == "gz":
        source = source.rename(source.with_name("a.tgz"))
    store = Store(tmp_path / "set")
    plan = make_plan(store, str(source.parent), CurateConfig())
    read = list(read_originals(store, plan, "part-000000", {3, 4, 17}.__contains__, 10**6))
    assert [one.data for one in read] == [members[f"{row:02d}.jpg"] for row in (3, 4, 17)]
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    rows, _ = rows_of(source.parent)
    good = [row for row in rows.values() if row.reason is None]
    bad = [row for row in rows.values() if row.reason]
    assert len(good) < 20
    assert len(bad) == 1
    assert bad[0].reason is Reason.UNREADABLE
    gone = list(read_originals(store, plan, "part-000000", {19}.__contains__, 10**6))
    assert gone[0].reason is Reason.UNREADABLE


def as_file(kind, rows):
    if kind == "jsonl":
        return "\n".join(map(json.dumps, rows))
    sink = io.StringIO()
    table = csv.DictWriter(sink, rows[0])
    table.writeheader()
    table.writerows(rows)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_metadata_of_an_imagefolder_is_joined(tmp_path, kind):
    rows = [
        {"file_name": "a.jpg", "text": "a cat", "license": "CC-BY-4.0", "kind": "face"},
        {"file_name": "deep/./b.jpg", "text": "b", "license": "", "kind": ""},
        {"file_name": "nowhere.jpg", "text": "c", "license": "", "kind": ""},
    ]
    source = files_in(tmp_path / "in", {"train/a.jpg": JPEG, "train/deep/b.jpg": JPEG, "c.jpg": JPEG})
    path = source / "train" / f"metadata.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(as_file(kind, rows))
    rows, counts = rows_of(source, licence="CC0", role_column="kind")
    assert {url: (row.text, row.licence, row.role) for url, row in rows.items()} == {
        "c.jpg": ("", "CC0", ""),
        "train/a.jpg": ("a cat", "CC-BY-4.0", "face"),
        "train/deep/b.jpg": ("b", "CC0", ""),
    }
    assert counts == {
        "sidecars_used": {f"metadata.{kind}": 1},
        "sidecars_unused": {"rows of metadata": 1},
    }


def test_a_damaged_row_of_metadata_leaves_no_gap_to_the_default_licence(tmp_path):
    lines = [record(file_name="a.jpg", text="a"), '{"file_name": "b.jpg", "lic', record(text="whose?")]
    source = files_in(
        tmp_path, {"in/a.jpg": JPEG, "in/b.jpg": JPEG, "c.jpg": JPEG, "in/metadata.jsonl": "\n".join(lines)}
    )
    rows, _ = rows_of(source, licence="CC0")
    assert {url: (row.licence, row.reason) for url, row in rows.items()} == {
        "c.jpg": ("CC0", None),
        "in/a.jpg": ("CC0", None),
        "in/b.jpg": ("", Reason.AMBIGUOUS_SIDECAR),
        "in/metadata.jsonl#2": ("", Reason.UNREADABLE),
        "in/metadata.jsonl#3": ("", Reason.UNREADABLE),
    }
    assert rows["in/b.jpg"].detail.startswith("source.licence does not stand in: line 2: no JSON")
    assert all(row.reason is None for url, row in rows_of(source)[0].items() if url.endswith("jpg"))


def test_two_that_say_different_things_of_a_licence_or_a_picture_are_refused(tmp_path):
    lines = [
        record(file_name="a.jpg", license="CC-BY"),
        record(file_name="b.jpg", text="b"),
        record(file_name="b.jpg", text="c"),
    ]
    files = {f"{key}.jpg": JPEG for key in "ab"} | {"a.json": record(license="CC0", caption="own")}
    rows, _ = rows_of(files_in(tmp_path, files | {"metadata.jsonl": "\n".join(lines)}))
    assert [row.detail for row in rows.values()] == [
        "its sidecar says 'CC0', the folder's metadata 'CC-BY'",
        "several rows of metadata name it",
    ]


def test_the_text_is_the_txt_then_the_caption_then_the_json_then_the_table(tmp_path):
    told = {".txt": "txt", ".caption": "caption", ".json": record(caption="json")}
    files = {"metadata.jsonl": "\n".join(record(file_name=f"{n}.jpg", text="table") for n in range(4))}
    for number in range(4):
        files |= {f"{number}.jpg": JPEG} | {
            f"{number}{suffix}": told[suffix] for suffix in list(told)[number:]
        }
    rows, _ = rows_of(files_in(tmp_path, files))
    assert [row.text for row in rows.values()] == ["txt", "caption", "json", "table"]


def test_a_folder_that_tells_no_scores_cannot_be_asked_for_them(tmp_path):
    files_in(tmp_path, {"a.jpg": JPEG})
    with pytest.raises(
        UserError, match=r"source.score_columns=\('x',\) needs tars, tables, or sidecars in JSON"
    ):
        rows_of(tmp_path, score_columns=("x",))
    files_in(tmp_path, {"a.json": '{"x": 0.5}'})
    assert list(rows_of(tmp_path, score_columns=("x",))[0]) == ["a.jpg"]


def test_pictures_named_by_a_url_are_read_from_their_files(tmp_path):
    source = files_in(tmp_path / "in", {"a.jpg": JPEG, "a.json": record(url=PAGE)})
    store = Store(tmp_path / "set")
    plan = make_plan(store, str(source), CurateConfig(source=SourceConfig()))
    (read,) = read_originals(store, plan, "part-000000", lambda _row: True, 10**6)
    assert (read.url, read.data) == (PAGE, JPEG)
    shutil.rmtree(source)
    (gone,) = read_originals(store, plan, "part-000000", lambda _row: True, 10**6)
    assert gone.reason is Reason.UNREADABLE


@pytest.mark.parametrize(
    ("picture", "named"),
    [
        ("A.JPG", "a.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("sub/a.jpg", "sub\\a.jpg"),
        ("sub/a.jpg", "a.jpg"),
        ("a.jpg", "https://a.example/x/a.jpg"),
    ],
)
def test_a_licence_told_of_almost_this_name_leaves_no_gap_to_fill(tmp_path, picture, named):
    rows = {"metadata.jsonl": record(file_name=named, license="CC-BY-NC-4.0")}
    source = files_in(tmp_path / "a", {picture: JPEG, "other.jpg": JPEG, **rows})
    found, counts = rows_of(source, licence="CC0-1.0")
    assert found[picture].reason is Reason.AMBIGUOUS_SIDECAR
    assert "a row of metadata.jsonl says one of a picture of almost this name" in found[picture].detail
    assert found["other.jpg"].licence == "CC0-1.0"
    assert counts["sidecars_unused"] == {"rows of metadata": 1}
    free, _ = rows_of(source)
    assert free[picture].reason is None


def test_a_name_that_stands_in_two_folders_is_no_gap_where_the_row_names_one_that_is_there(tmp_path):
    rows = {"train/metadata.jsonl": record(file_name="a.jpg", license="CC-BY-4.0")}
    found, _ = rows_of(
        files_in(tmp_path / "a", {"train/a.jpg": JPEG, "test/a.jpg": JPEG, **rows}), licence="CC0-1.0"
    )
    assert {name: row.licence for name, row in found.items()} == {
        "train/a.jpg": "CC-BY-4.0",
        "test/a.jpg": "CC0-1.0",
    }


@pytest.mark.parametrize("name", ["Metadata.JSONL", "METADATA.CSV"])
def test_a_table_of_metadata_is_known_in_any_case(tmp_path, name):
    text = record(file_name="a.jpg", license="CC-BY-4.0")
    if name == "METADATA.CSV":
        text = "file_name,license\na.jpg,CC-BY-4.0\n"
    found, _ = rows_of(files_in(tmp_path / "a", {"a.jpg": JPEG, name: text}), licence="CC0-1.0")
    assert found["a.jpg"].licence == "CC-BY-4.0"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "csv.gz"])
def test_a_table_of_licences_that_is_not_read_leaves_a_gap(tmp_path, suffix):
    text = {
        "csv": "file,licence\na.jpg,CC-BY-NC-4.0\n",
        "tsv": "file\tLicense\na.jpg\tCC-BY-NC-4.0\n",
        "jsonl": record(file="a.jpg", license="CC-BY-NC-4.0"),
    }[suffix.partition(".")[0]].encode()
    table = gzip.compress(text) if suffix.endswith("gz") else text
    files = {"sub/a.jpg": JPEG, "sub/b.jpg": JPEG, "sub/b.json": record(license="CC-BY-4.0"), "c.jpg": JPEG}
    source = files_in(tmp_path / "a", {**files, f"sub/photos.{suffix}": table})
    found, _ = rows_of(source, licence="CC0-1.0")
    assert found["sub/a.jpg"].reason is Reason.AMBIGUOUS_SIDECAR
    assert f"sub/photos.{suffix} has a column 'lic" in found["sub/a.jpg"].detail.lower()
    assert (found["sub/b.jpg"].licence, found["c.jpg"].licence) == ("CC-BY-4.0", "CC0-1.0")
    files_in(tmp_path / "a", {f"sub/photos.{suffix}": b"file,size\na.jpg,7\n"})
    unnamed, _ = rows_of(source, licence="CC0-1.0")
    assert unnamed["sub/a.jpg"].licence == "CC0-1.0"
