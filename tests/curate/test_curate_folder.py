"""A folder as a source: every name that a file system allows."""

from __future__ import annotations

import os
import shutil

from hypothesis import given
from hypothesis import strategies as st

from supir_curate.config import CurateConfig
from supir_curate.measure import measure
from supir_curate.score import score_part
from supir_curate.sources.folder import escaped, unescaped
from supir_curate.sources.plan import make_plan
from supir_shards import Dataset, Store, ledger_path


@given(st.binary(min_size=1).filter(lambda name: not {0, ord("/")} & set(name)))
def test_every_file_name_becomes_text_and_is_found_by_it(name):
    text = escaped(os.fsdecode(name))
    assert text.encode().decode() == text
    assert os.fsencode(unescaped(text)) == name


def test_odd_names_are_read_and_packed_like_any_other(curate, collection, settings, tmp_path):
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    source.mkdir()
    names = [b"caf\xe9.jpg", rb"a\b.jpg", rb"\xe9.jpg", "ü.jpg".encode()]
    files = sorted((collection / "set-0").glob("*.jpg"))[: len(names)]
    for name, file in zip(names, files, strict=True):
        (source / os.fsdecode(name)).write_bytes(file.read_bytes())
    outcome = curate("run", source, "-o", dataset, *settings, "--set", "select.max_hash_distance=null")
    assert (outcome.code, outcome.summary["failed"], outcome.summary["samples"]) == (0, 0, 4)
    stored = {record.source: record.image for record in Dataset(dataset).samples()}
    texts = [r"caf\xe9.jpg", r"a\\b.jpg", r"\\xe9.jpg", "ü.jpg"]
    assert stored == {text: file.read_bytes() for text, file in zip(texts, files, strict=True)}
    page = (dataset / "report" / "index.html").read_text()
    assert r"caf\xe9.jpg" in page
    estimate = curate("run", source, "-o", dataset, "--dry-run", *settings).summary
    assert estimate["source_bytes"] == sum(file.stat().st_size for file in files)


def test_a_picture_that_a_probe_chokes_on_is_one_row(collection, tmp_path, monkeypatch):
    source = tmp_path / "source"
    shutil.copytree(collection / "set-0", source)
    store, config = Store(tmp_path / "dataset"), CurateConfig()
    plan = make_plan(store, str(source), config)

    def choking(picture, working_side_px):
        if picture.num_bytes == (source / "astronaut-0.jpg").stat().st_size:
            raise RuntimeError("caf\udce9")
        return measure(picture, working_side_px)

    monkeypatch.setattr("supir_curate.score.measure", choking)
    tally = score_part(store.url, plan, "part-000000", config)
    assert (tally.seen, tally.failed) == (14, 1)
    row = store.read_table(ledger_path("part-000000")).to_pylist()[0]
    assert (row["url"], row["status"], row["reason"], row["detail"]) == (
        "astronaut-0.jpg",
        "failed",
        "unexpected",
        "RuntimeError: caf\\udce9",
    )
