"""A run shared by several processes is the run of one: equal weights, one order of the data, one writer."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from limits import HANGS_AFTER_S
from PIL import Image

from supir_console import UserError, config_yaml
from supir_train import TrainConfig
from supir_train.checkpoint import list_checkpoints, load_checkpoint
from supir_train.image_noise import image_noise
from supir_train.run import prepare, train
from supir_train.world import World

COMMAND = [sys.executable, "-m", "supir_train"]


def supir_train(config: TrainConfig, *arguments: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    path = config.run.with_suffix(".yaml")
    path.write_text(config_yaml(config))
    command = [*COMMAND, str(path), "--processes", str(processes), *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def trained(config: TrainConfig, processes: int) -> dict[str, torch.Tensor]:
    """The weights of the last checkpoint of a run by so many processes."""
    done = supir_train(config, processes=processes)
    assert done.returncode == 0, done.stderr
    return load_checkpoint(list_checkpoints(config.run / "checkpoints")[-1]).model


def loss_curve(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture
def adapter(configure, negatives, tmp_path):
    """Configures a run of the adapter on captioned photos and negatives, eight images a step."""

    def make(name: str, **keys: object) -> TrainConfig:
        data = {"data__captions": "plain", "data__negatives": negatives, "data__negative_share": 0.3}
        return configure("adapter", tmp_path / name, optimize__lr=1e-3, **data, **keys)

    return make


def test_two_processes_equal_one_bit_for_bit_at_two_micro_batches(adapter, tmp_path):
    one = trained(adapter("one", optimize__steps=4, optimize__micro_batch=4), processes=1)
    two = trained(adapter("two", optimize__steps=4, optimize__micro_batch=4), processes=2)
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert_same_validations(tmp_path / "one", tmp_path / "two")


def assert_same_validations(one: Path, two: Path) -> None:
    """The two processes measured half of the crops each: all that one alone measures, and on the same sheet."""
    lines = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, two)
    ]
    pairs = [pair for pair in zip(*lines, strict=True) if "validation_loss" in pair[0]]
    assert len(pairs) == 2
    for alone, shared in pairs:
        assert alone.keys() == shared.keys()
        for name in alone.keys() - {"time", "phase", "sheet"}:
            assert shared[name] == pytest.approx(alone[name], rel=1e-4), name
        sheets = [np.asarray(Image.open(run / alone["sheet"])).astype(int) for run in (one, two)]
        assert np.abs(sheets[0] - sheets[1]).max() <= 1


def test_another_split_of_a_step_changes_rounding_only(adapter):
    whole = adapter("whole", optimize__steps=20)
    small = adapter("small", optimize__steps=20, optimize__micro_batch=1)
    shared = adapter("shared", optimize__steps=20, optimize__micro_batch=2)
    train(prepare(whole))
    train(prepare(small))
    assert supir_train(shared, processes=2).returncode == 0
    expected = torch.tensor(loss_curve(whole.run))
    for config in (small, shared):
        torch.testing.assert_close(torch.tensor(loss_curve(config.run)), expected, rtol=1e-5, atol=0)


def test_a_run_goes_on_with_another_number_of_processes(adapter):
    straight = trained(adapter("straight", optimize__steps=4, optimize__micro_batch=4), processes=1)
    begun = adapter("begun", optimize__steps=4, optimize__micro_batch=4)
    assert train(prepare(begun), should_stop=lambda steps: steps == 2).steps == 2
    resumed = trained(begun, processes=2)
    assert [name for name in straight if not torch.equal(straight[name], resumed[name])] == []
    assert loss_curve(begun.run) == loss_curve(begun.run.with_name("straight"))


def test_a_sample_that_one_process_cannot_use_is_listed_once_and_counts_for_nothing(
    configure, dataset_with_a_small_image, tmp_path
):
    def make(name: str) -> TrainConfig:
        return configure(
            "encoder",
            tmp_path / name,
            data__dataset=dataset_with_a_small_image,
            optimize__steps=8,
            optimize__batch=4,
            optimize__micro_batch=1,
        )

    one, two = make("one"), make("two")
    train(prepare(one))
    done = supir_train(two, "--json", processes=2)
    assert (done.returncode, json.loads(done.stdout)["bad_samples"]) == (1, 1), done.stderr
    assert len((two.run / "bad_samples.jsonl").read_text().splitlines()) == 1
    torch.testing.assert_close(
        torch.tensor(loss_curve(two.run)), torch.tensor(loss_curve(one.run)), rtol=1e-5, atol=0
    )


def test_a_signal_stops_all_processes_at_one_step(adapter):
    config = adapter("run", optimize__steps=100_000)
    path = config.run.with_suffix(".yaml")
    path.write_text(config_yaml(config))
    process = subprocess.Popen(
        [*COMMAND, str(path), "--processes", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_lines(config.run / "metrics.jsonl", 3)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=HANGS_AFTER_S)
    assert process.returncode == 143, stderr
    steps = int(re.search(r"stopped after step (\d+)", stderr)[1])
    assert (json.loads(stdout)["steps"], stderr.count("stopped after")) == (steps, 1)
    assert load_checkpoint(list_checkpoints(config.run / "checkpoints")[-1]).progress.step == steps


def test_a_killed_launcher_leaves_no_process_behind(adapter):
    config = adapter("run", optimize__steps=100_000, data__workers=1)
    path = config.run.with_suffix(".yaml")
    path.write_text(config_yaml(config))
    process = subprocess.Popen([*COMMAND, str(path), "--processes", "2"], stderr=subprocess.DEVNULL)
    wait_for_lines(config.run / "metrics.jsonl", 3)
    assert len(mentioning(config.run)) == 3
    process.kill()
    process.wait()
    killed = time.monotonic()
    while left := mentioning(config.run):
        assert time.monotonic() - killed < HANGS_AFTER_S, f"{left} live on"
        time.sleep(0.1)


def test_a_mistake_of_the_user_is_one_line_from_many_processes(adapter):
    done = supir_train(adapter("run", optimize__micro_batch=8), processes=2)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: batch=8 in micro-batches of 8 images, 1 a photo, cannot be shared evenly by 2 processes; choose "
        "batch = processes * n * micro_batch, and micro_batch a multiple of data.crops_per_image"
    ]


def test_a_run_folder_has_one_owner(adapter):
    config = adapter("run", optimize__steps=2)
    refused = []

    def start_again(steps: int) -> bool:
        with pytest.raises(
            UserError, match=r"run is being trained by another process; wait for it, or set run=NEW"
        ):
            train(prepare(config))
        refused.append(steps)
        return False

    assert train(prepare(config), should_stop=start_again).model
    assert set(refused) == {0, 1, 2}  # asked within validations too


def test_the_slices_of_a_step_cover_all_timesteps_once_whatever_the_split():
    whole = image_noise(3, "prior", range(8, 16), images_a_step=8)
    halves = [image_noise(3, "prior", numbers, images_a_step=8) for numbers in (range(8, 12), range(12, 16))]
    assert sorted(whole.slices.tolist()) == list(range(8))
    assert torch.equal(torch.cat([half.slices for half in halves]), whole.slices)
    parts = [half.stratified() for half in halves]
    assert torch.equal(torch.cat(parts), whole.stratified())
    assert sorted((torch.cat(parts) * 8).int().tolist()) == list(range(8))


def test_a_world_of_one_agrees_with_itself():
    alone = World()
    assert (alone.total(3.0), alone.any(False), alone.gather("a"), alone.from_first(7)) == (
        3.0,
        False,
        ["a"],
        7,
    )


def wait_for_lines(path: Path, lines: int) -> None:
    deadline = time.monotonic() + HANGS_AFTER_S
    while not (path.exists() and len(path.read_text().splitlines()) >= lines):
        assert time.monotonic() < deadline, f"{path} has no {lines} lines"
        time.sleep(0.05)


def mentioning(run: Path) -> list[int]:
    """Processes with the run's folder on their command line, and loader processes that live on without them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(run).encode() in words:
            found.append(int(entry.name))
    return found
