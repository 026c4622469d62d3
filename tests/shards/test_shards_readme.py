"""README.md: its code runs as written, and its tables are the schemas."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest

from supir_shards import CAPTION_SCHEMA, INDEX_SCHEMA, ledger_schema

README = (Path(__file__).parents[2] / "shards" / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def columns_of(heading: str) -> list[tuple[str, str]]:
    section = README.partition(f"## {heading}")[2].partition("\n## ")[0]
    return [
        (name, kind) for name, kind in re.findall(r"^\| ([\w.]+) \| ([\w<>:, ]+) \|", section, re.MULTILINE)
    ][1:]


def test_the_code_runs_as_written(
    tmp_path: Path, make_picture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.jpg").write_bytes(make_picture(0, 80, 70, "JPEG"))
    with tarfile.open("from_the_web.tar", "w") as tar:
        tar.add("cat.jpg")
        tar.add("cat.jpg", "../cat.jpg")
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(BLOCKS) == 4
    assert lines[0].endswith("a cat on a chair")
    assert lines[1:] == [
        "sample cat ['jpg']",
        "refused ../cat.jpg bad_name the name leaves the archive's folder",
        "to train on (70, 80, 3) a cat on a chair CC0-1.0",
        "datasets reads CC0-1.0 [{'name': 'texture', 'value': 0.7}]",
    ]


@pytest.mark.parametrize(
    ("heading", "schema"),
    [
        ("index/PART.parquet", INDEX_SCHEMA),
        ("captions/NAME/PART.parquet", CAPTION_SCHEMA),
        ("ledger/PART.parquet", ledger_schema(["NAME"])),
    ],
)
def test_the_tables_list_the_columns_and_types_in_order(heading: str, schema: pa.Schema) -> None:
    assert columns_of(heading) == [(field.name, str(field.type)) for field in schema]
