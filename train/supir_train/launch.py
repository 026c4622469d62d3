"""`supir-train --processes N`: starts the processes of a run on this machine and ends with them.

Place in the flow: `cli` calls it before anything heavy is loaded; a run over several machines is started by torchrun.
The law it keeps: the first process that fails ends the run, and a process whose parent died does not live on, loaders
included.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO

from supir_console import handling_stop_signals

PATIENCE_S = 60.0
"""How long the others may take to end by themselves when one has failed and says why."""
PATIENCE_WITH_KILLED_S = 2.0
"""How long where a signal ended it: whatever the others do, they cannot go on, and none has more to say."""
POLL_S = 0.1
UNFINISHED = 1
"""Exit code of a process that broke off for no fault of its own."""
LOST = "another process of this run has ended"
"""Said by a process that lost another one: what that one said is then the reason."""


def launch(arguments: Sequence[str], processes: int) -> int:
    """Returns the exit code of `python -m supir_train ARGUMENTS`, run by so many processes.

    Rank 0 speaks on this process's stdout and stderr; what another one said is shown if it is why the run failed.
    Signals to end and Ctrl-C are passed on to all. A signal that ends one of them ends the run.
    """
    port = _free_port()
    with ExitStack() as open_files:
        said = [open_files.enter_context(tempfile.TemporaryFile()) for _ in range(processes)]
        started = [_start(arguments, rank, processes, port, said) for rank in range(processes)]
        received: list[int] = []

        def pass_on(number: int, _frame: object) -> None:
            received.append(number)
            for process in started:
                process.send_signal(number)

        with handling_stop_signals(pass_on):
            given_up = _wait(started)
        codes = [
            UNFINISHED if rank in given_up else process.returncode for rank, process in enumerate(started)
        ]
        if received and min(codes) < 0:  # before it could listen to them, so nothing was under way
            return 128 + received[0]
        return _told(codes, [LOST if rank in given_up else _text(file) for rank, file in enumerate(said)])


def die_with_parent() -> None:
    """Lets the kernel kill this process when the one that started it ends; nothing happens where it cannot."""
    if sys.platform == "linux":
        import ctypes

        parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


def end_with_trainer() -> None:
    """Lets this loader process end when the training process does, however that ends.

    Its parent in the system's eyes is the fork server, which itself lives as long as a loader holds its pipe: without
    this, a killed training process would leave them waiting for each other for ever.
    """
    trainer = multiprocessing.parent_process()
    assert trainer, "not a loader process"

    def wait() -> None:
        trainer.join()
        os._exit(UNFINISHED)

    threading.Thread(target=wait, daemon=True).start()


def _start(
    arguments: Sequence[str], rank: int, processes: int, port: int, said: Sequence[IO[bytes]]
) -> subprocess.Popen[bytes]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    shares = {"OMP_NUM_THREADS": str(max(1, cores // processes))}
    return subprocess.Popen(  # noqa: S603 - our own command with the user's own arguments
        [sys.executable, "-m", "supir_train", *arguments],
        env=shares | os.environ | {name: str(value) for name, value in place.items()},
        stdout=None if rank == 0 else subprocess.DEVNULL,
        stderr=None if rank == 0 else said[rank],
        preexec_fn=die_with_parent,  # safe, as this process has one thread
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> set[int]:
    """Waits for all, from the first failure on for no longer than is said above; then the rest is killed.

    Returns the ranks that were.
    """
    deadline, given_up = float("inf"), set[int]()
    while None in (codes := [process.poll() for process in started]):
        if any(codes) and not given_up:
            patience = PATIENCE_WITH_KILLED_S if min(filter(None, codes)) < 0 else PATIENCE_S
            deadline = min(deadline, time.monotonic() + patience)
        if time.monotonic() > deadline:
            given_up |= {rank for rank, code in enumerate(codes) if code is None}
            for rank in given_up:
                started[rank].kill()
        time.sleep(POLL_S)
    return given_up


def _told(codes: Sequence[int], texts: Sequence[str]) -> int:
    """The exit code of the run; shows what another process than the first said, if that is why it failed."""
    if codes[0] > UNFINISHED:
        return codes[0]
    failed = [
        rank for rank, code in enumerate(codes) if code < 0 or (rank and code and LOST not in texts[rank])
    ]
    if not failed:
        return codes[0]
    rank = next((rank for rank in failed if texts[rank]), failed[0])
    is_told = texts[rank] and codes[rank] > 0
    sys.stderr.writelines(
        f"{line}\n" for line in (texts[rank], "" if is_told else _end(rank, codes[rank])) if line
    )
    return max(codes[rank], UNFINISHED)


def _end(rank: int, code: int) -> str:
    how = (
        f"was ended by signal {-code} ({signal.Signals(-code).name})"
        if code < 0
        else f"ended with code {code}"
    )
    return f"error: process {rank} of the run {how}; the same command goes on from the last checkpoint"


def _text(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read().decode(errors="replace").strip()
