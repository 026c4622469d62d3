"""The one limit of every process, server or thread that a test waits for.

It only ends what hangs, so it holds on a machine many times slower or busier than the slowest that a test was seen on
(a caption by vLLM on two busy cores took 400 s); no test may pass or fail by how fast a machine is.
"""

from __future__ import annotations

HANGS_AFTER_S = 3600.0
