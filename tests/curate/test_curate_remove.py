"""Takedown: gone from every file, proven, nothing else changed, never back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supir_console import UserError
from supir_curate import pipeline
from supir_curate.config import CurateConfig
from supir_curate.score import score_part
from supir_curate.selection.select import branch, select
from supir_curate.sources.originals import Evidence, Original, read_originals, write_spool
from supir_curate.sources.plan import load_plan, make_plan
from supir_curate.takedown.proof import prove_removed
from supir_curate.takedown.purge import COMMAND
from supir_shards import (
    Caption,
    Dataset,
    Origin,
    Role,
    Sample,
    Store,
    finish_dataset,
    load_manifest,
    part_of,
    read_captions,
    verify,
    write_captions,
    write_part,
)


def rows(dataset, folder):
    store = Store(dataset)
    return [row for path in store.list(folder, ".parquet") for row in store.read_table(path).to_pylist()]


def kept_sample(dataset, name="set-2/coffee"):
    return next(record for record in Dataset(dataset).samples() if record.source.startswith(name))


@pytest.fixture
def enriched(own_copy):
    """The dataset with captions and a scorer's sidecar, not yet in its manifest."""
    store = Store(own_copy)
    for part in load_plan(store).parts():
        keys = store.read_table(f"index/{part}.parquet", ["key"]).column("key").to_pylist()
        about = {"num_tokens_clip_l": 1, "num_tokens_clip_g": 1, "text": "a", "short_text": "b"}
        write_captions(
            store, "plain", part, [Caption(key=key, region=0, box=(0, 0, 9, 9), **about) for key in keys]
        )
        urls = store.read_table(f"ledger/{part}.parquet", ["url"]).column("url").to_pylist()
        sidecar = pa.table(
            {"source_row": range(len(urls)), "score.length": [float(len(url)) for url in urls]}
        )
        store.write_table(f"scores/length/{part}.parquet", sidecar)
    return own_copy


def test_a_removed_picture_stands_in_no_file_and_the_rest_is_as_it_was(enriched, here, content):
    record = kept_sample(enriched)
    sha256 = hashlib.sha256(record.image).hexdigest()
    before, old = content(enriched), list(Dataset(enriched).samples())
    assert prove_removed(Store(enriched), [record.source]).standing
    outcome = here("remove", enriched, "--url", record.source)
    assert outcome.code == 0
    assert (outcome.summary["candidates"], outcome.summary["samples"]) == (1, [record.key])
    assert (outcome.summary["still_standing"], outcome.summary["problems"]) == ([], [])
    every_byte = b"".join(path.read_bytes() for path in enriched.rglob("*.*"))
    assert not any(name.encode() in every_byte for name in (record.key, sha256, record.source))
    after = content(enriched)
    changed = {path for path in before if before[path] != after.get(path)}
    apart = {path for path in changed if not path.endswith(f"{record.part}.parquet")}
    assert apart <= {f"shards/{record.part}.tar", "dataset.json", "selection.json", "report/index.html"} | {
        path for path in before if path.startswith("selection/")
    }
    assert {*after} - {*before} == {"removed.json"}
    left = list(Dataset(enriched).samples())
    assert [(one.key, one.image, one.origin) for one in left] == [
        (one.key, one.image, one.origin) for one in old if one.key != record.key
    ]
    assert record.key not in read_captions(Store(enriched), "plain", record.part)
    assert len(rows(enriched, "scores")) == 59
    assert [row["status"] for row in rows(enriched, "ledger")].count("removed") == 1
    assert len(rows(enriched, "candidates")) == len(rows(enriched, "ledger")) == 60


def test_the_report_keeps_its_other_pictures_though_their_files_are_gone(own_copy, here, tmp_path):
    page = (own_copy / "report" / "index.html").read_text()
    record = next(record for record in Dataset(own_copy).samples() if record.key in page)
    plan = json.loads((own_copy / "plan.json").read_text())
    (own_copy / "plan.json").write_text(json.dumps(plan | {"source": str(tmp_path / "unmounted")}))
    (tmp_path / "unmounted").mkdir()
    here("remove", own_copy, "--key", record.key)
    new = (own_copy / "report" / "index.html").read_text()
    assert record.key not in new
    # one that the page showed elsewhere may take its place
    assert page.count("data:image") - 8 < new.count("data:image") <= page.count("data:image")
    assert "<td>removed</td>" in new


def test_bytes_under_two_names_go_together_and_twins_are_named(own_copy, here, config):
    ledger = {row["url"]: row for row in rows(own_copy, "ledger")}
    outcome = here("remove", own_copy, "--sha256", ledger["others/same.jpg"]["sha256"].upper())
    assert outcome.summary["candidates"] == 2
    state = {row["url"]: row["status"] for row in rows(own_copy, "ledger")}
    assert "set-0/astronaut-0.jpg" not in state
    (own_copy / "packing.json").unlink()
    store, path = Store(own_copy), f"ledger/{kept_sample(own_copy).part}.parquet"
    table = store.read_table(path)
    alike = pa.array([7] * table.num_rows, pa.uint64())
    store.write_table(path, table.set_column(table.column_names.index("phash"), "phash", alike))
    select(store, load_plan(store), config.select.model_copy(update={"max_hash_distance": 0}))
    near = next(row for row in rows(own_copy, "selection") if row["reason"] == "near_duplicate")
    planned = here("remove", own_copy, "--key", near["detail"], "--dry-run").summary
    assert near["key"] in [twin["key"] for twin in planned["twins_that_stay"]]
    here("remove", own_copy, "--key", near["detail"])
    again = next(row for row in rows(own_copy, "selection") if row["key"] == near["key"])
    assert (again["reason"], again["detail"]) == ("near_duplicate", "removed")


def test_names_from_a_list_are_removed_and_unknown_ones_listed(own_copy, here, tmp_path):
    record, failed = kept_sample(own_copy), "others/page.jpg"
    (tmp_path / "list.txt").write_text(f"# takedown\n{record.source}\n\n{failed}\nhttp://no.where/x.jpg\n")
    outcome = here("remove", own_copy, "--list", tmp_path / "list.txt")
    assert (outcome.code, outcome.summary["not_found"]) == (1, ["http://no.where/x.jpg"])
    assert failed not in (own_copy / "report" / "failures.csv").read_text()
    assert json.loads((own_copy / "selection.json").read_text())["failed"] == 2
    again = here("remove", own_copy, "--url", record.source)
    assert (again.code, again.summary["candidates"], again.summary["still_standing"]) == (0, 0, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--url", "http://no.where/x.jpg"),
            r"holds nothing that goes by http://no.where/x.jpg; nothing was removed",
        ),
        (("--key", "f" * 32, "--url", "x"), r"nothing that goes by x or the 1 other names given"),
        (("--key", "xyz"), "--key 'xyz' is not 32 hex digits"),
        (("--sha256", "f" * 63), "--sha256 'f+' is not 64 hex digits"),
        (("--list", "nowhere.txt"), "--list nowhere.txt cannot be read"),
        ((), "nothing to remove; name it with --url"),
    ],
)
def test_a_wrong_name_is_one_line_and_changes_nothing(own_copy, here, content, words, message):
    before = content(own_copy)
    with pytest.raises(UserError, match=message):
        here("remove", own_copy, *words)
    assert content(own_copy) == before


def test_killed_at_any_step_the_same_command_completes_it(enriched, here, content, tmp_path, monkeypatch):
    record = kept_sample(enriched)
    words = ("remove", enriched, "--url", record.source)
    whole = tmp_path / "whole"
    shutil.copytree(enriched, whole)
    here("remove", whole, *words[2:])
    expected, steps = content(whole), 0
    write, finished = Store.write, False

    class Killed(BaseException):
        pass

    def dying(store, path, data):
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        write(store, path, data)

    monkeypatch.setattr(Store, "write", dying)
    while not finished:
        left = 4 * steps
        dataset = tmp_path / f"killed-{steps}"
        shutil.copytree(enriched, dataset)
        try:
            here("remove", dataset, *words[2:])
            finished = True
        except Killed:
            left = 10**6
            assert here("remove", dataset, *words[2:]).code == 0
        assert content(dataset) == expected
        shutil.rmtree(dataset)
        steps += 1
    assert steps > 3


def test_a_removed_picture_does_not_come_back_under_another_name(
    own_copy, here, collection, config, tmp_path
):
    store, victim = Store(own_copy), kept_sample(own_copy)
    here("remove", own_copy, "--key", victim.key)
    new = Store(tmp_path / "new")
    branch(store, new)
    source = tmp_path / "source"
    shutil.copytree(collection, source)
    other = next(row for row in rows(own_copy, "candidates") if row["url"].startswith("set-1/rocket"))["url"]
    shutil.copy(collection / victim.source, source / other)
    plan = load_plan(new).model_copy(update={"source": str(source)})
    parts = [
        path for path in new.list("candidates") if other in new.read_table(path).column("url").to_pylist()
    ]
    for path in {*parts, f"candidates/{victim.part}.parquet"}:
        score_part(new.url, plan, part_of(path), config)
    status = [row["status"] for row in rows(new.url, "ledger")]
    assert status.count("removed") == 2
    assert victim.key not in [row["key"] for row in rows(new.url, "ledger")]


def test_the_manifest_tells_of_a_removal_without_naming_it(own_copy, here):
    record = kept_sample(own_copy)
    before = load_manifest(Store(own_copy))
    here("remove", own_copy, "--key", record.key)
    manifest = load_manifest(Store(own_copy))
    assert [step.command for step in manifest.lineage] == ["supir-curate", "supir-curate remove"]
    assert manifest.config == before.config
    assert CurateConfig.model_validate_json(json.dumps(manifest.config))
    assert manifest.totals.num_samples == before.totals.num_samples - 1
    assert here("report", own_copy).summary["kept"] == manifest.totals.num_samples


def test_negatives_made_from_a_photo_go_by_its_key(own_copy, here, tmp_path):
    photo = kept_sample(own_copy)
    negatives = tmp_path / "negatives"
    about = {"extension": "jpg", "role": Role.NEGATIVE, "width": 9, "height": 9}
    samples = [
        Sample(
            key=name * 32,
            image=name.encode(),
            source_key=key,
            origin=Origin(parent_key=parent),
            **about,
        )
        for name, key, parent in (
            ("a", photo.key, photo.key),
            ("b", "c" * 32, "d" * 32),
            ("e", "c" * 32, "f" * 32),
        )
    ]
    write_part(Store(negatives), "part-000000", samples)
    finish_dataset(Store(negatives), command="supir-degrade negatives", config={}, config_hash="0")
    outcome = here("remove", negatives, "--key", photo.key)
    assert (outcome.summary["samples"], outcome.summary["still_standing"]) == (["a" * 32], [])
    assert [one.key for one in Dataset(negatives).samples()] == ["b" * 32, "e" * 32]
    outcome = here(
        "remove", negatives, "--key", "d" * 32
    )  # a crop: what was made from it, not from its photo
    assert (outcome.summary["samples"], outcome.summary["still_standing"]) == (["b" * 32], [])
    outcome = here("remove", negatives, "--sha256", "c" * 64)
    assert (outcome.summary["samples"], outcome.summary["still_standing"]) == (["e" * 32], [])
    assert verify(Store(negatives)) == []
    assert load_manifest(Store(negatives)).lineage[-1].command == COMMAND


def test_a_redirected_url_goes_from_the_fetched_bytes_too(
    here, collection, config, tmp_path, in_this_process
):
    urls = [f"http://a.example/{number}.jpg" for number in range(3)]
    pq.write_table(pa.table({"url": urls, "caption": ["x", "y", "z"]}), tmp_path / "urls.parquet")
    store = Store(tmp_path / "dataset")
    plan = make_plan(store, str(tmp_path / "urls.parquet"), config)
    photos = [path.read_bytes() for path in sorted(collection.glob("set-0/*.jpg"))[:3]]

    async def fetched():
        for row, (url, data) in enumerate(zip(urls, photos, strict=True)):
            evidence = Evidence(final_url=f"{url}?final", redirects=f"{url}?first\n{url}?second")
            yield [Original(row=row, url=url, text="about", data=data, evidence=evidence)]

    asyncio.run(write_spool(store, "part-000000", fetched()))
    pipeline.score(store, str(tmp_path / "urls.parquet"), config, in_this_process, allow_private=False)
    select(store, plan, config.select)
    pipeline.pack(store, plan, config, in_this_process)
    outcome = here("remove", store.url, "--url", f"{urls[1]}?second")
    assert (outcome.code, outcome.summary["candidates"], len(outcome.summary["samples"])) == (0, 1, 1)
    spool = rows(store.url, "spool")
    fetched_bytes = [one.data for one in read_originals(store, plan, "part-000000", lambda _: True, 0)]
    assert fetched_bytes == [photos[0], b"", photos[2]]
    assert photos[1] not in Path(store.url, "spool", "part-000000.bin").read_bytes()
    assert [row["reason"] for row in spool] == [None, "removed", None]
    before = rows(store.url, "ledger")
    store.delete("ledger/part-000000.parquet")
    score_part(store.url, plan, "part-000000", config)
    assert rows(store.url, "ledger") == before
