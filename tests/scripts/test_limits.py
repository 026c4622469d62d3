"""No test has a time limit of its own: `limits.HANGS_AFTER_S` is the one."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIMIT = re.compile(
    r"\btimeout=\s*\d|monotonic\(\) \+ \d|perf_counter\(\) \+ \d|time\(\) \+ \d|\.(?:wait|join)\(\d"
)


def test_no_test_waits_by_a_number_of_its_own():
    found = [
        f"{path.relative_to(TESTS)}:{number}: {line.strip()}"
        for path in sorted(TESTS.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LIMIT.search(line)
    ]
    assert found == []
