"""`supir-web` in a process of its own, and a headless Chromium to look at it with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from limits import HANGS_AFTER_S

PROGRAM = """import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with a test run that was killed
sys.argv[0] = "supir-web"
from supir_infer.web_cli import main
main()"""
WAITS_S = 300.0
"""Longest wait for one thing that a page, its browser or its process is to do."""
SWITCHES = (
    "--no-sandbox",  # it needs rights that a container's root has not
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class ServedPage:
    """A running page: its address, its process, and the folder that its temporary files are below."""

    url: str
    process: subprocess.Popen
    temporary: Path
    log: Path

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=WAITS_S)

    def visitors_files(self) -> list[Path]:
        """What visitors brought and got."""
        return [path for path in self.temporary.glob("supir-web-*/**/*") if path.is_file()]


@contextmanager
def served_page(folder: Path, *options: str) -> Iterator[ServedPage]:
    """The page of the tiny model on a free port, its temporary files below `folder`."""
    log, temporary = folder / "log", folder / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, "--model", "tiny", "--port", "0", *options]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        yield ServedPage(_address(process, log), process, temporary, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=WAITS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _address(process: subprocess.Popen, log: Path) -> str:
    """The page's address once it answers; a start that computes nothing for `WAITS_S` hangs.

    Its imports take 25 s of a slow core, which other processes may stretch to minutes.
    """
    seen, since = -1.0, time.monotonic()
    while time.monotonic() - since < WAITS_S:
        assert process.poll() is None, log.read_text()
        lines = [line for line in log.read_text().splitlines() if line.startswith("supir-web: http")]
        if lines and _answers(url := lines[0].split()[1]):
            return url
        used = sum(psutil.Process(process.pid).cpu_times()[:2])
        if used > seen:
            seen, since = used, time.monotonic()
        time.sleep(0.2)
    raise AssertionError(f"no page, and nothing computed for {WAITS_S:.0f} s: {log.read_text()}")


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=WAITS_S).close()
    except OSError:
        return False
    return True


@contextmanager
def no_longer() -> Iterator[None]:
    """Kills what this process started after `HANGS_AFTER_S`: a browser that hangs fails its call, not the run."""

    def end() -> None:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()

    timer = threading.Timer(HANGS_AFTER_S, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def headless_chromium() -> Iterator[Any]:
    """A playwright browser; without Chromium, or without playwright, the test is skipped."""
    api = pytest.importorskip("playwright.sync_api")
    program = _chromium()
    with api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=SWITCHES, timeout=WAITS_S * 1000)


def _chromium() -> str:
    for name in CHROMIUM:
        if path := shutil.which(name):
            return path
    pytest.skip("needs Chromium (Debian: apt-get install chromium)")
