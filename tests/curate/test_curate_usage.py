"""How the command answers: configs printed, costs said beforehand, wrong words refused in one line."""

from __future__ import annotations

import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from supir_console import UserError, load_config
from supir_curate.cli import app
from supir_curate.config import CurateConfig, SourceConfig
from supir_curate.sources.listing import list_source


@pytest.mark.parametrize("command", ["run", "score", "select", "pack", "report"])
def test_the_config_is_printed_without_a_dataset(command, tmp_path):
    words = [command, "--print-config", "--set", "pack.jpeg_quality=90"]
    printed = CliRunner().invoke(app, words)
    assert printed.exit_code == 0
    (tmp_path / "config.yaml").write_text(printed.stdout)
    read = load_config(CurateConfig, tmp_path / "config.yaml")
    assert read.pack.jpeg_quality == 90
    assert read == load_config(CurateConfig, None, ["pack.jpeg_quality=90"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run",), "SOURCE is missing; type: supir-curate run SOURCE -o DATASET"),
        (("score", "photos"), "-o DATASET is missing; type: supir-curate score SOURCE -o DATASET"),
        (("select",), "DATASET is missing; type: supir-curate select DATASET"),
        (("pack",), "DATASET is missing; type: supir-curate pack DATASET"),
        (("report",), "DATASET is missing; type: supir-curate report DATASET"),
        (("verify",), "DATASET is missing; type: supir-curate verify DATASET"),
    ],
)
def test_a_missing_word_is_named(words, message):
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == message


def test_a_file_is_no_place_for_a_dataset(curate, curated, collection, settings, tmp_path):
    (tmp_path / "file").write_text("mine")
    for words in (("run", collection), ("select", curated[0])):
        with pytest.raises(UserError, match=r"-o .*/file is a file; give a new folder"):
            curate(*words, "-o", tmp_path / "file", *settings)


@pytest.mark.parametrize("kind", ["folder", "urls"])
def test_a_dry_run_refuses_an_empty_source_as_the_run_does(curate, tmp_path, kind):
    source = tmp_path / "source.parquet"
    if kind == "folder":
        source = tmp_path / "source"
        source.mkdir()
    else:
        pq.write_table(pa.table({"url": pa.array([], pa.string())}), source)
    for words in ((), ("--dry-run",)):
        with pytest.raises(UserError, match=r"source.* holds no candidates; give a folder with \.jpg"):
            curate("run", source, "-o", tmp_path / "dataset", *words)


def test_a_dry_run_counts_a_malformed_url(curate, tmp_path):
    pq.write_table(pa.table({"url": ["http://[::1", "http://a.example/b.jpg"]}), tmp_path / "urls.parquet")
    figures = curate("run", tmp_path / "urls.parquet", "-o", tmp_path / "dataset", "--dry-run").summary
    assert (figures["candidates"], figures["hosts"]) == (2, 2)


def test_a_malformed_url_ends_as_a_row_and_in_the_report(curate, settings, tmp_path):
    pq.write_table(pa.table({"url": ["http://[::1"]}), tmp_path / "urls.parquet")
    dataset = tmp_path / "dataset"
    outcome = curate("run", tmp_path / "urls.parquet", "-o", dataset, *settings)
    assert (outcome.code, outcome.summary["reasons"]) == (1, {"bad_url": 1})
    assert "http://[::1,bad_url" in (dataset / "report" / "failures.csv").read_text()
    assert "(no host)" in (dataset / "report" / "index.html").read_text()


def test_packing_tells_beforehand_what_it_will_write(curate, curated, collection, settings, tmp_path):
    dataset = tmp_path / "dataset"
    curate("score", collection / "set-1", "-o", dataset, *settings)
    kept = curate("select", dataset, *settings).summary["kept"]
    planned = curate("pack", dataset, "--dry-run").summary
    assert not (dataset / "index").exists()
    packed = curate("pack", dataset).summary
    assert (planned["samples"], planned["original_bytes"]) == (kept, packed["image_bytes"])
    assert (planned["parts"], planned["parts_done"]) == (2, 0)
    again = curate("pack", dataset, "--dry-run").summary
    assert (again["parts"], again["parts_done"], again["samples"]) == (0, 2, 0)


def test_verify_refuses_what_is_no_dataset(command, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        done = subprocess.run(command("verify", place), capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {place} holds no dataset")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.part_size=true", r"source.part_size.*valid integer \(got True\)"),
        ("fetch.policy.allowed_ports=[true]", r"allowed_ports.0.*valid integer \(got True\)"),
        ("select.rules.grey.limit=true", r"grey.limit.*valid number \(got True\)"),
        ("select.rules.grey.limit=.nan", r"grey.limit.*finite number \(got nan\)"),
        ("select.rules.grey.limit=.inf", r"grey.limit.*finite number \(got inf\)"),
        ("fetch.pace.timeout_s=.inf", r"timeout_s.*finite number \(got inf\)"),
        ("fetch.pace.per_host_delay_s=.nan", r"per_host_delay_s.*got nan"),
    ],
)
def test_a_number_is_a_finite_number(override, message):
    with pytest.raises(UserError, match=message):
        load_config(CurateConfig, None, [override])


def test_a_text_that_is_not_utf8_does_not_end_the_list(tmp_path):
    urls = pa.array([b"http://a.example/caf\xe9.jpg", "http://a.example/ü.jpg".encode(), None], pa.binary())
    pq.write_table(pa.table({"url": urls.view(pa.string())}), tmp_path / "urls.parquet")
    _, (listed,) = list_source(str(tmp_path / "urls.parquet"), SourceConfig())
    expected = ["http://a.example/caf%E9.jpg", "http://a.example/ü.jpg", ""]
    assert listed.column("url").to_pylist() == expected
