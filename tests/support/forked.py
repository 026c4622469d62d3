"""A process that has imported the trainer once, and forks a process for each program that the tests have it run.

The imports cost a process more than its few steps of training do. What is about the command itself, its start, or what
it has imported starts it as a user does.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from limits import HANGS_AFTER_S

from supir_model.lean_imports import import_network_alone


def run_forked(
    program: str, arguments: Sequence[str], environments: Sequence[Mapping[str, str]]
) -> list[subprocess.CompletedProcess[str]]:
    """Returns how each of the processes ended that ran the program together, one for each environment.

    Args:
        program: Python, run as `python -c` does.
        arguments: `sys.argv` after the program's name.
        environments: what the process adds to the variables of this one.
    """
    server = _server()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [
            [str(Path(folder, f"{number}.{name}")) for name in ("out", "err")]
            for number in range(len(environments))
        ]
        request = {
            "program": program,
            "arguments": list(arguments),
            "environments": [{**os.environ, **one} for one in environments],
            "outputs": outputs,
        }
        codes = _asked(server, request)
        texts = [[Path(path).read_text() for path in pair] for pair in outputs]
    return [
        subprocess.CompletedProcess(["-c", program, *arguments], code, *pair)
        for code, pair in zip(codes, texts, strict=True)
    ]


def _asked(server: subprocess.Popen[str], request: Mapping[str, Any]) -> list[int]:
    assert server.stdin
    assert server.stdout
    hung = threading.Timer(HANGS_AFTER_S, _kill, (server,))
    hung.start()
    try:
        server.stdin.write(f"{json.dumps(request)}\n")
        server.stdin.flush()
        codes: list[int] = json.loads(server.stdout.readline())
    except BaseException:
        _kill(server)
        raise
    finally:
        hung.cancel()
    return codes


def _kill(server: subprocess.Popen[str]) -> None:
    """Ends it and all that it forked; the next program gets a new one."""
    _server.cache_clear()
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks, and in whose process group the forked ones are."""
    server = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", __file__],  # a process that crashes says where
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    atexit.register(_kill, server)
    return server


def _serve() -> tuple[str, list[str]]:
    """Forks for each line of stdin; returns, in a forked process, its program and arguments.

    It ends with stdin, which is closed when the tests end, however they do.
    """
    for line in sys.stdin:
        request = json.loads(line)
        # One would be missing in the forked processes, with the locks it holds; what pyarrow's allocator has beside
        # Python, it begins anew in them.
        assert threading.active_count() == 1
        children = []
        for environment, outputs in zip(request["environments"], request["outputs"], strict=True):
            if not (child := os.fork()):
                _become(environment, outputs)
                return request["program"], request["arguments"]
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(f"{json.dumps(codes)}\n")
        sys.stdout.flush()
    sys.exit()


def _become(environment: Mapping[str, str], outputs: Sequence[str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    for descriptor, path in enumerate(outputs, 1):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), descriptor)


if __name__ == "__main__":
    import_network_alone()  # as supir-train does
    for name in ("supir_train.cli", "supir_train.run"):
        importlib.import_module(name)
    PROGRAM, sys.argv[1:] = _serve()
    sys.argv[0] = "-c"
    exec(compile(PROGRAM, "<program>", "exec"), {"__name__": "__main__"})
