"""A folder that a run cannot have is told in one line, before anything of the run is loaded."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from supir_train.run import prepare, train
from supir_train.run_folder import owned
from supir_train.world import ALONE


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def load(_config: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("supir_train.run.load_start", load)


@pytest.mark.usefixtures("nothing_is_loaded")
def test_a_second_start_is_refused_in_one_line(command, configure, tmp_path):
    with owned(configure("adapter", tmp_path / "run"), ALONE):
        code, out, err = command()
    refusal = f"error: run: {tmp_path}/run is being trained by another process; wait for it, or set run=NEW\n"
    assert (code, out, err) == (2, "", refusal)


def test_a_plan_may_be_made_of_a_run_under_way(command, configure, tmp_path):
    with owned(configure("adapter", tmp_path / "run"), ALONE):
        code, out, _ = command("--dry-run", "--json")
    assert (code, json.loads(out)["phases"][0]["steps"]) == (0, 2)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_file_in_the_folders_place_is_one_line(arguments, command, tmp_path):
    (tmp_path / "run").write_text("mine")
    code, _, err = command(*arguments)
    assert (code, err) == (
        2,
        f"error: run: {tmp_path}/run cannot be written to: it is no folder; give a folder that can be\n",
    )
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
@pytest.mark.parametrize("is_begun", [False, True])
def test_a_read_only_place_is_one_line(is_begun, arguments, command, tmp_path, monkeypatch):
    run = tmp_path / "run"
    if is_begun:
        run.mkdir()
        (run / ".lock").touch()

    def closed(path: Path, *_arguments: object, **_named: object) -> None:
        raise OSError(30, os.strerror(30), str(path))

    monkeypatch.setattr(Path, "mkdir", closed)
    monkeypatch.setattr(Path, "touch", closed)
    code, _, err = command(*arguments)
    told = f"error: run: {run} cannot be written to: Read-only file system; give a folder that can be\n"
    assert (code, err) == (2, told)


def test_another_config_is_refused_before_weights_are_loaded(command, configure, tmp_path, request):
    config = configure("adapter", tmp_path / "run", optimize__steps=1)
    train(prepare(config))
    request.getfixturevalue("nothing_is_loaded")
    told = "was begun with another config: optimize.lr was 1e-05, is 0.001; put it back, or set run=NEW"
    for arguments in ([], ["--dry-run"]):
        code, _, err = command(*arguments, optimize__lr=1e-3)
        assert (code, told in err.splitlines()[-1]) == (2, True)


def test_a_start_that_is_refused_for_its_data_leaves_no_folder(command, tmp_path):
    code, _, err = command(data__dataset="/no/such")
    assert (code, len(err.splitlines())) == (2, 1)
    assert not (tmp_path / "run").exists()


def test_a_line_of_metrics_that_is_none_of_ours_is_dropped(configure, tmp_path):
    config = configure("encoder", tmp_path / "run", optimize__steps=1, validation__crops=0)
    train(prepare(config))
    metrics = config.run / "metrics.jsonl"
    ours = metrics.read_bytes()
    metrics.write_bytes(ours + b'{"note": 2}\n[1]\n{"step": 1, "pha')
    shutil.rmtree(config.run / "model")
    train(prepare(config))
    assert metrics.read_bytes() == ours
