"""Scorers over a dataset: what is looked at, what is written, stopped and continued, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from supir_console import UserError, load_config
from supir_curate.assess import assessing_cost, scorers_ready, unassessed
from supir_curate.assess_actor import PartAssessor, load_identities, stamp_of
from supir_curate.config import CurateConfig
from supir_curate.config.rules import DEFAULT_RULES
from supir_curate.ledger import numbers, read_scores
from supir_curate.reporting.survey import survey
from supir_curate.score import score_part
from supir_curate.scores import SCORES
from supir_curate.selection.select import select
from supir_curate.sidecar import missing_rows, read_stamp, require_same, wanted_rows
from supir_curate.sources.plan import Plan, load_plan, make_plan
from supir_shards import Store

Rgb = NDArray[np.uint8]
BASE = (
    "source.part_size=4",
    "assess.batch_images=2",
    *(f"select.rules.{name}.limit=null" for name in DEFAULT_RULES),
    "select.rules.below_min_side.limit=200",  # the one rule here, whatever limits the defaults get
)
WITH = "assess.scorers={brisque: {}, mobilenet: {}}"


def settings(*more: str) -> CurateConfig:
    return load_config(CurateConfig, None, [*BASE, WITH, *more])


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, Rgb]) -> tuple[Path, Plan]:
    """A scored dataset of three parts: seven photos, a small one that no rule keeps, one damaged."""
    folder, dataset = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("scored")
    for name, rgb in photos.items():
        Image.fromarray(rgb[:300, :300]).save(folder / f"{name}.png")
    Image.fromarray(photos["coffee"][:150, :150]).save(folder / "small.png")
    (folder / "zero.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    store, config = Store(dataset), settings()
    plan = make_plan(store, str(folder), config)
    for part in plan.parts():
        score_part(store.url, plan, part, config)
    return dataset, plan


@pytest.fixture
def fresh(scored: tuple[Path, Plan], tmp_path: Path) -> tuple[Store, Plan]:
    """The scored dataset without any scorer's answers."""
    store = Store(tmp_path / "dataset")
    for path in Store(scored[0]).list():
        store.write(path, Store(scored[0]).read(path))
    return store, scored[1]


def assessor(store: Store, plan: Plan, config: CurateConfig) -> PartAssessor:
    stamps = {name: stamp_of(name, config, identity) for name, identity in load_identities(config).items()}
    return PartAssessor(store.url, plan, config, stamps)


def hashes(store: Store) -> dict[str, str]:
    return {path: hashlib.sha256(store.read(path)).hexdigest() for path in store.list("scores")}


def test_what_passes_gets_a_row_a_scorer_and_the_ledger_joins_it(fresh: tuple[Store, Plan]) -> None:
    store, plan = fresh
    worker = assessor(store, plan, settings())
    done = [batch for part in plan.parts() for batch in worker.assess_part(part)]
    assert (sum(batch.images for batch in done), sum(batch.failed for batch in done)) == (7, 0)
    assert max(batch.images for batch in done) == 2
    assert unassessed(store, plan, settings()) == {}
    names, values = [], []
    for part in plan.parts():
        table = read_scores(store, part)
        names += [Path(url).stem for url in table.column("url").to_pylist()]
        values += table.column("score.brisque").to_pylist()
    found = {
        name for name, value in zip(names, values, strict=True) if value is not None and not np.isnan(value)
    }
    assert found == {*names} - {"small", "zero"}
    features = store.read_table("scores/mobilenet/part-000000.parquet").column("embedding").to_pylist()
    np.testing.assert_allclose(np.linalg.norm(np.array(features, np.float64), axis=1), 1, rtol=1e-3)
    told = read_stamp(store, "scores/mobilenet/part-000001.parquet")
    weights = json.loads(told["weights"])
    assert weights["mobilenet_v2-b0353104.pth"].startswith(
        "b0353104"
    )  # the hash that torchvision names it by
    assert told["scorer"] == "mobilenet"
    assert json.loads(told["config"])["side_px"] == 1024


def test_stopped_anywhere_and_continued_gives_the_same_bytes(
    fresh: tuple[Store, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plan = fresh
    part = plan.parts()[0]
    worker = assessor(store, plan, settings())
    opened = []
    from supir_curate import assess_actor

    real = assess_actor.open_picture
    monkeypatch.setattr(
        assess_actor,
        "open_picture",
        lambda original, *more: opened.append(original.row) or real(original, *more),
    )
    list(worker.assess_part(part))
    once = hashes(store)
    pictures = list(opened)
    for path in once:
        store.delete(path)
    stopped = worker.assess_part(part)
    next(stopped)
    stopped.close()  # as a kill after the first batch
    assert hashes(store) == {}
    list(worker.assess_part(part))
    store.delete(f"scores/mobilenet/{part}.parquet")  # as a kill between two scorers' files
    list(worker.assess_part(part))
    assert hashes(store) == once
    before = len(opened)
    assert list(worker.assess_part(part)) == []
    assert len(opened) == before
    assert len(pictures) == len(set(pictures))


def test_looser_rules_add_rows_and_leave_those_that_stand(fresh: tuple[Store, Plan]) -> None:
    store, plan = fresh
    strict = settings("select.rules.noisy.limit=1")
    loose = settings()
    part = plan.parts()[0]
    assert 0 < len(wanted_rows(store, part, strict)) < len(wanted_rows(store, part, loose))
    list(assessor(store, plan, strict).assess_part(part))
    first = store.read_table(f"scores/brisque/{part}.parquet").to_pylist()
    worker = assessor(store, plan, loose)
    assert [batch.images for batch in worker.assess_part(part)] == [
        len(wanted_rows(store, part, loose)) - len(first)
    ]
    topped_up = hashes(store)
    assert missing_rows(store, part, loose) == {}
    for path in topped_up:
        store.delete(path)
    list(worker.assess_part(part))
    assert hashes(store) == topped_up


def test_a_limit_on_a_score_asks_that_its_scorer_saw_all_that_passes(fresh: tuple[Store, Plan]) -> None:
    store, plan = fresh
    limit = "select.rules.spoiled={score: brisque, keep: <=, limit: 20}"
    strict, loose = settings("select.rules.noisy.limit=1"), settings(limit)
    worker = assessor(store, plan, strict)
    for part in plan.parts():
        list(worker.assess_part(part))
    unseen = len(wanted_rows(store, plan.parts()[0], loose)) - len(
        wanted_rows(store, plan.parts()[0], strict)
    )
    with pytest.raises(
        UserError, match=rf"brisque has not looked at {unseen} pictures? of part-000000 that pass"
    ):
        select(store, plan, loose.select)
    worker = assessor(store, plan, loose)
    for part in plan.parts():
        list(worker.assess_part(part))
    selection = select(store, plan, loose.select)
    values = [value for part in plan.parts() for value in numbers(read_scores(store, part), "score.brisque")]
    assert selection.reasons["spoiled"] == sum(value > 20 for value in values) > 0
    found = survey(store, plan, selection.thresholds)
    assert [score.name for score in found.scores if score not in SCORES] == ["brisque"]
    assert found.bins["brisque"].sum(axis=1).tolist() == [selection.kept, 7 - selection.kept]


def test_a_picture_that_changed_is_a_row_with_its_reason(fresh: tuple[Store, Plan], tmp_path: Path) -> None:
    store, plan = fresh
    moved = tmp_path / "moved"
    moved.mkdir()
    names = sorted(path.name for path in Path(plan.source).iterdir())
    for name in names[1:]:
        (moved / name).write_bytes((Path(plan.source) / name).read_bytes())
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(moved / names[0])
    elsewhere = plan.model_copy(update={"source": str(moved)})
    worker = assessor(store, elsewhere, settings())
    assert sum(batch.failed for batch in worker.assess_part(plan.parts()[0])) == 1
    rows = store.read_table(f"scores/brisque/{plan.parts()[0]}.parquet").to_pylist()
    assert np.isnan(rows[0]["score.brisque"])
    assert "changed since scored: other bytes" in rows[0]["detail"]
    assert [row["detail"] for row in rows[1:]] == [""] * (len(rows) - 1)


def test_other_weights_or_another_config_never_meet_under_one_name(fresh: tuple[Store, Plan]) -> None:
    store, plan = fresh
    list(assessor(store, plan, settings()).assess_part(plan.parts()[0]))
    identities = load_identities(settings())
    other = {
        name: stamp_of(name, settings("assess.side_px=512"), found) for name, found in identities.items()
    }
    with pytest.raises(
        UserError, match=r"scores/brisque was made with config .*1024.*, not .*512.*; use the same"
    ):
        require_same(store, other)
    lying = {name: stamp_of(name, settings(), found) for name, found in identities.items()}
    lying["mobilenet"]["weights"] = "{}"
    with pytest.raises(UserError, match="scores/mobilenet was made with weights"):
        require_same(store, lying)
    with pytest.raises(UserError, match=r"scorer mobilenet has weights .* on one node and \{\} on another"):
        list(PartAssessor(store.url, plan, settings(), lying).assess_part(plan.parts()[1]))


def test_a_finished_run_asks_for_no_weights(fresh: tuple[Store, Plan], connected_ray: None) -> None:
    store, plan = fresh
    gone = load_config(CurateConfig, None, [*BASE, "assess.scorers={brisque: {weights: /gone/svm.txt}}"])
    brisque = load_config(CurateConfig, None, [*BASE, "assess.scorers={brisque: {}}"])
    worker = assessor(store, plan, brisque)
    *most, last = plan.parts()
    for part in most:
        list(worker.assess_part(part))
    with pytest.raises(UserError, match=r"/gone/svm\.txt does not exist"), scorers_ready(store, gone, 1):
        pass
    list(worker.assess_part(last))
    with scorers_ready(store, gone, 1):
        pass


def test_the_cost_is_told_and_nothing_is_written(fresh: tuple[Store, Plan]) -> None:
    store, plan = fresh
    cost = assessing_cost(store, plan, settings(), workers=2)
    assert (cost["parts"], cost["images"], cost["workers"]) == (3, 7, 2)
    assert cost["embedding_bytes"] == 7 * 1280 * 2
    assert set(cost["seconds_a_picture_and_core"]) == {"read", "brisque", "mobilenet"}
    assert cost["hours"] >= 0
    assert hashes(store) == {}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{a b: {}}", r"a scorer's name is a folder's"),
        ("{faces: {}, other: {kind: faces}}", r"more than one gives the score 'face_count'"),
        ("{noise_sigma: {kind: nsfw}}", r"more than one gives the score 'noise_sigma'"),
        ("{source: {kind: nsfw}}", r"'source' is taken"),
        ("{faces: {min_probabilty: 1}}", r"did you mean .*min_probability"),
    ],
)
def test_a_wrong_section_is_one_line(section: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(CurateConfig, None, [f"assess.scorers={section}"])


def test_the_command_looks_once_and_missing_weights_end_it_before_a_picture(
    curate: Callable[..., Any], fresh: tuple[Store, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = fresh
    words = ["assess", store.url, *(word for value in BASE for word in ("--set", value))]
    with pytest.raises(UserError, match="no scorer is named; type for example: --with niqe"):
        curate(*words)
    gone = tmp_path / "gone.npz"
    with pytest.raises(UserError, match=r"assess\.scorers\.niqe\.weights .*gone\.npz does not exist"):
        curate(*words, "--with", "brisque,niqe", "--set", f"assess.scorers.niqe.weights={gone}")
    assert hashes(store) == {}
    outcome = curate(*words, "--with", "brisque")
    assert (outcome.code, outcome.summary["images"], outcome.summary["parts"]) == (0, 7, 3)
    assert outcome.summary["failures"] is None
    first = hashes(store)
    again = curate(*words, "--with", "brisque")
    assert (again.summary["images"], again.summary["parts_done_before"]) == (0, 3)
    assert hashes(store) == first
    # One process after the other gives the same bytes as two at once.
    for path in first:
        store.delete(path)
    worker = assessor(store, load_plan(store), settings("assess.scorers={brisque: {}}"))
    for part in load_plan(store).parts():
        list(worker.assess_part(part))
    assert hashes(store) == first
