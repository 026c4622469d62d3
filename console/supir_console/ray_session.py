"""The one way a command reaches Ray: a cluster that exists, or one started here and ended with the block.

Place in the flow: around the part of a command that spreads its work; the tasks and actors are the stage's own.
The law it keeps: what Ray prints never lands on stdout, which belongs to `--json`; no Ray process stays behind.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any
from urllib.parse import urlsplit

from supir_console.entry import Unfinished, UserError
from supir_console.signals import handler_given_back

OBJECT_STORE_BYTES = 256 * 2**20  # names and counts pass through it, never pictures
START_ATTEMPTS = 4
SLOW_START = "timed out during startup"  # in the message of Ray's error
HERE, THIS_NODE = (
    "local",
    "auto",
)  # Ray's words for a cluster of its own, and for the one that runs on this machine
ANSWER_S = 10.0


@contextmanager
def ray_session(num_cpus: int | None = None) -> Iterator[None]:
    """Holds a connection to Ray: the caller's own, the cluster of RAY_ADDRESS, or one started here.

    Args:
        num_cpus: cores of a cluster that is started here; None takes the machine's.

    Raises:
        UserError: no cluster answers at RAY_ADDRESS.
        Unfinished: Ray did not start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A worker's error reaches the driver, which tells it in one line; Ray would print the other workers' too.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # A thread that still waits when the session ends would start a cluster of its own.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    import ray

    if ray.is_initialized():
        with redirect_stdout(sys.stderr):
            yield
        return
    address = os.environ.get("RAY_ADDRESS") or HERE
    size = {"num_cpus": num_cpus, "object_store_memory": OBJECT_STORE_BYTES} if address == HERE else {}
    with redirect_stdout(sys.stderr):
        try:
            _require_answer(address)
            _connect(address, size)
        except ConnectionError as error:
            raise UserError(
                f"RAY_ADDRESS={address}: no Ray cluster answers ({error}); give HOST:PORT as `ray start --head` tells"
                " it, or auto on one of its nodes; without RAY_ADDRESS this machine is used"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _require_answer(address: str) -> None:
    """Raises ConnectionError where nobody listens at HOST:PORT; Ray itself would go on trying for minutes."""
    if address in (HERE, THIS_NODE):
        return
    try:
        place = urlsplit(f"//{address}")
        socket.create_connection((place.hostname, place.port or 0), ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(error) from error


def _connect(address: str, size: dict[str, Any]) -> None:
    """Connects, or starts Ray here; what a busy machine did not start in Ray's own 30 s is started again.

    Raises:
        Unfinished: it did not start in any of the attempts.
    """
    import ray

    for _ in range(START_ATTEMPTS):
        try:
            with handler_given_back():  # Ray's would print a stack and abort
                ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="error", **size)
            return
        except Exception as error:
            if SLOW_START not in str(error):  # Ray has no class for it
                raise
            ray.shutdown()
    raise Unfinished(
        f"Ray did not start in {START_ATTEMPTS} attempts of 30 s: this machine has too much else to do;"
        " the same command again goes on from what is done"
    )
