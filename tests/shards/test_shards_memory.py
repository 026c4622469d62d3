"""Tars that ask for gigabytes are read within a fixed cap on memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from limits import HANGS_AFTER_S


def test_bombs_end_in_quarantine_rows_under_a_cap_of_48_mebibytes() -> None:
    reader = Path(__file__).with_name("hostile_reader.py")
    done = subprocess.run(
        [sys.executable, str(reader)], capture_output=True, text=True, timeout=HANGS_AFTER_S, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [(name, reason) for name, reason, _ in json.loads(done.stdout)]
    assert rows == [
        ("good", ""),
        ("large.bin", "too_large"),
        ("after120.txt", "too_large"),
        ("after103.txt", "too_large"),
        ("after76.txt", "too_large"),
        ("after75.txt", "too_large"),
        ("bomb.png", "image_too_large"),
        ("deep.json", "bad_json"),
        ("wide.json", "bad_json"),
        ("numbers.json", "bad_json"),
        ("many.4", "too_large"),
        ("full0", ""),
        ("full1", ""),
        ("full2", ""),
        ("full3", ""),
        ("last", ""),
        ("absurd.bin", "truncated"),
    ]
