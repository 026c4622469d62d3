"""A server that ends with the test run, however that ends: killed, too, and with all the processes that it started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# The pipe to the guard closes when the test run ends, by kill -9 as well; no signal is needed that could not be sent.
GUARD = """
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
def end():
    sys.stdin.buffer.read()
    os.killpg(server.pid, signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
code = server.wait()
os._exit(code if code >= 0 else 1)
"""


@contextmanager
def guarded(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The guard of a running command; it ends when the command does, and its standard error is the command's."""
    guard = subprocess.Popen(
        [sys.executable, "-c", GUARD, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield guard
    finally:
        guard.stdin.close()
        guard.stdin = None
        guard.communicate()
