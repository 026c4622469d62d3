"""What a process of the trainer has in memory beside what it uses."""

from __future__ import annotations

from forked import run_forked

ASK = """
import sys
from importlib.util import find_spec
print(*(name for name in ("diffusers", "peft", "bitsandbytes", "sklearn") if name in sys.modules))
print(find_spec("sklearn") is not None)
"""


def test_a_trainer_has_not_imported_what_diffusers_does_beside_the_network_and_still_could():
    (done,) = run_forked(ASK, [], [{}])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["diffusers", "True"]
