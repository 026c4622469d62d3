"""Runs that go on later: failed URLs tried again, a source that grew, and a crawl packed anew without fetching."""

from __future__ import annotations

import csv
import io
import shutil
import tarfile
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supir_console import UserError
from supir_curate.reporting.throughput import LOG
from supir_curate.sources.additions import compare, extend
from supir_curate.sources.listing import here
from supir_curate.sources.plan import load_plan, make_plan, read_candidates
from supir_curate.verdict import Reason, may_pass
from supir_shards import Dataset, Store, verify

OPTIONS = ("--allow-private", "--set", "fetch.pace.retries=0", "--set", "fetch.pace.backoff_s=0")


@pytest.fixture
def moody(web_server, page, collection):
    """A server of ten pictures of which some answer 503 as long as `moody.is_busy`, and one is not there at all."""
    files = sorted(collection.rglob("*-*.jpg"))[:10]
    state = {"busy": True}

    def busy(body):
        return lambda handler: page(503 if state["busy"] else 200, b"" if state["busy"] else body)(handler)

    pages = {}
    for number, path in enumerate(files):
        data = path.read_bytes()
        pages[f"/{number}.jpg"] = busy(data) if number % 3 == 1 else page(200, data)
    pages["/text.jpg"] = busy(b"no picture, once it answers")
    pages["/down.jpg"] = page(500)
    server = web_server(pages)
    server.paths = [*pages, "/gone.jpg"]
    server.state = state
    return server


@pytest.fixture
def urls(moody, tmp_path):
    rows = {
        "url": [moody.url(path) for path in moody.paths],
        "caption": [f"called {path}" for path in moody.paths],
        "licence": ["CC0-1.0" if number % 2 else "CC-BY-4.0" for number in range(len(moody.paths))],
        "role": ["face" if path == "/4.jpg" else "" for path in moody.paths],
        "punsafe": [number / 100 for number in range(len(moody.paths))],
    }
    pq.write_table(pa.table(rows), tmp_path / "urls.parquet")
    return tmp_path / "urls.parquet"


@pytest.fixture
def options(settings):
    source = ("source.part_size=4", "source.role_column=role", "source.score_columns=[punsafe]")
    return (*OPTIONS, *settings, *(word for key in source for word in ("--set", key)))


def table(dataset, folder):
    store = Store(dataset)
    return [row for path in store.list(folder, ".parquet") for row in store.read_table(path).to_pylist()]


def statuses(dataset):
    return {row["url"].rpartition("/")[2]: (row["status"], row["reason"]) for row in table(dataset, "ledger")}


def same_files(content, one, other, *, without=()):
    """Asserts that two datasets hold the same bytes, but for notes of the run and the files named."""
    ours, theirs = (
        {path: digest for path, digest in content(dataset).items() if not path.startswith((LOG, *without))}
        for dataset in (one, other)
    )
    assert ours == theirs


@pytest.mark.parametrize(
    ("reason", "detail", "passes"),
    [
        (Reason.CONNECTION_FAILED, "gaierror: [Errno -2] Name or service not known", True),
        (Reason.CONNECTION_FAILED, "robots.txt: curl 7: Failed to connect", True),
        (Reason.TIMED_OUT, "no whole answer in time", True),
        (Reason.HTTP_ERROR, "status 429", True),
        (Reason.HTTP_ERROR, "status 500", True),
        (Reason.HTTP_ERROR, "robots.txt: status 503", True),
        (Reason.HTTP_ERROR, "status 404", False),
        (Reason.HTTP_ERROR, "status 403", False),
        (Reason.HTTP_ERROR, "Content-Encoding gzip: Error -3", False),
        (Reason.ROBOTS_DISALLOWED, "disallowed", False),
        (Reason.UNDECODABLE, "status 500", False),
    ],
)
def test_what_may_pass_is_told_by_reason_and_status(reason, detail, passes):
    assert may_pass(reason, detail) is passes


def test_what_failed_for_a_passing_reason_is_tried_again_and_the_rest_stays(
    curate, moody, urls, options, tmp_path, content
):
    dataset = tmp_path / "dataset"
    first = curate("run", urls, "-o", dataset, *options)
    assert first.summary["reasons"]["http_error"] == 6
    before, files = statuses(dataset), content(dataset)
    captions = {path: digest for path, digest in files.items() if path.startswith(("shards/", "index/"))}
    asked = len(moody.requests)
    dry = curate("run", urls, "-o", dataset, *options, "--retry-failed", "--dry-run")
    assert (dry.summary["to_retry"], dry.summary["reasons"]) == (5, {"http_error": 5})
    assert len(moody.requests) == asked
    moody.state["busy"] = False
    second = curate("run", urls, "-o", dataset, *options, "--retry-failed")
    told = {name: second.summary[name] for name in ("retried", "succeeded", "failed_otherwise", "seen")}
    assert told == {"retried": 5, "succeeded": 3, "failed_otherwise": 1, "seen": 13}
    after = statuses(dataset)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"1.jpg", "4.jpg", "7.jpg", "text.jpg"}
    assert {after[name][0] for name in ("1.jpg", "4.jpg", "7.jpg")} == {"ok"}
    assert after["text.jpg"] == ("failed", "not_an_image")
    assert after["down.jpg"] == before["down.jpg"] == ("failed", "http_error")
    assert len(table(dataset, "ledger")) == 13 == len(table(dataset, "selection"))
    assert captions.items() <= content(dataset).items()
    assert verify(dataset) == []
    samples = {record.source.rpartition("/")[2]: record for record in Dataset(dataset).samples()}
    assert {"4.jpg", "7.jpg"} <= samples.keys()
    sample = samples["4.jpg"]
    assert (str(sample.role), sample.licence, sample.text) == (
        "face",
        "CC-BY-4.0",
        "called /4.jpg",
    )
    assert sample.scores["punsafe"] == 0.04
    again = curate("run", urls, "-o", dataset, *options, "--retry-failed")
    assert (again.summary["retried"], again.summary["succeeded"]) == (1, 0)
    assert not (dataset / "retry").exists() or not Store(dataset).list("retry")


def test_a_dataset_that_was_not_packed_ends_as_if_all_had_answered_at_once(
    curate, moody, urls, options, tmp_path
):
    late, whole = tmp_path / "late", tmp_path / "whole"
    curate("score", urls, "-o", late, *options)
    moody.state["busy"] = False
    scored = curate("score", urls, "-o", late, *options, "--retry-failed")
    assert (scored.summary["seen"], scored.summary["failed"], scored.summary["succeeded"]) == (13, 3, 3)
    curate("run", urls, "-o", late, *options)
    curate("run", urls, "-o", whole, *options)
    assert verify(late) == []

    def kept(dataset):
        told = [
            (one.key, one.source, one.licence, one.role, one.text, one.origin)
            for one in Dataset(dataset).samples()
        ]
        return sorted(told, key=lambda one: one[0])

    assert kept(late) == kept(whole)
    assert statuses(late) == statuses(whole)


def test_scoring_again_a_packed_dataset_says_what_is_left_to_do(curate, moody, urls, options, tmp_path):
    dataset = tmp_path / "dataset"
    curate("run", urls, "-o", dataset, *options)
    moody.state["busy"] = False
    scored = curate("score", urls, "-o", dataset, *options, "--retry-failed")
    assert scored.summary["to_pack"] == f"supir-curate select {dataset} && supir-curate pack {dataset}"
    assert verify(dataset) == []  # the manifest knows the new part's ledger
    with pytest.raises(
        UserError, match=r"has 5 parts, its selection decides about 4;\n? ?run: supir-curate select"
    ):
        curate("pack", dataset, *OPTIONS[1:])
    curate("select", dataset)
    curate("pack", dataset)
    assert {"4.jpg", "7.jpg"} <= {one.source.rpartition("/")[2] for one in Dataset(dataset).samples()}


def test_the_list_of_failures_is_a_source_that_loses_nothing(curate, moody, urls, options, tmp_path):
    dataset = tmp_path / "dataset"
    curate("run", urls, "-o", dataset, *options)
    with (dataset / "report" / "failures.csv").open(newline="") as file:
        rows = {row["url"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    assert set(rows) == {"1.jpg", "4.jpg", "7.jpg", "text.jpg", "down.jpg", "gone.jpg"}
    told = {name: rows["4.jpg"][name] for name in ("text", "licence", "role", "reason")}
    assert told == {"text": "called /4.jpg", "licence": "CC-BY-4.0", "role": "face", "reason": "http_error"}


def test_the_list_of_failures_brings_roles_hashes_and_scores_without_being_asked(
    curate, moody, urls, options, settings, tmp_path
):
    table = pq.read_table(urls)
    hashes = ["0" * 64 if path == "/7.jpg" else "" for path in moody.paths]
    pq.write_table(table.append_column("sha256", pa.array(hashes)), urls)
    curate("run", urls, "-o", tmp_path / "first", *options)
    moody.state["busy"] = False
    failures = tmp_path / "first" / "report" / "failures.csv"
    scores = ("--set", "source.score_columns=[punsafe]")
    again = tmp_path / "again"
    curate("run", failures, "-o", again, *OPTIONS, *settings, *scores)
    samples = {record.source.rpartition("/")[2]: record for record in Dataset(again).samples()}
    assert (str(samples["4.jpg"].role), samples["4.jpg"].scores["punsafe"]) == ("face", 0.04)
    assert statuses(again)["7.jpg"] == ("failed", "hash_mismatch")
    assert statuses(again)["1.jpg"] == ("ok", "")


def test_a_folder_that_grew_is_told_of_and_taken_in(curate, collection, settings, tmp_path, content):
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(collection / "set-0", source)
    curate("run", source, "-o", dataset, *settings)
    before = content(dataset)
    names = sorted(path.name for path in source.iterdir())
    (source / names[0]).unlink()
    (source / names[1]).write_bytes((source / names[2]).read_bytes() + b"\0")
    shutil.copytree(collection / "set-1", source / "a")
    shutil.copy(source / names[3], source / "a" / "copy.jpg")
    counts = {"source_new": 15, "source_gone": 1, "source_changed": 1}
    plain = curate("run", source, "-o", dataset, *settings)
    assert counts.items() <= plain.summary.items()
    assert plain.summary["to_take_in"] == "the same command with --extend"
    assert content(dataset) == before
    dry = curate("run", source, "-o", dataset, *settings, "--extend", "--dry-run")
    assert {**counts, "new_parts": 3}.items() <= dry.summary.items()
    assert content(dataset) == before
    grown = curate("run", source, "-o", dataset, *settings, "--extend")
    assert (grown.summary["taken_in"], grown.summary["seen"]) == (15, 29)
    after = content(dataset)
    stays = ("shards/", "index/", "ledger/", "candidates/", "selection/")
    assert {
        path: digest for path, digest in before.items() if path.startswith(stays)
    }.items() <= after.items()
    assert verify(dataset) == []
    decided = {row["source_row"]: row for row in table(dataset, "selection")[-15:]}
    assert sum(row["reason"] == Reason.EXACT_DUPLICATE for row in decided.values()) == 1
    assert any(record.source.startswith("a/") for record in Dataset(dataset).samples())
    again = curate("run", source, "-o", dataset, *settings, "--extend")
    assert (again.summary["taken_in"], content(dataset)) == (0, after)


def test_rows_appended_to_a_list_are_new_and_doubled_ones_once_more(
    curate, collection, settings, tmp_path, moody
):
    source, dataset = tmp_path / "list.parquet", tmp_path / "dataset"
    moody.state["busy"] = False
    rows = [moody.url(f"/{number}.jpg") for number in range(4, 8)]
    pq.write_table(pa.table({"url": rows}), source)
    curate("run", source, "-o", dataset, *OPTIONS, *settings)
    pq.write_table(pa.table({"url": [rows[1], *rows, moody.url("/8.jpg")]}), source)
    grown = curate("run", source, "-o", dataset, *OPTIONS, *settings, "--extend")
    assert (grown.summary["source_new"], grown.summary["source_gone"], grown.summary["seen"]) == (2, 0, 6)
    assert grown.summary["reasons"]["exact_duplicate"] == 1


def test_a_packed_dataset_keeps_its_limits_its_twins_and_its_quotas(curate, collection, settings, tmp_path):
    """What came later is better and would win in a fresh run; here it finds its places taken."""
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(collection / "set-0", source)
    rules = (
        "--set",
        "select.rules.below_min_side.limit={quantile: 0.1}",
        "--set",
        "select.quotas.photo.count=8",
    )
    curate("run", source, "-o", dataset, *settings, *rules)
    kept = {record.key for record in Dataset(dataset).samples()}
    limits = (dataset / "selection.json").read_text().partition('"thresholds"')[2].partition('"seen"')[0]
    shutil.copytree(collection / "set-1", source / "a")
    grown = curate("run", source, "-o", dataset, *settings, *rules, "--extend")
    assert grown.summary["roles"] == {"photo": 8}
    assert {record.key for record in Dataset(dataset).samples()} == kept
    assert limits in (dataset / "selection.json").read_text()
    assert grown.summary["reasons"]["over_quota"] >= 14


def test_a_crawl_is_packed_under_other_limits_without_a_request(
    curate, moody, urls, options, tmp_path, content
):
    moody.state["busy"] = False
    first, second, fresh = tmp_path / "first", tmp_path / "second", tmp_path / "fresh"
    other = ("--set", "select.rules.noisy.limit=3", "--set", "select.rules.below_min_side.limit=200")
    sides = ("--set", "pack.max_side_px=128", "--set", "pack.size_px=64")
    curate("run", urls, "-o", first, *options, "--set", "fetch.keep_spool=true")
    asked = len(moody.requests)
    curate("select", first, "-o", second, *other)
    curate("pack", second, *sides)
    assert len(moody.requests) == asked
    curate("run", urls, "-o", fresh, *options, *other, *sides)
    same_files(content, second, fresh, without=("plan.json", "report/index.html"))
    assert verify(second) == []
    assert Store(first).list("spool")
    assert not Store(fresh).list("spool")


def test_two_fetching_processes_keep_a_hosts_crawl_delay_together(
    curate, web_server, page, collection, settings, tmp_path
):
    files = sorted(collection.rglob("*-*.jpg"))[:4]
    pages = {f"/{number}.jpg": page(200, path.read_bytes()) for number, path in enumerate(files)}
    server = web_server({**pages, "/robots.txt": page(200, b"User-agent: *\nCrawl-delay: 1\n")})
    pq.write_table(pa.table({"url": [server.url(path) for path in pages]}), tmp_path / "urls.parquet")
    words = (*OPTIONS, *settings, "--set", "source.part_size=2", "--fetchers", "2")
    curate("score", tmp_path / "urls.parquet", "-o", tmp_path / "dataset", *words)
    times = sorted(when for when, _, path in server.requests if path in pages)
    assert server.asked("/robots.txt") == 2  # both fetchers had a part
    assert min(later - earlier for earlier, later in pairwise(times)) >= 1


def test_a_tar_that_came_is_taken_in_and_those_that_are_there_are_known_by_their_file(tmp_path, config, jpeg):
    def tar(name, *members):
        with tarfile.open(tmp_path / "tars" / name, "w") as file:
            for member in members:
                info = tarfile.TarInfo(member)
                info.size = len(jpeg)
                file.addfile(info, io.BytesIO(jpeg))

    (tmp_path / "tars").mkdir()
    tar("b.tar", "1.jpg", "2.jpg", "3.jpg")
    store = Store(tmp_path / "dataset")
    plan = make_plan(store, str(tmp_path / "tars"), config)
    tar("a.tar", "1.jpg", "2.jpg")  # listed before the other, with names that it has too
    tar("b.tar", "0.jpg", "2.jpg", "3.jpg")
    assert compare(store, plan, here) == {"new": 3, "gone": 1, "changed": 0}
    grown, counts = extend(store, plan, here)
    assert (grown.num_candidates, grown.num_parts, grown.added, counts["new"]) == (6, 2, (3,), 3)
    assert grown.sizes() == {"part-000000": 3, "part-000001": 3}
    assert [one.file for one in read_candidates(store, "part-000001")] == ["a.tar", "a.tar", "b.tar"]
    assert extend(store, load_plan(store), here)[1]["new"] == 0


def test_a_source_of_another_kind_or_gone_is_said(tmp_path, config, jpeg, curate, settings, collection):
    source, dataset = tmp_path / "source", tmp_path / "dataset"
    shutil.copytree(collection / "set-0", source)
    curate("score", source, "-o", dataset, *settings)
    shutil.rmtree(source)
    gone = curate("score", source, "-o", dataset, *settings)
    assert gone.summary["source_unlisted"].startswith(f"{source} does not exist")
    with pytest.raises(UserError, match="does not exist"):
        curate("score", source, "-o", dataset, *settings, "--extend")
    source.mkdir()
    pq.write_table(pa.table({"url": ["http://a.example/1.jpg"]}), source / "urls.parquet")
    with pytest.raises(UserError, match=r"holds urls now, the dataset was made of folder; give another -o"):
        curate("score", source, "-o", dataset, *settings, "--extend")


def test_who_moved_can_be_selected_anew_and_taken_down(curate, moody, urls, options, tmp_path):
    dataset, new = tmp_path / "dataset", tmp_path / "new"
    curate("run", urls, "-o", dataset, *options, "--keep-spool")
    moody.state["busy"] = False
    curate("run", urls, "-o", dataset, *options, "--retry-failed", "--keep-spool")
    curate("select", dataset, "-o", new, "--set", "select.rules.below_min_side.limit=100")
    curate("pack", new)
    keys = {record.key for record in Dataset(dataset).samples()}
    assert {record.key for record in Dataset(new).samples()} == keys
    with pytest.raises(UserError, match=r"was selected from .*/dataset; take in and try again there"):
        curate("run", urls, "-o", new, *options, "--retry-failed")
    for place in (dataset, new):
        curate("remove", place, "--url", moody.url("/4.jpg"))
        files = [path for path in place.rglob("*") if path.is_file()]
        tables = [path for path in files if path.suffix == ".parquet"]
        assert not any("/4.jpg" in str(pq.read_table(path).to_pylist()) for path in tables)
        assert not any(b"/4.jpg" in path.read_bytes() for path in files if path not in tables)
        assert verify(place) == []


def test_a_dry_run_of_a_rerun_looks_at_its_own_source_alone(
    curate, moody, urls, options, tmp_path, collection
):
    curate("score", urls, "-o", tmp_path / "dataset", *options)
    with pytest.raises(UserError, match=r"was begun from .*urls\.parquet, not .*; give another -o"):
        curate("run", collection, "-o", tmp_path / "dataset", *options, "--extend", "--dry-run")
