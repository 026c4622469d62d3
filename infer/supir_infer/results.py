"""`results.jsonl`: one line a picture, with provenance and seconds, or with the reason of its failure.

Place in the flow: `folder` appends, `cli` completes the file before a run. The outputs' own metadata are
the truth; this file is the list to read, grep and count. For a picture with several lines the last one
counts. A line that a kill or a full disk tore is taken out before the next run; what it told stands in its output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supir_console import counted, json_line
from supir_infer.plan import Job, Plan
from supir_infer.whole_file import whole_file

if TYPE_CHECKING:
    from supir_infer.outcomes import Ended


def listed(all_ended: Iterable[Ended], results: Path) -> list[Ended]:
    """Appends a line for each job that came to its end; returns those that failed."""
    failures = []
    for ended in all_ended:
        if ended.reason:
            append_failure(results, ended.job, ended.reason)
            failures.append(ended)
        else:
            append_success(results, ended.job, ended.metadata)
    return failures


def append_success(results: Path, job: Job, metadata: Mapping[str, Any]) -> None:
    """Appends the line of a restored picture; `metadata` is what its output carries."""
    _append(results, _success(job, metadata))


def _success(job: Job, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": "ok", "input": str(job.source), "output": str(job.target), **metadata}


def append_failure(results: Path, job: Job, reason: str) -> None:
    """Appends the line of a picture that could not be restored."""
    failure = {"status": "failed", "input": str(job.source), "input_sha256": job.sha256, "reason": reason}
    _append(results, failure)


def complete_results(results: Path, plan: Plan) -> None:
    """Takes torn lines out, and writes the line of each finished output whose picture's last line is another."""
    results.parent.mkdir(parents=True, exist_ok=True)
    data = results.read_bytes() if results.exists() else b""
    lines = [line for line in data.split(b"\n") if line.strip()]
    records = [_parse(line) for line in lines]
    whole = [line for line, record in zip(lines, records, strict=True) if record]
    if b"".join(line + b"\n" for line in whole) != data:
        with whole_file(results) as stream:
            stream.writelines(line + b"\n" for line in whole)
        num_torn = len(lines) - len(whole)
        sys.stderr.write(
            f"{results}: {counted(num_torn, 'torn line')} taken out; what is done stands in the outputs\n"
        )
    told = _last_successes(records)
    for job, metadata in plan.finished:
        if _success(job, metadata) not in told.get(str(job.source), {}).values():
            append_success(results, job, metadata)


def _last_successes(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The last line of each result by its picture and its own path, without those that a failure came after."""
    told: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        of_picture = told.setdefault(str(record.get("input")), {})
        if record.get("status") == "ok":
            of_picture[str(record.get("output"))] = record
        else:
            of_picture.clear()
    return told


def _append(results: Path, record: dict[str, Any]) -> None:
    with results.open("a", encoding="utf-8") as stream:
        stream.write(json_line(record))


def _parse(line: bytes) -> dict[str, Any]:
    """The record of a line; {} for a torn one."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
