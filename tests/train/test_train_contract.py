"""A run goes on upon the data, the schedule and the config it was begun with, or says in one line why not."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from supir_console import UserError, load_config
from supir_shards import Dataset, Store, finish_dataset, read_captions, write_captions, write_part
from supir_train import TrainConfig
from supir_train.config_history import record_config
from supir_train.export import export
from supir_train.rehearsal import rehearse
from supir_train.run import prepare, train
from supir_train.world import ALONE

RATES = ("seconds", "images_per_s", "time", "data_wait", "peak_rss_bytes")


@pytest.fixture
def own(dataset, negatives, tmp_path) -> tuple[Path, Path]:
    """Copies of the photos and the negatives that a test may change."""
    shutil.copytree(dataset, tmp_path / "photos")
    shutil.copytree(negatives, tmp_path / "negatives")
    return tmp_path / "photos", tmp_path / "negatives"


@pytest.fixture
def begun(configure, own, tmp_path):
    """Configures a run on these copies, of which one step is done."""
    photos, negatives = own

    def make(steps: int = 2) -> TrainConfig:
        return configure(
            "adapter",
            tmp_path / "run",
            data__dataset=photos,
            data__captions="plain",
            data__negatives=negatives,
            data__negative_share=0.3,
            optimize__steps=steps,
            validation__crops=0,
        )

    train(prepare(make(1)))
    return make


def finish(folder: Path) -> None:
    finish_dataset(Store(folder), command="tests", config={}, config_hash="0")


def reword(folder: Path, name: str) -> None:
    """Gives every caption of the set other words."""
    store = Store(folder)
    for part in Dataset(folder).parts():
        captions = itertools.chain.from_iterable(read_captions(store, "plain", part).values())
        write_captions(store, name, part, [replace(caption, text="other words") for caption in captions])
    finish(folder)


def swap_pictures(folder: Path) -> None:
    """Writes the first part anew, without its last picture."""
    held = Dataset(folder)
    part = held.parts()[0]
    write_part(Store(folder), part, list(held.samples([part]))[:-1])
    finish(folder)


def test_pictures_swapped_under_the_same_path_are_refused(begun, own):
    swap_pictures(own[0])
    with pytest.raises(UserError, match=r"data\.dataset: .*photos is not what .*run was begun with; put the"):
        train(prepare(begun()))


def test_negatives_swapped_under_the_same_path_are_refused(begun, own):
    swap_pictures(own[1])
    with pytest.raises(UserError, match=r"data\.negatives: .*negatives is not what .*run was begun with"):
        train(prepare(begun()))


def test_captions_made_again_under_the_same_name_are_refused(begun, own):
    reword(own[0], "plain")
    with pytest.raises(UserError, match=r"data\.captions: plain of .*photos is not what"):
        train(prepare(begun()))


def test_data_that_were_moved_are_gone_on_upon_and_the_history_tells_where(begun, own, tmp_path):
    was = str(own[0])
    moved = own[0].rename(tmp_path / "archive")
    config = begun()
    config = config.model_copy(update={"data": config.data.model_copy(update={"dataset": str(moved)})})
    assert train(prepare(config)).steps == 2
    (line,) = map(json.loads, (tmp_path / "run" / "config_history.jsonl").read_text().splitlines())
    assert line["changes"]["data.dataset"] == [was, str(moved)]


def test_another_recipe_by_another_name_is_refused(begun):
    config = begun()
    config = config.model_copy(update={"data": config.data.model_copy(update={"recipe": "light"})})
    with pytest.raises(UserError, match=r"data\.recipe: light is not what .*run was begun with"):
        train(prepare(config))


def test_a_config_of_another_version_is_told_as_that(begun, tmp_path):
    file = tmp_path / "run" / "config.yaml"
    file.write_text("lr_scale: 2\n" + file.read_text())
    with pytest.raises(UserError, match=r"unknown config key 'lr_scale'.*written by another version"):
        train(prepare(begun()))


def test_a_model_is_made_of_a_checkpoint_whose_data_are_gone(begun, own, tmp_path):
    begun()
    shutil.rmtree(own[0])
    exported = export(tmp_path / "run", step=None, best=False, output=tmp_path / "model", official=None)
    assert (exported.step, (exported.model / "config.json").is_file()) == (1, True)


def test_captions_under_another_name_do_not_matter(begun, own):
    reword(own[0], "second")
    assert train(prepare(begun())).steps == 2


@pytest.mark.parametrize("table", ["index/part-000000.parquet", "captions/plain/part-000000.parquet"])
def test_a_table_altered_behind_the_manifest_is_refused(table, begun, own):
    shutil.copy(own[0] / table.replace("000000", "000001"), own[0] / table)
    with pytest.raises(UserError, match=rf"{re.escape(table)} is not what dataset\.json says; put the old"):
        train(prepare(begun()))


@pytest.mark.parametrize("look", [prepare, lambda config: rehearse(config, ALONE)], ids=["run", "dry run"])
def test_a_tar_that_is_gone_or_cut_short_is_refused_before_anything_is_trained(
    look, configure, own, tmp_path
):
    config = configure("adapter", tmp_path / "run", data__dataset=own[0], validation__crops=0)
    shard = own[0] / "shards" / "part-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-1024])
    with pytest.raises(UserError, match=r"part-000001\.tar is not what dataset\.json says"):
        look(config)
    shard.unlink()
    with pytest.raises(
        UserError, match=r"part-000001\.tar is missing, which dataset\.json names; put it back"
    ):
        look(config)


def test_a_refused_start_leaves_the_config_of_the_run_alone(begun, own, tmp_path):
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    reword(own[0], "plain")
    with pytest.raises(UserError, match="is not what"):
        train(prepare(begun(7)))
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


COSINE = {"optimize__schedule": "cosine", "optimize__lr": 1e-3, "validation__crops": 0}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(sorted((run / "checkpoints").glob("step-*"))[-1] / "model.safetensors")


def test_a_cosine_without_a_horizon_is_not_stretched(configure, tmp_path):
    train(prepare(configure("adapter", tmp_path / "run", optimize__steps=2, **COSINE)))
    told = r"optimize\.steps=4: .* over 4 steps, .* begun with 2; set optimize\.schedule_steps=2 to go on"
    with pytest.raises(UserError, match=told):
        train(prepare(configure("adapter", tmp_path / "run", optimize__steps=4, **COSINE)))


def test_more_steps_under_an_own_horizon_are_the_straight_run(configure, tmp_path):
    horizon = COSINE | {"optimize__schedule_steps": 8}
    train(prepare(configure("adapter", tmp_path / "straight", optimize__steps=4, **horizon)))
    for steps in (2, 4):
        train(prepare(configure("adapter", tmp_path / "grown", optimize__steps=steps, **horizon)))
    straight, grown = weights(tmp_path / "straight"), weights(tmp_path / "grown")
    assert [name for name in straight if not torch.equal(straight[name], grown[name])] == []
    lines = map(json.loads, (tmp_path / "grown" / "metrics.jsonl").read_text().splitlines())
    assert [line["lr"] for line in lines if "lr" in line][-1] == pytest.approx(
        1e-3 * (0.01 + 0.99 * 0.691342), rel=1e-5
    )  # (1 + cos(3π/8)) / 2


def test_the_horizon_that_was_meant_may_be_named_later(configure, tmp_path):
    train(prepare(configure("adapter", tmp_path / "run", optimize__steps=2, **COSINE)))
    named = configure("adapter", tmp_path / "run", optimize__steps=3, optimize__schedule_steps=2, **COSINE)
    assert train(prepare(named)).steps == 3


def test_a_run_is_not_told_to_be_shorter_than_it_is(configure, tmp_path):
    train(prepare(configure("adapter", tmp_path / "run", optimize__steps=3, validation__crops=0)))
    with pytest.raises(UserError, match=r"optimize\.steps=2 lies before step 3, where .*run stands; set it"):
        train(prepare(configure("adapter", tmp_path / "run", optimize__steps=2, validation__crops=0)))


def test_the_history_tells_what_changed_at_which_step(configure, tmp_path):
    run = tmp_path / "run"
    for steps, every in ((1, 1), (2, 1), (2, 1), (3, 5)):
        keys = {"optimize__steps": steps, "log_every": every, "validation__crops": 0}
        train(prepare(configure("adapter", run, **keys)))
    lines = [json.loads(line) for line in (run / "config_history.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 1, "changes": {"optimize.steps": [1, 2]}},
        {"step": 2, "changes": {"optimize.steps": [2, 3], "log_every": [1, 5]}},
    ]
    assert load_config(TrainConfig, run / "config.yaml").optimize.steps == 3


def test_a_kill_between_history_and_config_tells_nothing_twice(configure, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    record_config(configure("adapter", run, optimize__steps=1), 0)
    before = (run / "config.yaml").read_bytes()
    record_config(configure("adapter", run, optimize__steps=2), 1)
    (run / "config.yaml").write_bytes(before)
    record_config(configure("adapter", run, optimize__steps=2), 1)
    assert len((run / "config_history.jsonl").read_text().splitlines()) == 1


@pytest.fixture(scope="module")
def lines_of_three(configure, tmp_path_factory):
    """Runs of six steps with a line of metrics every third, stopped where it is said; gives their lines."""

    def lines(stops: tuple[int, ...]) -> list[dict[str, object]]:
        run = tmp_path_factory.mktemp("windows") / "run"
        config = configure("adapter", run, optimize__steps=6, log_every=3, validation__every=3)
        for stop in stops:
            train(prepare(config), should_stop=lambda steps, stop=stop: steps == stop)
        train(prepare(config))
        parsed = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in line.items() if key not in RATES} for line in parsed]

    return lines


def test_windows_of_metrics_survive_stops_at_any_step(lines_of_three):
    straight = lines_of_three(())
    assert [line["step"] for line in straight if "loss" in line] == [3, 6]
    assert lines_of_three((1, 2, 4)) == straight
