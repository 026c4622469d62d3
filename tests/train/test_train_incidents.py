"""A step that is no number is kept, made again bit for bit and passed over; a killed run leaves no process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from limits import HANGS_AFTER_S
from safetensors.torch import load_file

from supir_console import UserError, config_yaml
from supir_degrade import Trace
from supir_train.checkpoint import list_checkpoints, load_checkpoint
from supir_train.incidents import list_incidents, load_incident
from supir_train.run import Run, prepare, train

CLI = [sys.executable, "-c", "from supir_train.cli import main; main()"]
STILL = {"validation__crops": 0, "optimize__lr": 1e-3}


def poisoned(run: Run, *numbers: int) -> Run:
    """The run with a loss that is no number for these images."""

    def poison(phase):
        def loss(batch, noise):
            losses = phase.loss(batch, noise)
            is_hit = any(number in numbers for number in batch.numbers)
            return losses | {"loss": losses["loss"] * (float("nan") if is_hit else 1.0)}

        return replace(phase, loss=loss)

    return replace(run, phases=tuple(map(poison, run.phases)))


def test_the_batch_and_the_state_before_it_are_kept(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=4, data__captions="plain", **STILL)
    told = r"the loss of adapter is nan at step 3; .*incidents/step-00000003, `supir-train replay .* goes on past it"
    with pytest.raises(UserError, match=told):
        train(poisoned(prepare(config), 21))
    incident, before = load_incident(config.run, None)
    assert (incident.step, incident.loss, before.progress.step) == (3, "nan", 2)
    assert [line["number"] for line in incident.images] == list(range(16, 24))
    assert {len(line["key"]) for line in incident.images} == {32}
    assert [Trace.model_validate(line["trace"]) for line in incident.images]
    assert {line["prompt"] == "" or line["prompt"].startswith("photo ") for line in incident.images} == {True}
    newest = load_checkpoint(list_checkpoints(config.run / "checkpoints")[-1])
    assert newest.progress == before.progress


def test_the_state_before_an_incident_is_that_of_a_run_without_one(configure, tmp_path):
    keys = {"data__captions": "plain", "log_every": 5, **STILL}
    train(prepare(configure("adapter", tmp_path / "sound", optimize__steps=2, **keys)))
    with pytest.raises(UserError, match="at step 3"):
        train(poisoned(prepare(configure("adapter", tmp_path / "run", optimize__steps=4, **keys)), 21))
    sound = load_checkpoint(list_checkpoints(tmp_path / "sound" / "checkpoints")[-1])
    _, before = load_incident(tmp_path / "run", 3)
    assert before.progress.position == sound.progress.position
    assert [name for name, value in sound.model.items() if not torch.equal(before.model[name], value)] == []
    assert before.progress.sums["loss"][1] == 16  # two steps of eight, and nothing of the third


def test_the_rerun_passes_over_the_step_and_says_so(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=4, **STILL)
    with pytest.raises(UserError, match="at step 3"):
        train(poisoned(prepare(config), 21))
    outcome = train(poisoned(prepare(config), 21))
    assert (outcome.steps, outcome.passed_over) == (4, (3,))
    assert train(prepare(config)).passed_over == (3,)  # complete, and still said
    lines = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "passed_over" in line] == [3]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 4]


def test_a_passed_over_step_moves_no_weight(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=3, **STILL)
    with pytest.raises(UserError, match="at step 3"):
        train(poisoned(prepare(config), 21))
    train(prepare(config))
    before = load_incident(config.run, 3)[1].model
    after = load_file(list_checkpoints(config.run / "checkpoints")[-1] / "model.safetensors")
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_an_incident_in_the_first_step_of_a_run_is_passed_over_too(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=2, **STILL)
    with pytest.raises(UserError, match="at step 1"):
        train(poisoned(prepare(config), 0))
    assert train(poisoned(prepare(config), 0)).passed_over == (1,)


def test_more_incidents_than_the_limit_end_the_run(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", optimize__steps=4, incident_limit=1, **STILL)
    with pytest.raises(UserError, match=r"goes on past it \(incident 1 of at most 1; if more"):
        train(poisoned(prepare(config), 0, 8))
    with pytest.raises(UserError, match=r"at step 2; .*more than incident_limit=1: start again with a lower"):
        train(poisoned(prepare(config), 0, 8))
    with pytest.raises(
        UserError, match=r"has left the numbers at steps 1, 2; that is more than incident_limit=1"
    ):
        train(prepare(config))


def test_an_incident_is_made_again_bit_for_bit(configure, negatives, tmp_path):
    # weights of 1e25 after the first step: what the networks make of them overflows in the second
    config = configure(
        "adapter",
        tmp_path / "run",
        optimize__steps=4,
        optimize__lr=1e25,
        optimize__micro_batch=4,
        data__captions="plain",
        data__negatives=negatives,
        data__negative_share=0.3,
        validation__crops=0,
    )
    with pytest.raises(UserError, match="at step 2"):
        train(prepare(config))
    done = subprocess.run(
        [*CLI, "replay", str(config.run), "--json"], capture_output=True, text=True, timeout=HANGS_AFTER_S
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["step"], figures["repeated"], figures["same_images"]) == (2, True, True)
    assert figures["loss"] in ("nan", "inf") or figures["grad_norm"] in ("nan", "inf")
    assert list(list_incidents(config.run)) == [2]


def test_a_finite_replay_says_that_it_differs(configure, tmp_path):
    from supir_train.replay import replay

    config = configure("adapter", tmp_path / "run", optimize__steps=4, **STILL)
    with pytest.raises(UserError, match="at step 2"):
        train(poisoned(prepare(config), 9))
    figures = replay(config.run, 2)
    assert (figures["loss_then"], figures["repeated"], figures["same_images"]) == ("nan", False, True)
    assert float(figures["loss"]) > 0
    with pytest.raises(UserError, match="has no incident of step 7: it has only those of steps 2"):
        replay(config.run, 7)


def test_a_run_without_incidents_says_so(tmp_path):
    with pytest.raises(UserError, match="has no incident: each of its steps so far was a number"):
        load_incident(tmp_path, 3)


def descendants(pid: int) -> set[int]:
    """Processes that this one started, and theirs."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    own = {int(text) for text in children.read_text().split()} if children.exists() else set()
    return own.union(*map(descendants, own))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc, and the kernel's parent-death signal")
def test_a_killed_trainer_leaves_no_process_after_five_seconds(configure, tmp_path):
    config = configure("adapter", tmp_path / "run", data__workers=2, optimize__steps=100_000, **STILL)
    path = tmp_path / "config.yaml"
    path.write_text(config_yaml(config))
    trainer = subprocess.Popen([*CLI, str(path)], stderr=subprocess.DEVNULL)
    metrics, deadline = config.run / "metrics.jsonl", time.monotonic() + HANGS_AFTER_S
    while not (metrics.exists() and metrics.read_text().count("\n") > 1) and time.monotonic() < deadline:
        time.sleep(0.05)
    started = descendants(trainer.pid)
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()
    time.sleep(5)
    assert len(started) >= 3  # the fork server and its two loaders
    assert [pid for pid in started if is_alive(pid)] == []
