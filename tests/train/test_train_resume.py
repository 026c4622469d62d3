"""A stopped run goes on bit for bit; a run folder belongs to one config; a finished run is left alone."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from limits import HANGS_AFTER_S
from safetensors import SafetensorError
from safetensors.torch import load_file
from terminal import take_signals
from train_lines import without_times

from supir_console import UserError, config_yaml
from supir_model import Supir, load_supir
from supir_train import TrainConfig
from supir_train.checkpoint import list_checkpoints, load_checkpoint
from supir_train.export import export
from supir_train.run import prepare, train

FULL = Path("/dev/full")
CLI = [sys.executable, "-c", "from supir_train.cli import main; main()"]


def model_weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "model").rglob("*.safetensors"))
    return {f"{file.parent.name}/{name}": value for file in files for name, value in load_file(file).items()}


def assert_same_bits(left: Path, right: Path) -> None:
    ours, theirs = model_weights(left), model_weights(right)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture(scope="module")
def six_steps(configure, negatives, tmp_path_factory):
    """Configures a run of three autoencoder and three prior steps, and gives one that was never stopped."""

    def make(run: Path) -> TrainConfig:
        return configure(
            "prior",
            run,
            autoencoder__steps=3,
            autoencoder__batch=8,
            optimize__steps=3,
            optimize__micro_batch=4,
            data__captions="plain",
            data__negatives=negatives,
            data__negative_share=0.3,
            data__shuffle_parts=1,
        )

    straight = make(tmp_path_factory.mktemp("straight") / "run")
    train(prepare(straight))
    return make, straight.run


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_six_steps_equal_a_stop_and_the_rest(stop_after, six_steps, tmp_path):
    make, straight = six_steps
    broken = make(tmp_path / "broken")
    stopped = train(prepare(broken), should_stop=lambda steps: steps == stop_after)
    assert (stopped.model, stopped.steps) == (None, stop_after)
    assert train(prepare(broken)).steps == 6
    assert_same_bits(straight, broken.run)
    assert without_times(straight) == without_times(broken.run)


def test_a_stop_waits_for_no_validation_and_the_next_start_makes_it(configure, tmp_path, monkeypatch):
    def lines(run: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    def validated(run: Path) -> list[int]:
        return [line["step"] for line in lines(run) if "validation_loss" in line]

    straight = configure("encoder", tmp_path / "straight", validation__every=2, optimize__steps=4)
    train(prepare(straight))
    assert validated(straight.run) == [0, 2, 4]
    broken = straight.model_copy(update={"run": tmp_path / "broken"})
    train(prepare(broken), should_stop=lambda steps: steps == 2)
    assert validated(broken.run) == [0]
    train(prepare(broken))
    assert validated(broken.run) == [0, 2, 4]
    assert without_times(straight.run) == without_times(broken.run)
    kept = [
        json.loads((run / "checkpoints/step-00000002/state.json").read_text())
        for run in (straight.run, broken.run)
    ]
    assert kept[0]["figures"] == kept[1]["figures"] != {}


@pytest.fixture
def begun(configure, tmp_path):
    """Starts a long run in a session of its own and returns it with its config, once it has made some steps."""

    def start(**streams: int) -> tuple[subprocess.Popen[str], TrainConfig]:
        config = configure("adapter", tmp_path / "run", data__workers=1, optimize__steps=100_000)
        path = tmp_path / "config.yaml"
        path.write_text(config_yaml(config))
        command = [*CLI, str(path)]
        process = subprocess.Popen(
            command, text=True, start_new_session=True, preexec_fn=take_signals, **streams
        )
        metrics, deadline = config.run / "metrics.jsonl", time.monotonic() + HANGS_AFTER_S
        while not (metrics.exists() and len(metrics.read_text().splitlines()) > 3):
            assert time.monotonic() < deadline, "it makes no steps"
            time.sleep(0.05)
        return process, config

    return start


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_with_a_checkpoint_and_the_same_command_goes_on(number, code, begun, tmp_path):
    process, config = begun(stderr=subprocess.PIPE)
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=HANGS_AFTER_S)
    assert process.returncode == code, stderr
    steps = int(re.search(r"stopped after step (\d+)", stderr)[1])
    assert load_checkpoint(list_checkpoints(config.run / "checkpoints")[-1]).progress.step == steps
    again = [*CLI, str(tmp_path / "config.yaml"), "--json", "--set", f"optimize.steps={steps + 2}"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=HANGS_AFTER_S)
    assert (done.returncode, json.loads(done.stdout)["steps"]) == (0, steps + 2), done.stderr


def test_a_terminal_that_closes_takes_no_step_with_it(begun):
    ours, theirs = pty.openpty()
    process, config = begun(stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)  # from here on nothing can be told
    os.killpg(process.pid, signal.SIGHUP)  # as the shell does of which the terminal was
    assert process.wait(HANGS_AFTER_S) == 129
    last = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()][-1]
    assert load_checkpoint(list_checkpoints(config.run / "checkpoints")[-1]).progress.step == last["step"]


def test_another_config_is_refused_with_both_values(configure, tmp_path):
    train(prepare(configure("adapter", tmp_path / "run", optimize__steps=1)))
    with pytest.raises(UserError, match=re.escape("optimize.lr was 1e-05, is 0.5; put it back")):
        train(prepare(configure("adapter", tmp_path / "run", optimize__steps=1, optimize__lr=0.5)))


def test_a_config_may_be_mended_before_the_first_checkpoint(configure, tmp_path):
    with pytest.raises(ValueError, match=r"has no captions 'wrong' for part-0+\d; it has plain; make them"):
        train(prepare(configure("adapter", tmp_path / "run", data__captions="wrong", optimize__steps=1)))
    mended = configure("adapter", tmp_path / "run", data__captions="plain", optimize__steps=1)
    assert train(prepare(mended)).model == mended.run / "model"


def test_a_finished_run_is_left_alone(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=1)
    train(prepare(config))
    before = {path: path.stat().st_mtime_ns for path in (config.run / "model").rglob("*")}
    assert train(prepare(config)).steps == 1
    assert {path: path.stat().st_mtime_ns for path in (config.run / "model").rglob("*")} == before


def test_more_steps_go_on_from_the_last_checkpoint(configure, tmp_path):
    train(prepare(configure("adapter", tmp_path / "long", optimize__steps=4)))
    train(prepare(configure("adapter", tmp_path / "grown", optimize__steps=2)))
    train(prepare(configure("adapter", tmp_path / "grown", optimize__steps=4)))
    assert_same_bits(tmp_path / "long", tmp_path / "grown")


def test_only_the_newest_checkpoints_are_kept(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=5, checkpoint_every=1, keep_checkpoints=2)
    train(prepare(config))
    names = [path.name for path in list_checkpoints(config.run / "checkpoints")]
    assert names == ["step-00000004", "step-00000005"]


def test_a_folder_with_other_content_is_not_taken_for_a_run(configure, tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is a folder with other content; name a new folder"):
        train(prepare(configure("adapter", tmp_path, optimize__steps=1)))


def test_going_on_upon_other_weights_under_the_same_name_is_refused(configure, tmp_path):
    base = tmp_path / "base"
    load_supir(preset="tiny", seed=1).save_pretrained(base)
    train(prepare(configure("adapter", tmp_path / "run", init=base, optimize__steps=1)))
    load_supir(preset="tiny", seed=2).save_pretrained(base)
    with pytest.raises(
        UserError, match=r"init: .*base is not what .*run was begun with; put the old files back"
    ):
        train(prepare(configure("adapter", tmp_path / "run", init=base, optimize__steps=2)))


def test_going_on_with_another_recipe_under_the_same_name_is_refused(configure, tmp_path):
    recipe = tmp_path / "noise.yaml"
    text = "name: noise\nsteps: [{do: noise, gaussian_probability: 1.0, sigma: [%d, 60], poisson_scale: [1, 1]}]\n"
    recipe.write_text(text % 10)
    train(prepare(configure("encoder", tmp_path / "run", data__recipe=recipe, optimize__steps=1)))
    recipe.write_text(text % 20)
    with pytest.raises(UserError, match=r"data\.recipe: .*noise\.yaml is not what"):
        train(prepare(configure("encoder", tmp_path / "run", data__recipe=recipe, optimize__steps=2)))


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "state.json"])
def test_a_damaged_checkpoint_is_one_line_that_says_how_to_go_on(file, configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=2, checkpoint_every=1)
    train(prepare(config))
    newest = list_checkpoints(config.run / "checkpoints")[-1]
    (newest / file).write_bytes((newest / file).read_bytes()[:-40])
    with pytest.raises(UserError, match=r"is damaged .*; delete that folder to go on from the one before it"):
        train(prepare(config))
    (newest / file).unlink()
    with pytest.raises(UserError, match=r"is damaged .*; delete that folder to go on from the one before it"):
        train(prepare(config))
    shutil.rmtree(newest)
    assert train(prepare(config)).steps == 2


def test_what_a_kill_left_half_written_goes_with_the_next_checkpoint(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=1)
    half = config.run / "checkpoints" / ".step-00000001"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    (config.run / "config.yaml").write_text(config_yaml(config))
    train(prepare(config))
    assert [path.name for path in (config.run / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing_half_written(configure, tmp_path, monkeypatch):
    def full(*_arguments: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    config = configure("adapter", tmp_path / "run", optimize__steps=1)
    monkeypatch.setattr("supir_train.checkpoint.save_file", full)
    with pytest.raises(OSError, match=r"step-00000001 could not be written: .*No space left.*make room"):
        train(prepare(config))
    assert list((config.run / "checkpoints").iterdir()) == []


def test_memory_that_gives_out_while_weights_are_saved_is_not_taken_for_a_full_disk(
    configure, tmp_path, monkeypatch
):
    def refused(*_arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    config = configure("adapter", tmp_path / "run", optimize__steps=1)
    monkeypatch.setattr("supir_train.checkpoint.save_file", refused)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        train(prepare(config))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks /proc")
def test_a_model_is_on_the_disk_before_it_has_its_name(configure, tmp_path, monkeypatch):
    synced, sync = set(), os.fsync

    def noted(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    config = configure("adapter", tmp_path / "run", optimize__steps=1, validation__crops=0)
    model = train(prepare(config)).model
    written = {str(config.run / ".model" / path.relative_to(model)) for path in model.rglob("*")}
    assert len(written) > 10
    assert written <= synced


@pytest.mark.skipif(not FULL.exists(), reason="Linux has this device")
@pytest.mark.parametrize("file", ["optimizer.pt", "adversary.pt", "state.json"])
def test_whichever_file_of_a_checkpoint_finds_no_room_the_last_one_stands(
    file, configure, tmp_path, monkeypatch
):
    config = configure("adapter", tmp_path / "run", optimize__steps=2, checkpoint_every=1)
    train(prepare(config), should_stop=lambda _steps: True)
    run, opened = prepare(config), Path.open

    def open_or_full(path: Path, *how: Any, **more: Any) -> Any:
        return opened(FULL if path.parts[-2:] == (".step-00000002", file) else path, *how, **more)

    monkeypatch.setattr(Path, "open", open_or_full)
    told = r"step-00000002 could not be written: \[Errno 28\] No space left on device; make room, the same command"
    with pytest.raises(OSError, match=told):
        train(run)
    monkeypatch.undo()
    assert [path.name for path in (config.run / "checkpoints").iterdir()] == ["step-00000001"]
    assert train(prepare(config)).steps == 2


def test_a_disk_that_is_full_for_the_model_leaves_the_one_that_was_there(configure, tmp_path, monkeypatch):
    def full(_supir: Supir, folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    config = configure("adapter", tmp_path / "run", optimize__steps=1)
    train(prepare(config))
    before = sorted(path.relative_to(config.run) for path in (config.run / "model").rglob("*"))
    monkeypatch.setattr(Supir, "save_pretrained", full)
    with pytest.raises(OSError, match=r"run/model could not be written: .*No space left.*make room"):
        export(config.run, step=None, best=False, output=None, official=None)
    assert sorted(path.relative_to(config.run) for path in (config.run / "model").rglob("*")) == before
    assert not (config.run / ".model").exists()
