"""Lists of URLs as people have them: CSV, TSV, JSON lines and plain text, packed or not, damaged or not."""

from __future__ import annotations

import base64
import bz2
import codecs
import gzip
import hashlib
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_rows import rows_of

from supir_console import UserError
from supir_curate.config import CurateConfig
from supir_curate.sources import text_rows
from supir_curate.sources.plan import make_plan
from supir_curate.verdict import Reason
from supir_shards import Store

A, B = "http://a.example/1.jpg", "http://b.example/2.jpg"
TEXTS = {
    "list.csv": f'URL,TEXT,LICENSE\n{A},"a cat, ""Mia""\nasleep",CC0\n{B},,\n',
    "euro.csv": f'url;caption;licence\n{A};"a cat, ""Mia""\nasleep";CC0\n{B};;\n',
    "list.jsonl": "\n".join(
        json.dumps(row)
        for row in (
            {"url": A, "caption": 'a cat, "Mia"\nasleep', "license": "CC0"},
            {"url": B, "caption": None},
        )
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_url_text_and_licence_are_read(tmp_path, name):
    (tmp_path / name).write_text(TEXTS[name])
    rows, counts = rows_of(tmp_path / name, licence="other")
    assert [(row.url, row.text, row.licence, row.reason) for row in rows.values()] == [
        (A, 'a cat, "Mia"\nasleep', "CC0", None),
        (B, "", "other", None),
    ]
    assert counts == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.txt"])
def test_any_encoding_is_read(tmp_path, name, encoding):
    text = {
        "a.csv": f"url,caption\r\n{A},Grüße من\r\n",
        "a.tsv": f"url\tcaption\n{A}\tGrüße من\n",
        "a.jsonl": json.dumps({"url": A, "caption": "Grüße من"}, ensure_ascii=False) + "\n\n",
        "a.txt": f"{A}\n\n  {B} \n",
    }[name]
    (tmp_path / name).write_bytes(text.encode(encoding))
    rows, _ = rows_of(tmp_path / name)
    assert [row.text for row in rows.values()] == (["", ""] if name == "a.txt" else ["Grüße من"])
    assert list(rows) == ([A, B] if name == "a.txt" else [A])


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_packed_lists_are_read_and_a_damaged_one_up_to_the_damage(tmp_path, suffix, pack):
    text = "".join(
        f"http://a.example/{hashlib.md5(b'%d' % number).hexdigest()}.jpg\n" for number in range(5000)
    )
    path = tmp_path / f"urls.txt{suffix}"
    path.write_bytes(pack.compress(text.encode()))
    assert list(rows_of(path)[0]) == text.split()
    path.write_bytes(path.read_bytes()[:-9000])
    *good, bad = rows_of(path)[0].values()
    assert [row.url for row in good] == text.split()[: len(good)]
    assert pack is bz2 or len(good) > 1000
    assert bad.reason is Reason.UNREADABLE
    assert bad.detail.startswith(f"line {len(good) + 1}: damaged from here on (")


def test_damaged_rows_are_named_by_their_lines_and_the_others_come(tmp_path):
    (tmp_path / "a.csv").write_text(
        f'url,caption\n{A},x,y\nhttp://b,"open\nhttp://c,c\n{B}\n,no url\nhttp://d,"d"e\nhttp://e,e,\n\nhttp://f,"f\ng"\n'
    )
    rows, _ = rows_of(tmp_path / "a.csv")
    bad = {url: row.detail for url, row in rows.items() if row.reason}
    assert bad == {
        "a.csv#2": "line 2: 3 cells, not 2",
        "a.csv#3": "line 3: ',' expected after '\"'",
        "a.csv#5": "line 5: 1 cells, not 2",
        "a.csv#6": "line 6: no URL",
        "a.csv#7": "line 7: ',' expected after '\"'",
    }
    assert {url: row.text for url, row in rows.items() if not row.reason} == {
        "http://c": "c",
        "http://e": "e",
        "http://f": "f\ng",
    }


def test_many_open_quotes_end_a_file_in_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(text_rows, "MAX_OPEN_QUOTES", 3)
    (tmp_path / "a.csv").write_text(
        "url,caption\n" + "".join(f'http://a/{n},"open {n}, x\n' for n in range(9))
    )
    rows, _ = rows_of(tmp_path / "a.csv")
    assert list(rows.values())[-1].detail == "line 6: too many open quotes, the rest is not read"


def test_lines_of_json_that_are_none_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(text_rows, "MAX_LINE", 90)
    lines = [
        '{"url": "http://a"}',
        "{",
        "[1]",
        '{"link": 1}',
        '{"url": "' + "x" * 200 + '"}',
        '{"url": "http://b"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows, _ = rows_of(tmp_path / "a.jsonl")
    assert [row.detail.partition(" (")[0] for row in rows.values()] == [
        "",
        "line 2: no JSON",
        "line 3: JSON, but no object",
        "line 4: no URL",
        "line 5: more than 90 characters",
        "",
    ]


def test_quotes_in_tsv_are_letters_unless_they_close(tmp_path):
    (tmp_path / "a.tsv").write_text(f'caption\turl\n6" nails\t{A}\n"a ""b"""\t{B}\n"open\thttp://c\n')
    assert [row.text for row in rows_of(tmp_path / "a.tsv")[0].values()] == ['6" nails', 'a "b"', '"open']


@pytest.mark.parametrize(
    ("name", "text"), [("cc3m.tsv", f"a cat\t{A}\na dog\t{B}\n"), ("a.csv", f"{A},a cat\n{B},a dog\n")]
)
def test_a_list_without_names_of_url_and_text_is_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert {row.url: row.text for row in rows_of(tmp_path / name)[0].values()} == {A: "a cat", B: "a dog"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "link,width\nx,3\n",
            r"a.csv: .*a.csv has no column url or URL; its columns are link, width; name one with --set",
        ),
        (f"{A},b,c\n", r"a.csv begins with data; write the columns' names into its first line"),
        (f"url,url\n{A},b\n", r"a.csv has several columns 'url'; rename or drop all but one"),
        ("", r"a.csv holds no candidates"),
    ],
)
def test_a_list_of_no_use_is_one_line(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        make_plan(Store(tmp_path / "set"), str(tmp_path / "a.csv"), CurateConfig())


def test_a_folder_of_lists_is_a_source_and_other_text_is_counted(tmp_path):
    (tmp_path / "a.csv").write_text(f"url\n{A}\n")
    (tmp_path / "b.txt").write_text(f"\n{B}\n")
    (tmp_path / "notes.txt").write_text("written by me\n")
    rows, counts = rows_of(tmp_path)
    assert (list(rows), counts) == ([A, B], {"not_pictures": {".txt": 1}})


def test_scores_and_roles_of_a_list_are_read(tmp_path):
    (tmp_path / "a.csv").write_text(f"url,punsafe,kind\n{A},0.25,face\n{B},high,cat\n")
    rows, _ = rows_of(tmp_path / "a.csv", role_column="kind")
    assert [(row.role, row.reason) for row in rows.values()] == [("face", None), ("", Reason.UNKNOWN_ROLE)]
    with pytest.raises(UserError, match=r"has no column 'knid'; did you mean 'kind'"):
        make_plan(
            Store(tmp_path / "set"),
            str(tmp_path / "a.csv"),
            CurateConfig.model_validate({"source": {"role_column": "knid"}}),
        )


HASHES = {
    "sha256": hashlib.sha256(b"x").hexdigest(),
    "SHA256": hashlib.sha256(b"x").hexdigest().upper(),
    "md5": base64.b64encode(hashlib.md5(b"x").digest()).decode(),
}


@pytest.mark.parametrize("column", HASHES)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_lists_hash_is_noted_and_one_that_is_none_fails_its_row(tmp_path, column, kind):
    rows = [
        {"url": A, column: HASHES[column]},
        {"url": B, column: "no hash"},
        {"url": "http://c", column: ""},
    ]
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        path.write_text(f"url,{column}\n" + "".join(f"{row['url']},{row[column]}\n" for row in rows))
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    good, bad, silent = rows_of(path)[0].values()
    assert good.digest in (HASHES["sha256"], hashlib.md5(b"x").hexdigest())
    assert (good.reason, silent.digest, silent.reason) == (None, "", None)
    assert bad.reason is Reason.HASH_MISMATCH
    assert bad.detail.startswith("the source's hash is neither a SHA-256 nor an MD5; --set")
    assert [row.digest for row in rows_of(path, hash_columns=())[0].values()] == ["", "", ""]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(codecs.BOM_UTF8 + f"url\n{A}\n".encode())
    assert list(rows_of(tmp_path / "a.csv")[0]) == [A]


def test_what_a_list_says_moves_no_cursor(tmp_path):
    (tmp_path / "a.csv").write_text("url,md5\nhttp://a/\x1b[2J\u202e,x\n")
    with pytest.raises(UserError) as caught:
        make_plan(Store(tmp_path / "set"), str(tmp_path / "a.csv"), CurateConfig())
    assert "http://a/\\x1b[2J\\xe2\\x80\\xae: the source's hash" in str(caught.value)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.parquet"])
def test_a_url_that_is_no_utf8_stays_the_url_that_it_is(tmp_path, name):
    url, path = b"http://a.example/caf\xe9 \\.jpg", tmp_path / name
    if name == "a.parquet":
        column = pa.Array.from_buffers(pa.string(), 1, pa.array([url]).buffers())
        pq.write_table(pa.table({"url": column, "caption": ["a cat"]}), path)
    else:
        start, end = {"a.txt": (b"", b""), "a.csv": (b"url,caption\n", b",caf\xe9"), "a.jsonl": (b"", b"")}[
            name
        ]
        line = json.dumps({"url": "http://a.example/caf\udce9 \\.jpg"}).encode() if name == "a.jsonl" else url
        path.write_bytes(start + line + end + b"\n")
    rows, _ = rows_of(path)
    (row,) = rows.values()
    assert row.url == "http://a.example/caf%E9 \\.jpg"
    assert row.text == {"a.csv": "caf\\xe9", "a.parquet": "a cat"}.get(name, "")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_of_several_columns_the_first_that_says_something_counts_row_by_row(tmp_path, suffix):
    told = [
        {"url": A, "caption": "", "ALT": "a cat", "licence": "", "LICENSE": "CC-BY-NC-4.0"},
        {"url": B, "caption": "a dog", "ALT": "b", "licence": "CC0-1.0", "LICENSE": "CC-BY-NC-4.0"},
    ]
    told = [
        row | {"sha256": "", "md5": "0" * 32} if row["url"] == A else row | {"sha256": "1" * 64, "md5": ""}
        for row in told
    ]
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(told), path)
    elif suffix == ".csv":
        path.write_text("\n".join([",".join(told[0]), *(",".join(row.values()) for row in told)]))
    else:
        path.write_text("\n".join(map(json.dumps, told)))
    rows, _ = rows_of(path, licence="CC0-1.0")
    assert [(row.text, row.licence, row.digest) for row in rows.values()] == [
        ("a cat", "CC-BY-NC-4.0", "0" * 32),
        ("a dog", "CC0-1.0", "1" * 64),
    ]


@pytest.mark.parametrize("kind", [pa.binary(), pa.binary(32)])
def test_a_hash_may_be_raw_bytes(tmp_path, kind):
    digest = hashlib.sha256(b"picture").digest()
    table = pa.table({"url": [A, B], "sha256": pa.array([digest, None], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    rows, _ = rows_of(tmp_path / "a.parquet")
    assert [(row.digest, row.reason) for row in rows.values()] == [(digest.hex(), None), ("", None)]
    hex_bytes = hashlib.md5(b"picture", usedforsecurity=False).hexdigest()
    pq.write_table(pa.table({"url": [A], "md5": [hex_bytes.encode()]}), tmp_path / "b.parquet")
    rows, _ = rows_of(tmp_path / "b.parquet")
    assert [row.digest for row in rows.values()] == [hex_bytes]
