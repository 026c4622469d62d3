"""Kills, stops and outages at the moments at which most can be lost: validations, exports, second saves, reads."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from train_lines import without_times

from supir_console import Unfinished, UserError
from supir_model import Supir, load_supir
from supir_train import TrainConfig, crop_maker, whole_folder
from supir_train.checkpoint import list_checkpoints
from supir_train.export import export
from supir_train.run import prepare, train
from supir_train.run_folder import locked
from supir_train.validation import Validation
from supir_train.whole_folder import telling_of_full_disk


class KilledError(BaseException):
    """Stands for the end of the process: no one catches it."""


def killed(*_arguments: object, **_named: object) -> None:
    raise KilledError


def control_weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "control/diffusion_pytorch_model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def validated(run: Path) -> list[int]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["step"] for line in lines if "validation_loss" in line]


def figures(run: Path, step: int) -> dict[str, Any]:
    return json.loads((run / f"checkpoints/step-{step:08d}/state.json").read_text())["figures"]


@pytest.fixture
def straight(configure, tmp_path) -> TrainConfig:
    config = configure("adapter", tmp_path / "straight", optimize__steps=4, validation__every=2)
    train(prepare(config))
    return config


def test_a_kill_in_a_validation_costs_no_step(straight, tmp_path, monkeypatch):
    config = straight.model_copy(update={"run": tmp_path / "broken", "checkpoint_every": 2})
    measured, calls = Validation._measured, []

    def killed_at_the_second(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        return killed() if len(calls) == 2 else measured(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "_measured", killed_at_the_second)
        with pytest.raises(KilledError):
            train(prepare(config))
    assert [path.name for path in list_checkpoints(config.run / "checkpoints")] == ["step-00000002"]
    train(prepare(config))
    assert validated(config.run) == [0, 2, 4]
    assert without_times(straight.run) == without_times(config.run)
    assert figures(config.run, 2) != {}
    assert figures(config.run, 4) == figures(straight.run, 4) != {}


def test_a_kill_between_a_validation_and_its_note_leaves_one_line_of_it(straight, tmp_path, monkeypatch):
    config = straight.model_copy(update={"run": tmp_path / "broken", "checkpoint_every": 2})
    with monkeypatch.context() as patch:
        patch.setattr("supir_train.checkpoint.replacing", killed)
        with pytest.raises(KilledError):
            train(prepare(config))
    assert (validated(config.run), figures(config.run, 2)) == ([0, 2], {})
    train(prepare(config))
    assert without_times(straight.run) == without_times(config.run)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_stop_within_a_validation_waits_for_no_more_of_it_and_makes_no_step(
    number, straight, tmp_path, monkeypatch
):
    config = straight.model_copy(update={"run": tmp_path / "broken"})
    told: list[int] = []
    restored, validations = Validation._restored, []

    def stopped_meanwhile(self: Validation, batch: Any) -> Any:
        validations.append(None)
        if len(validations) > number * len(self._batches):
            told.append(1)
        return restored(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "_restored", stopped_meanwhile)
        outcome = train(prepare(config), should_stop=lambda _step: bool(told))
    assert (outcome.model, outcome.steps) == (None, 2 * number)
    assert validated(config.run) == [0, 2, 4][:number]
    assert train(prepare(config)).model == config.run / "model"
    assert without_times(straight.run) == without_times(config.run)
    assert same(control_weights(straight.run / "model"), control_weights(config.run / "model"))


def test_a_second_save_of_a_step_leaves_its_weights_alone(configure, tmp_path):
    config = configure(
        "adapter", tmp_path / "run", optimize__steps=4, validation__every=2, keep_checkpoints=1
    )
    train(prepare(config), should_stop=lambda steps: steps == 2)
    weights = config.run / "checkpoints/step-00000002/model.safetensors"
    before = weights.stat().st_ino
    train(prepare(config), should_stop=lambda steps: steps == 3)
    names = [path.name for path in list_checkpoints(config.run / "checkpoints")]
    assert names == ["step-00000002", "step-00000003"]  # the second is the best one
    assert weights.stat().st_ino == before


def test_what_is_deleted_loses_its_name_first(tmp_path, monkeypatch):
    checkpoint = tmp_path / "step-00000001"
    checkpoint.mkdir()
    delete = shutil.rmtree

    def killed_within(folder: Path, **named: Any) -> None:
        killed() if Path(folder).exists() else delete(folder, **named)

    monkeypatch.setattr(whole_folder.shutil, "rmtree", killed_within)
    with pytest.raises(KilledError):
        whole_folder.delete_folder(checkpoint)
    assert list_checkpoints(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [".step-00000001"]


def test_a_model_of_another_step_is_not_taken_for_the_end_of_the_run(straight):
    model = straight.run / "model"
    whole = control_weights(model)
    shutil.rmtree(straight.run / "checkpoints/step-00000004")
    train(prepare(straight), should_stop=lambda steps: steps == 3)
    export(straight.run, step=3, best=False, output=None, official=None)
    assert json.loads((model / "training.json").read_text())["step"] == 3
    assert not same(whole, control_weights(model))
    assert train(prepare(straight)).steps == 4
    assert same(whole, control_weights(model))


@pytest.mark.parametrize("moment", ["write", "swap"])
def test_a_kill_while_the_model_is_replaced_leaves_it_to_the_next_start(moment, straight, monkeypatch):
    grown = straight.model_copy(update={"optimize": straight.optimize.model_copy(update={"steps": 6})})
    with monkeypatch.context() as patch:
        if moment == "write":
            patch.setattr(Supir, "save_pretrained", killed)
        else:
            patch.setattr("supir_train.export.give_name", lambda folder: killed(shutil.rmtree(folder)))
        with pytest.raises(KilledError):
            train(prepare(grown))
    assert train(prepare(grown)).steps == 6
    found = json.loads((grown.run / "model/training.json").read_text())
    assert (found["step"], found["phase"]) == (6, "adapter")
    load_supir(grown.run / "model")
    assert not list(grown.run.glob(".model*"))


def test_frozen_weights_that_changed_meanwhile_do_not_get_into_the_model(configure, tmp_path):
    start, aside = tmp_path / "start", tmp_path / "aside"
    load_supir(preset="tiny", weights=None).save_pretrained(start)
    named = {"init": str(start), "optimize__precision": "bf16"}
    config = configure("adapter", tmp_path / "run", optimize__steps=2, **named)
    run = prepare(config)
    shutil.copytree(start, aside)
    changed = load_supir(start)
    with torch.no_grad():
        changed.unet.conv_in.weight.mul_(1.5)
    changed.save_pretrained(start)
    with pytest.raises(
        UserError, match=r"init: .*start is not what .*run was begun with; put the old files back"
    ):
        train(run)
    assert not (config.run / "model").exists()
    shutil.rmtree(start)
    aside.rename(start)
    assert train(prepare(config)).steps == 2
    unet = "unet/diffusion_pytorch_model.safetensors"
    assert (config.run / "model" / unet).read_bytes() == (start / unet).read_bytes()


def test_the_model_of_a_run_that_is_trained_is_exported_elsewhere_only(straight, tmp_path):
    with locked(straight.run):
        with pytest.raises(
            UserError, match="is being trained by another process; wait for it, or give -o FOLDER"
        ):
            export(straight.run, step=None, best=False, output=None, official=None)
        assert export(straight.run, step=None, best=False, output=tmp_path / "other", official=None).step == 4


def test_files_of_weights_are_for_others_too(straight):
    files = [*straight.run.rglob("*.safetensors"), straight.run / "model/config.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o666 & ~_umask()}


def _umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("No space left on device (os error 28)", "make room, the same command goes on"),
        ("No such file or directory (os error 2)", "directory \\(os error 2\\); the same command goes on"),
    ],
)
def test_room_is_asked_for_only_where_there_is_none(why, advice, tmp_path):
    with pytest.raises(OSError, match=advice), telling_of_full_disk(tmp_path / "model"):
        raise SafetensorError(f"I/O error: {why}")


def test_a_store_that_is_away_for_a_moment_costs_no_sample(configure, tmp_path, monkeypatch):
    config, shards = _of_own_copy(configure, tmp_path)
    waits: list[float] = []

    def waited(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            shards.with_name("away").rename(shards)

    monkeypatch.setattr(crop_maker.time, "sleep", waited)
    run = prepare(config)
    shards.rename(shards.with_name("away"))
    outcome = train(run)
    assert (outcome.bad_samples, waits) == (0, [0.5, 2.0])


def test_a_store_that_stays_away_ends_the_run_and_blames_no_sample(configure, tmp_path, monkeypatch):
    config, shards = _of_own_copy(configure, tmp_path)
    monkeypatch.setattr(crop_maker.time, "sleep", lambda _seconds: None)
    run = prepare(config)
    shards.rename(shards.with_name("away"))
    with pytest.raises(
        Unfinished, match=r"the dataset cannot be read: .*does not exist; when it can, the same"
    ):
        train(run)
    assert not (config.run / "bad_samples.jsonl").exists()


def _of_own_copy(configure, tmp_path) -> tuple[TrainConfig, Path]:
    config = configure("adapter", tmp_path / "run", data__workers=0, validation__crops=0, optimize__steps=2)
    own = tmp_path / "dataset"
    shutil.copytree(config.data.dataset, own)
    data = config.data.model_copy(update={"dataset": str(own)})
    return config.model_copy(update={"data": data}), own / "shards"


def test_bytes_that_are_none_of_the_sample_stay_a_bad_sample(configure, tmp_path):
    config, shards = _of_own_copy(configure, tmp_path)
    run = prepare(config)
    for tar in shards.glob("*.tar"):
        tar.write_bytes(b"\0" * tar.stat().st_size)
    with pytest.raises(UserError, match="none of"):
        train(run)


def test_what_a_validation_costs_is_judged_over_whole_windows(configure, tmp_path, caplog):
    config = configure("adapter", tmp_path / "run", optimize__steps=7, validation__every=3)
    train(prepare(config), should_stop=lambda steps: steps == 2)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        train(prepare(config), should_stop=lambda steps: steps == 4)
    assert "a validation takes" not in caplog.text
