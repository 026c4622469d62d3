"""The launcher ends with its processes: whichever is lost, none lives on, and the exit code and one line say why.

A package of the trainer's name stands in for it here, so that a process can be ended at a moment that is known.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from limits import HANGS_AFTER_S
from terminal import take_signals

from supir_train import launch

ENDS_WITHIN_S = 5.0  # what the launcher promises
LAUNCHER = "import sys; from supir_train.launch import launch; sys.exit(launch(sys.argv[1:], 2))"
STAND_IN = """
import os, pathlib, sys, time
rank, (place, *told) = os.environ["RANK"], sys.argv[1:]
pathlib.Path(place, rank).write_text(str(os.getpid()))
if rank in told:
    sys.stderr.write("what it said"), sys.exit(int(told[1]))
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Starts a launcher of two stand-ins; returns it, and their process ids."""
    package = tmp_path / "stand_in" / "supir_train"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN)
    (package / "launch.py").write_bytes(Path(launch.__file__).read_bytes())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), *sys.path]))

    def started(*told: str) -> tuple[subprocess.Popen[str], list[int]]:
        command = [sys.executable, "-c", LAUNCHER, str(tmp_path), *told]
        launcher = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=package.parent, preexec_fn=take_signals
        )
        files, deadline = [tmp_path / rank for rank in "01"], time.monotonic() + HANGS_AFTER_S
        while not all(file.exists() and file.read_text() for file in files):
            assert time.monotonic() < deadline, "they did not start"
            time.sleep(0.02)
        return launcher, [int(file.read_text()) for file in files]

    return started


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_in_five_seconds(rank, start):
    launcher, processes = start()
    os.kill(processes[rank], signal.SIGKILL)
    _, said = launcher.communicate(timeout=ENDS_WITHIN_S)
    told = (
        f"error: process {rank} of the run was ended by signal 9 (SIGKILL); the same command goes on from the"
    )
    assert (launcher.returncode, said.startswith(told), said.count("\n")) == (1, True, 1), said
    assert not any(map(is_alive, processes))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_before_the_first_step_is_the_exit_code(number, code, start):
    launcher, processes = start()
    launcher.send_signal(number)
    launcher.communicate(timeout=HANGS_AFTER_S)
    assert launcher.returncode == code
    assert not any(map(is_alive, processes))


def test_what_another_process_said_of_its_failure_is_shown(start, monkeypatch):
    launcher, processes = start("1", "2")
    os.kill(processes[0], signal.SIGTERM)
    _, said = launcher.communicate(timeout=HANGS_AFTER_S)
    assert (launcher.returncode, said) == (2, "what it said\n")
