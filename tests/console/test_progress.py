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
