"""Loader processes: bytes cross, little memory is theirs, and one that is killed changes no batch and no weight."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from collecting import collect
from limits import HANGS_AFTER_S
from safetensors.torch import load_file

from supir_console import Unfinished, config_yaml
from supir_train.data import training_batches
from supir_train.loader_channel import COUNT, receive, send
from supir_train.loaders import FORGIVEN_DEATHS, Loaders
from supir_train.order import Position
from supir_train.run import prepare, train

CLI = [sys.executable, "-c", "from supir_train.cli import main; main()"]
LARGEST_PRIVATE_BYTES = 200_000_000
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


def batches(config):
    return training_batches(config, images=4, degraded=True, start=Position())


def loader_pids() -> list[int]:
    return [process.pid for process in multiprocessing.active_children()]


def test_arrays_cross_as_they_are_and_may_be_written():
    ours, theirs = socket.socketpair()
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    sender = threading.Thread(target=send, args=(theirs, {"hq": pixels, "words": "a photo"}))
    sender.start()
    received = receive(ours)
    sender.join()
    assert received["words"] == "a photo"
    assert np.array_equal(received["hq"], pixels)
    received["hq"][0] = 0
    ours.close()
    theirs.close()


def test_a_message_that_was_cut_short_is_the_end_of_its_channel():
    ours, theirs = socket.socketpair()
    theirs.sendall(COUNT.pack(1) + COUNT.pack(1000) + b"half of it")
    theirs.close()
    with pytest.raises(EOFError):
        receive(ours)
    ours.close()


def test_batches_hold_bytes_and_the_device_scales_them(configure, tmp_path):
    batch = next(batches(configure("adapter", tmp_path)))
    assert (batch.hq.dtype, batch.lq.dtype) == (torch.uint8, torch.uint8)
    moved = batch.to(torch.device("cpu"))
    expected = torch.from_numpy(batch.hq.numpy().astype(np.float32) / np.float32(127.5) - np.float32(1))
    assert torch.equal(moved.hq, expected)
    assert moved.lq.stride() == batch.lq.stride()


def test_a_killed_loader_is_replaced_and_changes_no_batch(configure, tmp_path, caplog):
    expected = itertools.islice(batches(configure("adapter", tmp_path)), 30)
    running = batches(configure("adapter", tmp_path, data__workers=2))
    first = next(running)
    with caplog.at_level(logging.WARNING):
        os.kill(loader_pids()[0], signal.SIGKILL)
        made = [first, *itertools.islice(running, 29)]
    running.close()
    assert sum(batch.replaced_loaders for batch in made) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "a loader died by signal 9 (SIGKILL); another one makes its crops again, which changes no weight"
    ]
    for one, other in zip(made, expected, strict=True):
        assert (one.keys, one.position, one.prompts) == (other.keys, other.position, other.prompts)
        assert torch.equal(one.hq, other.hq)
        assert torch.equal(one.lq, other.lq)
    assert loader_pids() == []


def test_loaders_that_die_again_and_again_end_the_run(configure, tmp_path):
    running = batches(configure("adapter", tmp_path, data__workers=1))
    next(running)
    told = rf"^{FORGIVEN_DEATHS + 1} loader processes died within \d+ batches, the last by signal 9 \(SIGKILL\) while"

    def kill_and_go_on() -> None:
        for pid in loader_pids():
            os.kill(pid, signal.SIGKILL)
        next(running)

    with pytest.raises(Unfinished, match=told):
        list(itertools.starmap(kill_and_go_on, [()] * 100))
    assert loader_pids() == []


@needs_proc
def test_a_full_collection_in_a_loader_leaves_what_it_shares_shared():
    loaders = Loaders(collect, 1)
    with contextlib.closing(loaders.made_in_order(iter([[None]]))) as made:
        ((_, [(before, after)]),) = made
    assert after - before < 5_000_000


# A loader is forked off a server that lives as long as its process: what an earlier test made it import would be there.
# What stands outside of the condition, a loader would import too.
ASK_MEMORY = """
if __name__ == "__main__":
    import sys
    from pathlib import Path
    from supir_console import load_config
    from supir_train import TrainConfig
    from collecting import private_bytes
    from test_train_loaders import batches, loader_pids
    running = batches(load_config(TrainConfig, Path(sys.argv[1])))
    (pid,), most = (next(running), loader_pids())[1], 0
    for _ in range(4):
        next(running)
        most = max(most, private_bytes(pid))
    print(most, "libtorch" in Path(f"/proc/{pid}/maps").read_text())
    running.close()
"""


def loader_memory(config, folder) -> tuple[int, bool]:
    """The most private bytes of the one loader of a config after each of four batches, and whether it has torch."""
    (folder / "config.yaml").write_text(config_yaml(config))
    (folder / "ask.py").write_text(ASK_MEMORY)
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, str(folder / "ask.py"), str(folder / "config.yaml")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])},
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
    )
    assert done.returncode == 0, done.stderr
    most, has_torch = done.stdout.split()
    return int(most), has_torch == "True"


@needs_proc
def test_a_loader_at_work_on_large_pictures_has_little_memory_of_its_own(configure, large_dataset, tmp_path):
    config = configure(
        "adapter",
        tmp_path / "run",
        data__dataset=large_dataset,
        data__crop_px=512,
        data__cache_bytes=0,
        data__workers=1,
        validation__crops=0,
    )
    most, has_torch = loader_memory(config, tmp_path)
    assert most < LARGEST_PRIVATE_BYTES
    assert not has_torch


@needs_proc
def test_a_loader_whose_recipe_goes_through_a_network_has_little_memory_too(configure, tmp_path):
    (tmp_path / "vae.yaml").write_text("{name: vae, steps: [{do: vae, weights: mini}]}")
    config = configure(
        "adapter", tmp_path / "run", data__recipe=tmp_path / "vae.yaml", data__crop_px=128, data__workers=1
    )
    most, has_torch = loader_memory(config, tmp_path)
    assert most < LARGEST_PRIVATE_BYTES
    assert has_torch


@needs_proc
def test_a_run_whose_loader_is_killed_has_the_weights_of_one_that_was_not(configure, tmp_path):
    keys = {"optimize__steps": 40, "optimize__batch": 4, "data__workers": 2, "validation__crops": 0}
    train(prepare(configure("adapter", tmp_path / "sound", **keys, data__cache_bytes=0)))
    config = configure("adapter", tmp_path / "run", **keys, data__cache_bytes=0)
    (tmp_path / "config.yaml").write_text(config_yaml(config))
    trainer = subprocess.Popen(
        [*CLI, str(tmp_path / "config.yaml")], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for_a_step(config)
    os.kill(loaders_of(trainer.pid)[0], signal.SIGKILL)
    _, said = trainer.communicate(timeout=HANGS_AFTER_S)
    assert (trainer.returncode, said.count("a loader died by signal 9 (SIGKILL)")) == (0, 1)
    lines = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    assert [line["replaced_loaders"] for line in lines if "replaced_loaders" in line] == [1]
    sound, disturbed = (
        load_file(tmp_path / run / "checkpoints/step-00000040/model.safetensors") for run in ("sound", "run")
    )
    assert [name for name in sound if not torch.equal(sound[name], disturbed[name])] == []


@needs_proc
def test_of_several_processes_the_one_whose_loaders_die_again_and_again_says_why_the_run_ends(
    configure, tmp_path
):
    config = configure(
        "encoder", tmp_path / "run", optimize__steps=100_000, data__workers=1, validation__crops=0
    )
    (tmp_path / "config.yaml").write_text(config_yaml(config))
    launcher = subprocess.Popen(
        [*CLI, str(tmp_path / "config.yaml"), "--processes", "2"], stderr=subprocess.PIPE, text=True
    )
    wait_for_a_step(config)
    second = next(pid for pid in children(launcher.pid) if b"\0RANK=1\0" in environment(pid))
    deadline = time.monotonic() + HANGS_AFTER_S
    while launcher.poll() is None and time.monotonic() < deadline:
        for loader in loaders_of(second):
            with contextlib.suppress(ProcessLookupError):
                os.kill(loader, signal.SIGKILL)
        time.sleep(0.1)
    _, said = launcher.communicate(timeout=HANGS_AFTER_S)
    assert launcher.returncode == 1
    assert said.count(f"error: {FORGIVEN_DEATHS + 1} loader processes died within") == 1


def wait_for_a_step(config) -> None:
    metrics, deadline = config.run / "metrics.jsonl", time.monotonic() + HANGS_AFTER_S
    while not (metrics.exists() and metrics.read_text().count("\n") > 1):
        assert time.monotonic() < deadline, "no step was made"
        time.sleep(0.02)


def environment(pid: int) -> bytes:
    return b"\0" + Path(f"/proc/{pid}/environ").read_bytes()


def loaders_of(trainer: int) -> list[int]:
    """The processes that its fork server started."""
    return [loader for child in children(trainer) for loader in children(child)]


def children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
