"""Notes of how long parts took, and the slowest by name."""

from __future__ import annotations

import json
import time

import pytest

from supir_curate.reporting.throughput import PartTime, throughput, timed
from supir_shards import Store


def note(store, step, part, seconds, cpu_seconds):
    told = {"part": part, "host": "a", "seconds": seconds, "cpu_seconds": cpu_seconds}
    store.write(f"log/{step}/{part}.json", json.dumps(told).encode())


def test_a_step_is_its_notes_the_slowest_first(tmp_path):
    store = Store(tmp_path)
    for number, seconds in enumerate([2.0, 2.0, 30.0, 2.0, 3.0, 2.0, 2.0]):
        note(store, "score", f"part-{number:06}", seconds, seconds / 2)
    note(store, "pack", "part-000000", 1.0, 1.0)
    pack, score = throughput(store)
    assert (pack.step, pack.parts, pack.cpu_share) == ("pack", 1, 1.0)
    assert (score.parts, score.median_s, score.cpu_share) == (7, 2.0, 0.5)
    assert score.worker_hours == pytest.approx(43 / 3600)
    named = [(one.part, one.seconds) for one in score.stragglers]
    assert named[:3] == [("part-000002", 30.0), ("part-000004", 3.0), ("part-000000", 2.0)]
    assert len(named) == 5


def test_work_is_timed_and_its_result_handed_on(tmp_path):
    def work(part):
        time.sleep(0.2)
        return part.upper()

    assert timed("score", str(tmp_path), work, "part-000003") == "PART-000003"
    (step,) = throughput(Store(tmp_path))
    (one,) = step.stragglers
    assert isinstance(one, PartTime)
    assert 0.2 <= one.seconds < 60
    assert one.cpu_seconds < one.seconds


def test_a_part_that_failed_has_no_note(tmp_path):
    with pytest.raises(ZeroDivisionError):
        timed("score", str(tmp_path), lambda _: 1 / 0, "part-000000")
    assert list(throughput(Store(tmp_path))) == []


def test_the_report_names_the_slowest_parts(curated):
    page = (curated[0] / "report" / "index.html").read_text()
    section = page[page.index("<h2>Throughput") : page.index("<h2>Failures")]
    for step in ("score", "pack"):
        assert f"<td>{step}</td>" in section
    assert "part-000000" in section
