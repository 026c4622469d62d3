"""kill -9 at any moment, then the same command again: every byte is as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from limits import HANGS_AFTER_S

WRITER = Path(__file__).with_name("killed_writer.py")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, object]]]:
    """What killed_writer.py saw: deaths at every file operation, and at 25 moments of the clock."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, str(WRITER), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", ["by_operation", "by_clock"])
def test_a_killed_and_repeated_run_gives_the_bytes_of_an_undisturbed_one(
    outcome: dict[str, list[dict[str, object]]], way: str
) -> None:
    runs = outcome[way]
    assert len(runs) >= 25
    assert [run["different"] for run in runs] == [[]] * len(runs)


@pytest.mark.parametrize("way", ["by_operation", "by_clock"])
def test_what_a_killed_run_committed_is_whole(outcome: dict[str, list[dict[str, object]]], way: str) -> None:
    assert [run["broken"] for run in outcome[way]] == [[]] * len(outcome[way])


def test_the_kills_hit_the_writer_at_work(outcome: dict[str, list[dict[str, object]]]) -> None:
    by_operation = outcome["by_operation"]
    assert all(run["num_kills"] == 1 for run in by_operation)
    assert {run["committed"] for run in by_operation} == {0, 1, 2}
    assert sum(bool(run["leftovers"]) for run in by_operation) >= 5
    assert sum(run["num_kills"] for run in outcome["by_clock"]) >= 15
