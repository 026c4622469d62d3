"""Processes that take signals as from a terminal, wherever the tests run.

Under `nohup`, or behind `&` in a script, tests inherit SIGHUP or SIGINT as ignored, and so does all that they start.
"""

from __future__ import annotations

import signal


def take_signals() -> None:
    """Takes both signals as a terminal's processes do; the `preexec_fn` of a `subprocess.Popen`."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
