"""The command as people use it: a folder or a list of URLs in, a dataset with its report out."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from supir_console import UserError, load_config
from supir_curate.config import CurateConfig
from supir_curate.sources.listing import SPREAD_FROM
from supir_curate.sources.plan import make_plan
from supir_shards import Dataset, Store, verify


def rows(dataset: Path, folder: str) -> list[dict]:
    store = Store(dataset)
    return [row for path in store.list(folder) for row in store.read_table(path).to_pylist()]


def test_every_file_ends_kept_dropped_or_failed_with_its_reason(curated):
    dataset, outcome = curated
    summary = outcome.summary
    assert (summary["seen"], summary["failed"]) == (60, 3)
    assert summary["kept"] + summary["dropped"] + summary["failed"] == 60
    assert outcome.code == 1
    expected = {"undecodable": 1, "not_an_image": 1, "animated": 1, "below_min_side": 1, "grey": 1}
    assert {reason: summary["reasons"].get(reason) for reason in expected} == expected
    assert summary["reasons"]["exact_duplicate"] == 1
    by_url = dict(
        zip([row["url"] for row in rows(dataset, "ledger")], rows(dataset, "selection"), strict=True)
    )
    for number in range(4):
        assert by_url[f"others/blurred-{number}.png"]["reason"] in ("low_detail", "blurred")
        assert by_url[f"others/strong-{number}.jpg"]["reason"] == "low_jpeg_quality"
    [(copy, decision)] = [(url, row) for url, row in by_url.items() if row["reason"] == "exact_duplicate"]
    assert {copy, decision["detail"]} == {"others/same.jpg", "set-0/astronaut-0.jpg"}


def test_kept_pictures_are_stored_as_they_were(curated, collection):
    dataset, outcome = curated
    records = list(Dataset(dataset).samples())
    assert len(records) == outcome.summary["kept"] == outcome.summary["samples"] >= 30
    for record in records:
        assert record.image == (collection / record.source).read_bytes()
        assert record.origin.reencoded is False
        assert record.texture_shape == (round(record.height / 32), round(record.width / 32))
        assert record.scores["short_side_px"] == min(record.width, record.height)
        assert all(np.isfinite(value) for value in record.scores.values())
    assert verify(dataset) == []


def test_the_ledger_keeps_the_scores_of_what_was_dropped(curated):
    dropped = [row for row in rows(curated[0], "selection") if row["state"] == "dropped"]
    scores = {
        (row["part"], row["source_row"]): row for row in rows(curated[0], "ledger") if row["status"] == "ok"
    }
    assert len(scores) == 57
    assert len(dropped) == curated[1].summary["dropped"] > 8
    assert all(np.isfinite(row["score.laplacian_variance"]) for row in scores.values())


def test_the_report_stands_alone_and_escapes_what_sources_say(curated):
    page = (curated[0] / "report" / "index.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert "<i>grey" not in page
    assert "&lt;i&gt;grey.jpg" in page
    assert page.count("data:image/jpeg;base64,") >= 60
    assert page.count('<line class="limit"') == 19
    failures = (curated[0] / "report" / "failures.csv").read_text().splitlines()
    assert failures[0] == "part,source_row,url,reason,detail,text,licence,role,sha256,md5"
    assert len(failures) == 4
    assert any("<b>cut.jpg,undecodable," in line for line in failures)


def test_a_finished_run_does_nothing_again(curate, curated, collection, settings):
    dataset, outcome = curated
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.*") if path.name != "dataset.json"}
    assert curate("run", collection, "-o", dataset, *settings) == outcome
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_files_that_come_later_do_not_shift_the_parts(curate, collection, settings, tmp_path, content):
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(collection / "set-0", source)
    first = curate("score", source, "-o", dataset, *settings)
    before = content(dataset)
    shutil.copy(collection / "set-1" / "astronaut-1.jpg", source / "aaa.jpg")
    code, summary = curate("score", source, "-o", dataset, *settings)
    assert (code, {name: summary[name] for name in first.summary}) == first
    assert (summary["source_new"], summary["source_gone"], summary["source_changed"]) == (1, 0, 0)
    assert content(dataset) == before


def test_selecting_anew_reads_no_picture_and_leaves_the_old_dataset(
    curate, curated, settings, tmp_path, content
):
    dataset, outcome = curated
    before = content(dataset)
    stricter = [*settings, "--set", "select.rules.low_jpeg_quality.limit=95"]
    with pytest.raises(UserError, match=r"was packed from selection .*select into a new dataset: .* -o NEW"):
        curate("select", dataset, *stricter)
    new = tmp_path / "new"
    selected = curate("select", dataset, "-o", new, *stricter).summary
    assert selected["reasons"]["low_jpeg_quality"] > outcome.summary["reasons"]["low_jpeg_quality"]
    packed = curate("pack", new, *stricter).summary
    assert packed["samples"] == selected["kept"] < outcome.summary["kept"]
    assert curate("report", new, *stricter).summary["report"].endswith("new/report/index.html")
    assert verify(new) == []
    assert content(dataset) == before


def test_large_and_odd_pictures_are_encoded_once_and_say_so(curate, photos, settings, tmp_path):
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    source.mkdir()
    coffee = photos["coffee"]
    row = np.hstack([coffee, coffee[:, ::-1]])
    large = np.vstack([row, row[::-1]])  # 800 x 1200; mirrored, as a seam would make it a collage
    Image.fromarray(large).save(source / "large.jpg", quality=95)
    Image.fromarray(photos["rocket"]).convert("CMYK").save(source / "cmyk.jpg", quality=95)
    sizes = ["--set", "pack.max_side_px=900", "--set", "pack.size_px=300"]
    curate("run", source, "-o", dataset, *settings, *sizes)
    records = {record.source: record for record in Dataset(dataset).samples()}
    assert (records["large.jpg"].width, records["large.jpg"].height) == (900, 600)
    assert (records["cmyk.jpg"].width, records["cmyk.jpg"].height) == (640, 427)
    for record in records.values():
        assert record.origin.reencoded is True
        assert Image.open(io.BytesIO(record.image)).mode == "RGB"
        assert Image.open(io.BytesIO(record.image)).size == (record.width, record.height)
    assert records["large.jpg"].origin.width == 1200
    assert records["cmyk.jpg"].origin.mode == "CMYK"


def test_urls_are_fetched_once_with_their_evidence(curate, url_source, settings, tmp_path):
    server, parquet = url_source
    dataset, words = tmp_path / "dataset", ("--allow-private", *settings)
    before = len(server.requests)
    outcome = curate("run", parquet, "-o", dataset, *words)
    asked = len(server.requests)
    assert asked - before == 23  # 22 URLs and one robots.txt
    assert (outcome.code, outcome.summary["seen"], outcome.summary["failed"]) == (1, 22, 2)
    ledger = {row["url"]: row for row in rows(dataset, "ledger")}
    refused, gone = ledger[server.url("/refused.jpg")], ledger[server.url("/gone.jpg")]
    assert (refused["reason"], refused["x_robots_tag"], refused["address"]) == (
        "opted_out",
        "noai",
        "127.0.0.1",
    )
    assert (gone["reason"], gone["http_status"], gone["robots"]) == ("http_error", 404, "status 404")
    record = next(Dataset(dataset).samples())
    assert record.text == f"a picture called /{record.source.rpartition('/')[2]}"
    assert {record.licence for record in Dataset(dataset).samples()} == {"", "CC-BY-4.0"}
    assert not list((dataset / "spool").glob("*.parquet"))
    page = (dataset / "report" / "index.html").read_text()
    assert "opted_out 1" in page
    assert curate("run", parquet, "-o", dataset, *words) == outcome
    assert len(server.requests) == asked


def test_bytes_that_were_not_kept_cannot_be_packed_again(curate, url_source, settings, tmp_path):
    dataset, new = tmp_path / "dataset", tmp_path / "new"
    curate("run", url_source[1], "-o", dataset, "--allow-private", *settings)
    curate("select", dataset, "-o", new, *settings)
    with pytest.raises(UserError, match=r"no longer holds the fetched bytes of part-.* without --keep-spool"):
        curate("pack", new, *settings)


def test_without_permission_no_local_url_is_fetched(curate, url_source, settings, tmp_path):
    server, parquet = url_source
    asked = len(server.requests)
    ports = ("--set", f"fetch.policy.allowed_ports=[{server.port}]")
    outcome = curate("score", parquet, "-o", tmp_path / "dataset", *settings, *ports)
    assert outcome.summary["failed"] == 22
    assert {row["reason"] for row in rows(tmp_path / "dataset", "ledger")} == {"private_address"}
    assert len(server.requests) == asked


def test_a_dry_run_prints_the_cost_and_writes_nothing(curate, collection, url_source, settings, tmp_path):
    folder = curate("run", collection, "-o", tmp_path / "dataset", "--dry-run", *settings).summary
    assert (folder["candidates"], folder["parts"], folder["seconds_measured_on"]) == (60, 9, 4)
    assert folder["source_bytes"] == sum(
        path.stat().st_size for path in collection.rglob("*.*") if path.suffix != ".txt"
    )
    pace = ("--set", "fetch.pace.per_host_delay_s=360")
    urls = curate("score", url_source[1], "-o", tmp_path / "dataset", "--dry-run", *settings, *pace).summary
    assert (urls["hosts"], urls["largest_host"], urls["fetch_hours_at_least"]) == (
        1,
        "127.0.0.1: 22 URLs",
        2.2,
    )
    assert not (tmp_path / "dataset").exists()


def test_many_tars_are_listed_by_ray_in_their_order_and_a_damaged_one_is_a_failure(
    curate, collection, settings, tmp_path, content
):
    source, pictures = tmp_path / "tars", sorted((collection / "set-0").glob("*.jpg"))
    source.mkdir()
    for number in range(SPREAD_FROM + 1):
        with tarfile.open(source / f"{number:02d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for name in pictures[: number % 2]:
                tar.add(name, f"{number}-{name.name}")
    (source / "07.tar").write_bytes(b"\x07" * 2000)
    outcome = curate("score", source, "-o", tmp_path / "ray", *settings)
    assert (outcome.code, outcome.summary["seen"], outcome.summary["failed"]) == (1, 32, 1)
    failures = (tmp_path / "ray" / "report" / "failures.csv").read_text()
    assert "part-000000,3,07.tar/(archive),unreadable,bad_header" in failures
    make_plan(Store(tmp_path / "here"), str(source), load_config(CurateConfig, None, settings[1::2]))
    listed = content(tmp_path / "here")
    assert listed == {path: digest for path, digest in content(tmp_path / "ray").items() if path in listed}
    told = curate("run", source, "-o", tmp_path / "none", "--dry-run", *settings)
    assert (told.code, told.summary["candidates"], told.summary["unreadable"]) == (1, 32, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "EMPTY", "-o", "OUT"), "holds no candidates; give a folder with .jpg"),
        (("run", "NOWHERE", "-o", "OUT"), "nowhere does not exist; give a folder of images"),
        (("run", "MIXED", "-o", "OUT"), "holds 1 images and 1 Parquet files; give one kind alone"),
        (
            ("run", "COLUMNS", "-o", "OUT"),
            "no column url or URL and none of pictures; its columns are link.*--set source.url_column=NAME",
        ),
        (("run", "FAKE", "-o", "OUT"), "fake.parquet is not a readable Parquet file"),
        (("select", "EMPTY"), "has no plan.json; start with: supir-curate score SOURCE -o"),
        (("report", "CURATED", "--set", "pack.sise_px=3"), "did you mean 'pack.size_px'"),
        (("score", "MIXED", "-o", "CURATED"), "was begun from .*, not .*; give another -o"),
        (
            ("pack", "CURATED", "--set", "pack.jpeg_quality=50"),
            "was packed under .*; select into a new dataset",
        ),
    ],
)
def test_wrong_input_is_one_line_that_says_how_to_mend_it(
    curate, curated, settings, tmp_path, words, message
):
    places = {name: tmp_path / name.lower() for name in ("EMPTY", "MIXED", "OUT", "NOWHERE")}
    places["EMPTY"].mkdir()
    places["MIXED"].mkdir()
    Image.new("RGB", (9, 9)).save(places["MIXED"] / "a.jpg")
    pq.write_table(pa.table({"url": ["x"]}), places["MIXED"] / "b.parquet")
    places |= {
        "COLUMNS": tmp_path / "columns.parquet",
        "FAKE": tmp_path / "fake.parquet",
        "CURATED": curated[0],
    }
    pq.write_table(pa.table({"link": ["x"]}), places["COLUMNS"])
    places["FAKE"].write_text("no parquet")
    with pytest.raises(UserError, match=message):
        curate(*(places.get(word, word) for word in words), *settings)


def test_another_scoring_config_needs_another_dataset(curate, curated, collection, settings):
    with pytest.raises(
        UserError,
        match=r"was scored with probe.working_side_px=1024, not 512; use the same, or give another -o",
    ):
        curate("run", collection, "-o", curated[0], *settings, "--set", "probe.working_side_px=512")


def test_verify_names_a_damaged_file(command, curated, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(curated[0], copy)
    with (copy / "shards" / "part-000001.tar").open("r+b") as file:
        file.truncate(5000)
    done = subprocess.run(command("verify", copy, "--json"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    problems = summary["problems"]
    assert summary["num_problems"] == len(problems) > 0
    assert any(line.startswith("truncated: shards/part-000001.tar") for line in problems)


def test_the_installed_command_speaks_one_line(command, tmp_path):
    done = subprocess.run(
        command("run", tmp_path / "nowhere", "-o", tmp_path / "out"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "nowhere" in done.stderr
