"""The end of a run: a summary for people on stderr or for programs on stdout, and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import typer

EXIT_SOME_FAILED = 1


def finish(summary: Mapping[str, Any], as_json: bool, failed: int = 0) -> None:
    """Prints `summary` and leaves with exit code 1 when `failed` items were recorded as failed.

    Args:
        summary: JSON-serialisable figures and paths of the run.
        as_json: one JSON object on stdout; otherwise one `key: value` line each on stderr.
        failed: number of items that failed and stand in the run's failure list.

    Raises:
        typer.Exit: with code 1 when `failed` is above zero.
    """
    if as_json:
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        for key, value in summary.items():
            sys.stderr.write(f"{key}: {value}\n")
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)
