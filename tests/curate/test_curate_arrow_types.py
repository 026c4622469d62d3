"""Parquet columns of every Arrow type that text and bytes have, as Polars and newer writers store them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supir_curate.config import SourceConfig
from supir_curate.sources.folder import Folder
from supir_curate.sources.table_pictures import read_pictures
from supir_curate.sources.tables import kind_of, list_tables

TEXTS = (pa.string(), pa.large_string(), pa.string_view())
BYTES = (pa.binary(), pa.large_binary(), pa.binary_view())


def listed(tmp_path, table):
    """The rows of a file of one table, and its kind."""
    pq.write_table(table, tmp_path / "list.parquet")
    folder, config = Folder(str(tmp_path)), SourceConfig()
    kind = kind_of(folder, ["list.parquet"], config)
    rows = [row for part in list_tables(folder, ["list.parquet"], kind, config) for row in part.to_pylist()]
    return kind, rows


@pytest.mark.parametrize("kind_of_bytes", BYTES, ids=str)
@pytest.mark.parametrize("kind_of_text", TEXTS, ids=str)
@pytest.mark.parametrize("in_struct", [False, True])
def test_a_column_of_pictures_is_found_and_read(kind_of_bytes, kind_of_text, in_struct, tmp_path):
    images = pa.array([b"first picture", b"second"], kind_of_bytes)
    if in_struct:
        paths = pa.array(["a.jpg", "b.jpg"], kind_of_text)
        images = pa.StructArray.from_arrays([images, paths], ["bytes", "path"])
    texts = pa.array(["ä cat", None], kind_of_text)
    kind, rows = listed(tmp_path, pa.table({"image": images, "text": texts, "license": texts}))
    assert kind == "images"
    assert [(row["text"], row["licence"]) for row in rows] == [("ä cat", "ä cat"), ("", "")]
    names = (
        ["list.parquet/a.jpg", "list.parquet/b.jpg"] if in_struct else ["list.parquet#0", "list.parquet#1"]
    )
    assert [row["url"] for row in rows] == names
    read = read_pictures(Folder(str(tmp_path)), "list.parquet", [0, 1], SourceConfig())
    assert list(read) == [b"first picture", b"second"]


@pytest.mark.parametrize("kind_of_url", [*TEXTS, *BYTES], ids=str)
def test_a_column_of_urls_is_found_and_read(kind_of_url, tmp_path):
    urls = ["https://a.example/ä.jpg", "https://b.example/1.jpg"]
    values = [url.encode() for url in urls] if kind_of_url in BYTES else urls
    kind, rows = listed(tmp_path, pa.table({"url": pa.array(values, kind_of_url)}))
    assert (kind, [row["url"] for row in rows]) == ("urls", urls)
