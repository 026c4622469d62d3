"""Values as text, text files in any encoding, and the hash of bytes against what the source tells."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_rows import files_in, rows_of, tar_of

from supir_console import UserError
from supir_curate.config import CurateConfig, SourceConfig
from supir_curate.sources.folder import Folder
from supir_curate.sources.originals import read_originals
from supir_curate.sources.plan import make_plan
from supir_curate.sources.tars import Members
from supir_curate.sources.texts import caption_of, decoded, text_of
from supir_curate.verdict import Reason
from supir_shards import Store

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
VALUES = [
    (["a cat", "a dog", "a cat", None, " "], "a cat | a dog"),
    ([["a"], ["b"]], "a | b"),
    ([], ""),
    (None, ""),
    (float("nan"), ""),
    (7, "7"),
    (0.5, "0.5"),
    (b"caf\xc3\xa9", "café"),
    (b"caf\xe9", "caf\\xe9"),
    ("\ud800", "\\ud800"),
]


@pytest.mark.parametrize(("value", "text"), VALUES)
def test_a_value_is_its_text(value, text):
    assert text_of(value) == caption_of(value) == text


@pytest.mark.parametrize("value", [{"en": "a"}, [{"en": "a"}], ["a", ["b", {"c": 1}]]])
def test_an_object_is_no_caption(value):
    assert caption_of(value) is None


COLUMNS = {
    "list": pa.array([["a cat", "a dog"], None, [], ["x", None]]),
    "large list": pa.array([["a cat", "a dog"], None, [], ["x"]], pa.large_list(pa.string())),
    "dictionary": pa.array(["a cat | a dog", None, "", "x"]).dictionary_encode(),
    "view": pa.array(["a cat | a dog", None, "", "x"], pa.string_view()),
    "bytes": pa.array([b"a cat | a dog", None, b"", b"x"]),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_of_captions_is_read_whatever_its_type(tmp_path, kind):
    table = pa.table({"url": list("abcd"), "TEXT": COLUMNS[kind]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows, counts = rows_of(tmp_path / "a.parquet")
    assert [row.text for row in rows.values()] == ["a cat | a dog", "", "", "x"]
    assert counts == {}


def test_json_lists_give_the_same_text_as_parquet_lists(tmp_path):
    record = json.dumps({"caption": ["a cat", "a dog"]})
    for place in (
        files_in(tmp_path / "folder", {"a.jpg": JPEG, "a.json": record}),
        tar_of(tmp_path / "a.tar", {"a.jpg": JPEG, "a.json": record}),
    ):
        assert [row.text for row in rows_of(place)[0].values()] == ["a cat | a dog"]


def test_texts_that_are_objects_are_counted_and_one_asked_for_is_refused(tmp_path):
    pq.write_table(pa.table({"url": ["a", "b"], "caption": [{"en": "x"}, None]}), tmp_path / "a.parquet")
    rows, counts = rows_of(tmp_path / "a.parquet")
    assert ([row.text for row in rows.values()], counts) == (["", ""], {"not_text": {"caption": 2}})
    with pytest.raises(
        UserError, match=r"column 'caption' holds objects, not texts; name another with --set"
    ):
        make_plan(
            Store(tmp_path / "set"),
            str(tmp_path / "a.parquet"),
            CurateConfig(source=SourceConfig(text_column="caption")),
        )
    tar = tar_of(tmp_path / "a.tar", {"a.jpg": JPEG, "a.json": '{"caption": {"en": "x"}, "text": "y"}'})
    assert [row.text for row in rows_of(tar)[0].values()] == ["y"]
    assert rows_of(tar, text_column="caption")[1]["not_text"] == {"caption": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_sidecars_of_any_encoding_are_read(tmp_path, encoding):
    text, licence = "Grüße an die Katze", json.dumps({"license": "©"}, ensure_ascii=False)
    files = {"a.jpg": JPEG, "a.txt": text.encode(encoding), "a.json": licence.encode(encoding)}
    for place in (files_in(tmp_path / "folder", files), tar_of(tmp_path / "a.tar", files)):
        ((_, row),) = rows_of(place)[0].items()
        assert (row.text, row.licence, row.reason) == (text, "©", None)


def test_a_sidecar_that_is_no_text_is_counted(tmp_path):
    files = {"a.jpg": JPEG, "a.txt": bytes(range(256)), "a.caption": "a cat"}
    for place in (files_in(tmp_path / "folder", files), tar_of(tmp_path / "a.tar", files)):
        rows, counts = rows_of(place)
        assert [row.text for row in rows.values()] == ["a cat"]
        assert counts["not_text"] == {".txt": 1}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"caf\xe9", "caf\\xe9"),
        (b"a\0b\0", "ab"),
        (b"\x89PNG\r\n\x1a\n\0", None),
        (b"a\tb\x0c", "a\tb\x0c"),
    ],
)
def test_bytes_are_text_or_not(data, text):
    assert decoded(data) == text


def test_noise_is_never_an_error():
    noise = np.random.default_rng(0).integers(0, 256, (500, 40), np.uint8)
    assert all(isinstance(decoded(row.tobytes()), str | None) for row in noise)


def verified(place, dataset, **section):
    store, config = Store(dataset), CurateConfig(source=SourceConfig(**section))
    plan = make_plan(store, str(place), config)
    return {one.url: one for one in read_originals(store, plan, "part-000000", lambda _row: True, 10**6)}


def test_other_bytes_than_the_source_tells_fail_their_row(tmp_path):
    right, wrong = hashlib.sha256(JPEG).hexdigest(), hashlib.md5(b"other").hexdigest()
    files = {"a.jpg": JPEG, "a.json": json.dumps({"sha256": right})}
    files |= {"b.jpg": JPEG, "b.json": json.dumps({"md5": wrong})}
    files |= {"c.jpg": JPEG, "c.json": json.dumps({"sha256": wrong * 2, "original_width": 9})}
    columns = {"image": [JPEG, JPEG], "url": ["a.jpg", "b.jpg"], "sha256": [right, wrong]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    places = {
        "folder": files_in(tmp_path / "in", files),
        "tar": tar_of(tmp_path / "a.tar", files),
        "packed": tar_of(tmp_path / "b.tar.gz", files, "w:gz"),
        "table": tmp_path / "a.parquet",
    }
    for name, place in places.items():
        read = {url.rpartition("/")[2]: one for url, one in verified(place, tmp_path / f"{name} set").items()}
        assert (read["a.jpg"].reason, read["a.jpg"].data) == (None, JPEG)
        assert (read["b.jpg"].reason, read["b.jpg"].data) == (Reason.HASH_MISMATCH, b"")
        assert read["b.jpg"].detail == f"md5 is {hashlib.md5(JPEG).hexdigest()}, the source says {wrong}"
        # img2dataset's hash is of what it downloaded, which is not what it stored.
        assert name == "table" or read["c.jpg"].reason is None


@pytest.mark.parametrize("packing", [gzip, bz2, lzma])
def test_a_compression_that_the_name_does_not_tell_is_found_and_one_that_is_gone_is_not_missed(
    tmp_path, packing
):
    files = {"a.jpg": JPEG, "a.json": '{"license": "CC-BY-4.0"}', "b.jpg": JPEG + b"b"}
    plain = tar_of(tmp_path / "a.tar", files).read_bytes()
    suffix = {gzip: "gz", bz2: "bz2", lzma: "xz"}[packing]
    urls = b"url,caption\nhttp://a.example/1.jpg,a cat\n"
    contents = {
        "packed.tar": packing.compress(plain),
        f"plain.tar.{suffix}": plain,
        "packed.csv": packing.compress(urls),
        f"plain.csv.{suffix}": urls,
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        rows, counts = rows_of(tmp_path / name)
        if ".csv" in name:
            assert [(row.url, row.text) for row in rows.values()] == [("http://a.example/1.jpg", "a cat")]
            continue
        assert [row.licence for row in rows.values()] == ["CC-BY-4.0", ""]
        assert counts == {"sidecars_used": {".json": 1}}
        with Members(Folder(str(tmp_path))) as members:
            assert [members.read(row) for row in rows.values()] == [JPEG, JPEG + b"b"]
