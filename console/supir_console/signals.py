"""A signal to end is an interruption, as Ctrl-C is: what is open is closed, what is done is kept, the exit code tells.

Place in the flow: `entry` runs every command under it; `ray_session` gives its handlers back, which Ray replaces; a
command that ends its work before it leaves, as the trainer, takes them itself for so long.
The law it keeps: a signal that was ignored before, as `nohup` has it, stays so; a process that was forked from a
command dies of a signal as if this were not.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""From a scheduler or `kill`; from a terminal that was closed."""
STOPPING = (*ENDING, signal.SIGINT)
"""Those, and Ctrl-C."""
INTERRUPTED = 130
"""With which typer leaves after an interruption, as a shell does of one by Ctrl-C."""


@contextmanager
def interrupted_by_signals() -> Iterator[list[signal.Signals]]:
    """While it is entered, a signal to end raises KeyboardInterrupt in the main thread; yields those that came."""
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # handlers are the main thread's
        return
    process = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        _let_go_of_lost_terminal()
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    ours = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def handling_stop_signals(handle: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """While it is entered, signals to end and Ctrl-C go to `handle`, in the main thread, and interrupt nothing."""

    def heed(number: int, frame: FrameType | None) -> None:
        _let_go_of_lost_terminal()
        handle(number, frame)

    before = {number: signal.getsignal(number) for number in STOPPING}
    heeded = [number for number in STOPPING if before[number] is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, heed)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def ignore_stop_signals() -> None:
    """From here on only the parent hears what is sent to them both, such as by a terminal that closes."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def let_signals_end() -> None:
    """From here on a signal to end ends the process at once, also while it waits in C, as one of several does there."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def handler_given_back(number: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Gives a signal's handler back that a library replaces meanwhile, and the signal, where that ended Python by it.

    Args:
        number: of the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(number)
    try:
        yield
    except SystemExit as end:
        if end.code != number:
            raise
        signal.signal(number, before)
        signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def _let_go_of_lost_terminal() -> None:
    """Where stdout or stderr was a terminal that is gone, what is told goes nowhere, and fails no work that is left."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
