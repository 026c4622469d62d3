"""Curation on a real Ray cluster whose nodes are killed: parts and files move to the others, or one line ends it."""

from __future__ import annotations

from pathlib import Path

from node_loss import NODE_WAIT_S, outcome

PARTS = [f"part-{number:06}" for number in range(8)]
FILES = [f"file-{number:03}" for number in range(40)]
NO_NODE = "no node of the Ray cluster has had 1 CPU for 3 s (nodes alive: 0 CPU and 0 GPU)"


def test_parts_outlive_a_node_and_end_in_one_line_with_the_last_one(tmp_path: Path) -> None:
    found = outcome("tasks", tmp_path)
    assert sorted(found["one"]["results"]) == PARTS
    assert set((tmp_path / "one" / "fetched").read_text().split()) == set(PARTS)
    assert found["all"]["words"].startswith(NO_NODE)
    results = found["all"]["results"]
    assert 2 <= len(set(results)) == len(results) < 8
    assert NODE_WAIT_S < found["all"]["waited_s"] < NODE_WAIT_S + 40


def test_a_listing_keeps_its_order_when_a_node_dies_and_ends_in_one_line_with_the_last_one(
    tmp_path: Path,
) -> None:
    found = outcome("listing", tmp_path)
    assert found["one"]["names"] == FILES
    assert found["all"]["words"].startswith(NO_NODE)
    assert found["all"]["names"] == FILES[: len(found["all"]["names"])]
    assert 1 <= len(found["all"]["names"]) < 40
