"""What an examination found, beside the captions: its figures for the report, and a line for each thing asked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from supir_caption.examine.audit import AuditRow
from supir_caption.examine.quiz import QuizRow
from supir_caption.places import examined_path
from supir_shards import Store


def write_results(
    store: Store, name: str, kind: str, rows: Iterable[AuditRow | QuizRow], summary: dict[str, Any]
) -> str:
    """Writes an examination's rows and then its figures; returns the path of the rows.

    Args:
        store: the dataset's.
        name: the captioner's.
        kind: audit or quiz.
        rows: one JSON line each.
        summary: the figures.
    """
    path = examined_path(name, kind)
    lines = (json.dumps(asdict(row), sort_keys=True, ensure_ascii=False) for row in rows)
    store.write(f"{path}l", "".join(f"{line}\n" for line in lines).encode())
    store.write(path, json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return f"{path}l"
