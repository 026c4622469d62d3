from __future__ import annotations

import re

from supir_console import Progress, track
from supir_console import progress as module


def test_plain_lines_carry_count_rate_and_time_left(monkeypatch, capsys):
    monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.0)
    assert list(track("abcd", total=4, what="score", unit="images")) == list("abcd")
    lines = capsys.readouterr().err.splitlines()
    assert [int(re.match(r"score: (\d)/4 images, \S+/s, \d+ s left$", line)[1]) for line in lines] == [
        1,
        2,
        3,
        4,
    ]


def test_a_quick_job_writes_no_line_and_a_note_joins_the_next(monkeypatch, capsys):
    with Progress(2, "train", "steps") as progress:
        progress.advance()
        progress.note("loss 0.5")
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(module, "LINE_INTERVAL_S", 0.0)
        progress.advance()
    assert "train: 2/2 steps" in (line := capsys.readouterr().err)
    assert "loss 0.5" in line


def test_what_an_earlier_start_finished_counts_but_not_in_the_rate(monkeypatch, capsys):
    clock = iter([0.0, 20.0, 20.0])  # start, the two looks of one item
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with Progress(24, "train", "steps", done=12) as progress:
        progress.advance()
        monkeypatch.setattr(module.time, "monotonic", lambda: 20.0)
    assert capsys.readouterr().err == "train: 13/24 steps, 0.05/s, 220 s left\n"
