"""How the threads of numerical libraries wait for work: asleep, and not by spinning.

OpenMP's threads spin between two parallel regions for as long as a core could have done something else; where other
work wants the cores, that lost a factor of five. The libraries read these variables once, when they are loaded, so
`entry` sets them before a command imports anything heavy; processes that it starts inherit them.
"""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"
ASLEEP = {POLICY: "PASSIVE", "KMP_BLOCKTIME": "0"}
"""For every OpenMP, and for Intel's and LLVM's, which otherwise spin for 200 ms first."""


def let_threads_sleep() -> None:
    """Sets `ASLEEP` for this process and those that it starts; what the user has set stays; his policy holds alone."""
    if POLICY not in os.environ:
        for name, value in ASLEEP.items():
            os.environ.setdefault(name, value)
