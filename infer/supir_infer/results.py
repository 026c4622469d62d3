"""`results.jsonl`: one line a picture, with provenance and seconds, or with the reason of its failure.

Place in the flow: `folder` appends, `cli` completes the file before a run. The outputs' own metadata are
the truth; this file is the list to read, grep and count. For a picture with several lines the last one
counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from supir_infer.plan import Job, Plan


def append_success(results: Path, job: Job, metadata: dict[str, Any]) -> None:
    """Appends the line of a restored picture; `metadata` is what its PNG carries."""
    _append(results, {"status": "ok", "input": str(job.source), "output": str(job.target), **metadata})


def append_failure(results: Path, job: Job, reason: str) -> None:
    """Appends the line of a picture that could not be restored."""
    failure = {"status": "failed", "input": str(job.source), "input_sha256": job.sha256, "reason": reason}
    _append(results, failure)


def complete_results(results: Path, plan: Plan) -> None:
    """Writes the line of each finished output that has none, as after a kill between output and line."""
    results.parent.mkdir(parents=True, exist_ok=True)
    text = results.read_text(encoding="utf-8") if results.exists() else ""
    if text and not text.endswith("\n"):
        with results.open("a", encoding="utf-8") as stream:
            stream.write("\n")
    records = [_parse(line) for line in text.splitlines()]
    known = {record["output"] for record in records if record.get("status") == "ok"}
    for job, metadata in plan.finished:
        if str(job.target) not in known:
            append_success(results, job, metadata)


def _append(results: Path, record: dict[str, Any]) -> None:
    with results.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def _parse(line: str) -> dict[str, Any]:
    """The record of a line; {} for the torn last line of a run that was killed while writing it."""
    try:
        return dict(json.loads(line))
    except json.JSONDecodeError:
        return {}
