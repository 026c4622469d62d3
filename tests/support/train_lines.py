"""The lines of a run's metrics.jsonl, whole or without what differs from one start to the next."""

from __future__ import annotations

import json
from pathlib import Path

TIMES = {"time", "seconds", "images_per_s", "data_wait", "peak_rss_bytes"}


def lines_of(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_times(run: Path) -> list[dict[str, object]]:
    return [{key: line[key] for key in line if key not in TIMES} for line in lines_of(run)]
