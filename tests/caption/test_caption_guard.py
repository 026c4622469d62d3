"""The servers of the caption tests end with the test run, even where that is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import guarded
import pytest
from limits import HANGS_AFTER_S

# A server with a process of its own, as vLLM's is; each writes its number once it runs.
SERVER = """
import os, subprocess, sys, time
if len(sys.argv) > 2:  # argv: folder of the numbers, and this program
    subprocess.Popen([sys.executable, sys.argv[2], sys.argv[1]])
with open(f"{sys.argv[1]}/{os.getpid()}", "w"):
    time.sleep(600)
"""
RUN = """
import sys, time
from guarded import guarded
with guarded([sys.executable, *sys.argv[1:]]):
    time.sleep(600)
"""


def numbers(folder: Path) -> list[int]:
    deadline = time.monotonic() + HANGS_AFTER_S
    while len(found := list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(path.name) for path in found]


def is_running(number: int) -> bool:
    status = Path(f"/proc/{number}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc says who runs")
def test_a_server_ends_with_all_its_processes_when_the_test_run_is_killed(tmp_path: Path):
    pids, program = tmp_path / "pids", tmp_path / "server.py"
    pids.mkdir()
    program.write_text(SERVER)
    support = str(Path(guarded.__file__).parent)
    test_run = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {support!r}){RUN}",
            str(program),
            str(pids),
            str(program),
        ]
    )
    servers = numbers(pids)
    assert all(map(is_running, servers))
    test_run.kill()
    test_run.wait()
    deadline = time.monotonic() + HANGS_AFTER_S
    while any(map(is_running, servers)):
        assert time.monotonic() < deadline, f"{servers} outlive the test run"
        time.sleep(0.05)
