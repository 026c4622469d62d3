"""How many threads numerical libraries have, and how these wait for work: asleep, and not by spinning.

Ray gives a worker as many OpenMP threads as cores, unless OMP_NUM_THREADS is set, and says nothing to OpenCV, which
takes the whole machine in each worker; `limit_threads` holds them all to the cores that a worker has reserved.

OpenMP's threads spin between two parallel regions for as long as a core could have done something else; where other
work wants the cores, that lost a factor of five. The libraries read these variables once, when they are loaded, so
`entry` sets them before a command imports anything heavy; processes that it starts inherit them.
"""

from __future__ import annotations

import os
import sys

POLICY = "OMP_WAIT_POLICY"
ASLEEP = {POLICY: "PASSIVE", "KMP_BLOCKTIME": "0"}
"""For every OpenMP, and for Intel's and LLVM's, which otherwise spin for 200 ms first."""


def let_threads_sleep() -> None:
    """Sets `ASLEEP` for this process and those that it starts; what the user has set stays; his policy holds alone."""
    if POLICY not in os.environ:
        for name, value in ASLEEP.items():
            os.environ.setdefault(name, value)


NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
"""What OpenMP, the two BLAS that wheels bring along and OpenCV read once, when they are loaded."""


def limit_threads(num_threads: int) -> None:
    """Holds OpenCV, torch and BLAS of this process, and of those that it starts, to so many threads each.

    Loads none of them. For a worker among others, so what the user has set for the machine does not hold in it: he
    says how many cores a worker gets. A BLAS that is loaded already keeps its threads.

    Args:
        num_threads: at least 1.
    """
    for name in NUMBERS:
        os.environ[name] = str(num_threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(num_threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(num_threads)
