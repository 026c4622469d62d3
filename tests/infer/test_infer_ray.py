"""`supir-infer --ray` on real Ray: the lines and files of a run without it, a row for what no process outlives."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from limits import HANGS_AFTER_S
from PIL import Image

from supir_infer import spread
from supir_infer.cli import main
from supir_infer.plan import Job
from supir_infer.saving import read_metadata
from supir_infer.spread import turns_of

QUICK = ("--model", "tiny", "--steps", 1, "--min-size", 64, "--set", "start_sigma=0.03", "--strength", 0.5)


def without_run(record: dict) -> dict:
    """What does not differ from run to run."""
    return {key: value for key, value in record.items() if key not in ("seconds", "output")}


def lines(folder: Path) -> list[dict]:
    """The lines in the pictures' order."""
    found = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    return sorted(map(without_run, found), key=lambda line: line["input"])


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen) -> None:
    """Waits until something is so, while a process lives."""
    deadline = time.monotonic() + HANGS_AFTER_S
    while not is_so():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "it never was"
        time.sleep(0.02)


@pytest.fixture
def many(tmp_path: Path, face: np.ndarray) -> Path:
    """Twenty photos, one of them captioned, of which every tenth is none."""
    source = tmp_path / "many"
    source.mkdir()
    for index in range(20):
        Image.fromarray(np.roll(face, 5 * index, axis=0)[:64, :64]).save(source / f"{index:02}.png")
    for index in (3, 13):
        (source / f"{index:02}.png").write_bytes(b"no picture")
    (source / "08.txt").write_text("an astronaut")
    return source


@pytest.mark.usefixtures("connected_ray")
def test_a_folder_on_ray_has_the_lines_and_files_of_one_process_and_goes_on_where_it_stopped(
    command, many, tmp_path
):
    alone, spread_out = tmp_path / "alone", tmp_path / "spread"
    assert command(main, many, "-o", alone, *QUICK).code == 1
    ended = command(main, many, "-o", spread_out, *QUICK, "--ray", "--workers", 2, "--json")
    assert ended.code == 1
    told = json.loads(ended.out)  # nothing of Ray's is on stdout
    assert (told["restored"], told["failed"]) == (18, 2)
    assert lines(spread_out) == lines(alone)
    assert [line["caption"] for line in lines(spread_out) if line.get("caption")] == ["an astronaut"]
    assert {path.name for path in spread_out.iterdir()} == {path.name for path in alone.iterdir()}
    for path in alone.glob("*.png"):
        twins = (path, spread_out / path.name)
        np.testing.assert_array_equal(*(np.asarray(Image.open(twin)) for twin in twins))
        carried = [without_run(read_metadata(twin)) for twin in twins]
        assert carried[0] == carried[1]
    (spread_out / "07.png").unlink()
    before = {path: path.stat().st_mtime_ns for path in spread_out.glob("*.png")}
    again = command(main, many, "-o", spread_out, *QUICK, "--ray", "--json")
    told = json.loads(again.out)
    assert (told["restored"], told["skipped"], told["failed"]) == (1, 17, 2)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.usefixtures("connected_ray")
def test_a_picture_that_no_process_outlives_is_a_row_and_its_turn_is_restored(
    command, many, tmp_path, monkeypatch
):
    class Fragile:  # local, so that Ray sends its code
        def __init__(self, *arguments: object) -> None:
            self.inner = spread_worker(*arguments)

        def restore(self, jobs: list[Job]) -> object:
            for ended in self.inner.restore(jobs):
                if ended.job.source.name == "05.png":
                    os.kill(os.getpid(), signal.SIGKILL)
                yield ended

    spread_worker = spread.TurnWorker
    monkeypatch.setattr(spread, "TurnWorker", Fragile)
    for index in range(8, 20):
        (many / f"{index:02}.png").unlink()
    ended = command(main, many, "-o", tmp_path / "out", *QUICK, "--ray", "--workers", 1, "--json")
    told = json.loads(ended.out)
    assert (told["restored"], told["failed"]) == (6, 2)
    reasons = {Path(line["input"]).name: line.get("reason", "") for line in lines(tmp_path / "out")}
    assert len(reasons) == 8
    assert [name for name, reason in reasons.items() if reason] == ["03.png", "05.png"]
    assert reasons["05.png"].startswith("no process outlived it: ActorDiedError")


@pytest.fixture
def seen_here_alone(many: Path) -> Iterator[Path]:
    """The photos under a name that only this process has for them."""
    descriptor = os.open(many, os.O_RDONLY)
    yield Path(f"/dev/fd/{os.dup2(descriptor, 900, inheritable=False)}")
    os.close(900)
    os.close(descriptor)


@pytest.mark.usefixtures("connected_ray")
def test_pictures_that_a_node_does_not_see_end_the_run_in_one_line(command, seen_here_alone, tmp_path):
    ended = command(main, seen_here_alone, "-o", tmp_path / "out", *QUICK, "--ray", "--workers", 1)
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == (
        f"error: --ray: the node {os.uname().nodename} does not see {seen_here_alone}/00.png "
        "(No such file or directory); pictures, model and results need the same paths on every node"
    )


@pytest.mark.usefixtures("connected_ray")
def test_a_model_that_no_node_has_the_memory_for_ends_the_run_in_one_line(
    command, many, tmp_path, monkeypatch
):
    monkeypatch.setattr(spread, "PROCESS_BYTES", 2**40)
    monkeypatch.setenv("SUPIR_NODE_WAIT_S", "1")
    ended = command(main, many, "-o", tmp_path / "out", *QUICK, "--ray")
    assert ended.code == 1
    asked = (
        r"no node of the Ray cluster has had (?=.*\b1 CPU\b.* for 1 s)(?=.*1024\.0 GiB of memory.* for 1 s)"
    )
    there = r"\(nodes alive: 2 CPU and 0 GPU and [\d.]+ GiB of memory\); what is done is kept"
    assert re.search(f"{asked}.*{there}", ended.err.splitlines()[-1])


def test_sigterm_ends_a_run_in_one_line_and_the_same_command_goes_on(command, many, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out = tmp_path / "out"
    words = [many, "-o", out, *QUICK, "--steps", 40]
    program = [sys.executable, "-c", "from supir_infer.cli import main; main()"]
    process = subprocess.Popen(
        [*program, *map(str, words), "--ray", "--workers", "1"], stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: (out / "results.jsonl").exists() and len(lines(out)) > 1, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=HANGS_AFTER_S)
    told = [line for line in said.splitlines() if not line.startswith("restore: ")]  # the progress
    assert told == ["stopped by SIGTERM; what is done is kept, and the same command goes on from there"]
    assert process.returncode == 143
    kept = {line["input"] for line in lines(out) if line["status"] == "ok"}
    assert 0 < len(kept) < 18
    assert len(list(out.glob("*.png"))) >= len(kept)
    ended = command(main, *words, "--json")
    assert ended.code == 1, ended.err
    told = json.loads(ended.out)
    assert (told["restored"] + told["skipped"], told["failed"]) == (18, 2)
    assert told["skipped"] >= len(kept)
    assert len({line["input"] for line in lines(out)}) == 20


def test_what_ray_cannot_do_is_said_before_any_work(command, many, tmp_path, monkeypatch):
    for options, words in (
        (["--ray", "--fit", "8GB"], "--fit 8GB measures this machine, and --ray restores on others"),
        (["--workers", 2], "--workers 2 needs --ray"),
    ):
        ended = command(main, many, "-o", tmp_path / "out", *QUICK, *options)
        assert ended.code == 2
        assert ended.err.startswith(f"error: {words}")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    ended = command(main, many, "-o", tmp_path / "out", *QUICK, "--ray")
    assert ended.code == 2
    assert ended.err == "error: --ray needs Ray, which is not installed: pip install 'supir-stack[ray]'\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("jobs", "workers", "batch", "lengths"),
    [
        (10_000, 8, 1, {16}),
        (100, 2, 1, {12, 4}),
        (5, 8, 1, {1}),
        (40, 2, 4, {4}),
        (3, 1, 8, {3}),
    ],
)
def test_turns_hold_whole_batches_and_every_job_once(jobs: int, workers: int, batch: int, lengths: set[int]):
    all_jobs = [Job(Path(str(number)), Path(), "", "") for number in range(jobs)]
    turns = turns_of(all_jobs, workers, batch)
    assert [job for turn in turns for job in turn] == all_jobs
    assert {len(turn) for turn in turns} == lengths
