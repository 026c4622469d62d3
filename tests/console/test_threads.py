"""No command's OpenMP threads spin while they wait, as the runtime itself reports inside the running command; a
worker's libraries have the threads that it is given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from limits import HANGS_AFTER_S

from supir_console.threads import ASLEEP, NUMBERS

ROOT = Path(__file__).parents[2]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
LIMIT = """
import sys
before, after = {"cv2"}, {"torch"}
if sys.argv[1] == "torch first":
    before, after = after, before
for name in before:
    __import__(name)
from supir_console import limit_threads
limit_threads(1)
assert not after & set(sys.modules), "it loaded what the process may not need"
import cv2, torch
print(cv2.getNumThreads(), torch.get_num_threads())
"""
LOAD_OPENMP = """
import ctypes, re
from {module} import {function}
try:
    {function}()
except SystemExit as ended:
    assert not ended.code
with open("/proc/self/maps") as maps:
    assert not re.search(r"lib[gi]?omp", maps.read()), "loaded before a command could say how its threads wait"
ctypes.CDLL({openmp!r})
"""


@pytest.fixture(scope="module")
def openmp() -> str:
    """The OpenMP library that torch brings along; it tells its settings when it is loaded."""
    folders = find_spec("torch").submodule_search_locations
    found = [path for folder in folders for path in Path(folder).glob("lib/libgomp*.so*")]
    if not found:
        pytest.skip("this torch has no libgomp")
    return str(found[0])


def clean_environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ASLEEP}
    return {**kept, "OMP_DISPLAY_ENV": "verbose", **changes}


def spin_counts(said: str) -> set[str]:
    """Turns that waiting threads spin before they sleep, as libgomp has them, of each process that loaded it."""
    return set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", said))


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_how_threads_wait_before_openmp_is_loaded(command, openmp):
    module, _, function = COMMANDS[command].partition(":")
    code = LOAD_OPENMP.format(module=module, function=function, openmp=openmp)
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
    )
    assert (done.returncode, spin_counts(done.stderr)) == (0, {"0"}), done.stderr


def test_what_the_user_has_set_stays(monkeypatch):
    from supir_console.threads import let_threads_sleep

    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("KMP_BLOCKTIME", "1")
    let_threads_sleep()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["KMP_BLOCKTIME"]) == ("PASSIVE", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("KMP_BLOCKTIME")
    let_threads_sleep()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ.get("KMP_BLOCKTIME")) == ("ACTIVE", None)


@pytest.mark.parametrize("order", ["cv2 first", "torch first"])
def test_libraries_are_limited_whether_they_are_loaded_before_or_after(order):
    given = dict.fromkeys(NUMBERS, "5")
    done = subprocess.run(
        [sys.executable, "-c", LIMIT, order],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["1", "1"]), done.stderr
