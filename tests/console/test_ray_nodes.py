"""Nodes of a real Ray cluster killed under the work: the work goes on elsewhere, or the run ends in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from node_loss import NODE_WAIT_S, outcome

from supir_console import NodeWait, UserError


def test_items_outlive_a_node_and_end_in_one_line_with_the_last_one(tmp_path: Path) -> None:
    found = outcome("actors", tmp_path)
    ended = sorted((int(item), results, error) for item, results, error in found["one"]["ended"])
    assert ended == [(number, [f"{number} begun", f"{number} done"], "") for number in range(10)]
    begun = (tmp_path / "one" / "notes").read_text().split()
    assert 10 < len(begun) <= 12  # what the node was at was begun again
    assert found["all"]["words"] == (
        "no node of the Ray cluster has had 1 CPU for 3 s (nodes alive: 0 CPU and 0 GPU); what is done is kept: start"
        " such a node and run the same command again, or wait longer with SUPIR_NODE_WAIT_S=SECONDS"
    )
    assert 2 <= len(found["all"]["ended"]) < 10
    assert NODE_WAIT_S < found["all"]["waited_s"] < NODE_WAIT_S + 40


@pytest.mark.parametrize("text", ["soon", "0", "-3", "inf", "nan", ""])
def test_a_waiting_time_that_is_no_number_of_seconds_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPIR_NODE_WAIT_S", text)
    with pytest.raises(UserError, match=rf"SUPIR_NODE_WAIT_S='{text}' is no number of seconds; use for"):
        NodeWait(lambda: {"CPU": 1})
