"""`supir-web` in a process of its own, and a headless Chromium to look at it with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from limits import HANGS_AFTER_S

PROGRAM = "import sys; sys.argv[0] = 'supir-web'; from supir_infer.web_cli import main; main()"
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
        self.process.wait(timeout=HANGS_AFTER_S)

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
        process.wait(timeout=HANGS_AFTER_S)


def _address(process: subprocess.Popen, log: Path) -> str:
    deadline = time.monotonic() + HANGS_AFTER_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        lines = [line for line in log.read_text().splitlines() if line.startswith("supir-web: http")]
        if lines:
            url = lines[0].split()[1]
            try:
                urllib.request.urlopen(url, timeout=HANGS_AFTER_S).close()
                return url
            except OSError:
                pass
        time.sleep(0.2)
    raise AssertionError(f"no page after {HANGS_AFTER_S} s: {log.read_text()}")


def chromium() -> str:
    """The browser's program; without one the test is skipped."""
    for name in CHROMIUM:
        if path := shutil.which(name):
            return path
    pytest.skip("needs Chromium (Debian: apt-get install chromium)")
