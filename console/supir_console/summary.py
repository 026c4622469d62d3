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
        sys.stdout.write(json_line(summary))
        sys.stdout.flush()
    else:
        for key, value in summary.items():
            sys.stderr.write(f"{key}: {value}\n")
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def one_line(text: str) -> str:
    r"""Returns a text that a terminal shows as one line whatever is in it, as file names may hold anything.

    Example:
        >>> one_line("a\nb\x1b[2J caf\udce9")
        'a\\nb\\x1b[2J caf\\udce9'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def json_line(record: Mapping[str, Any]) -> str:
    r"""Returns a record as one line of JSON that can be written as UTF-8.

    A file name that is no UTF-8 reaches Python with lone surrogates, which no UTF-8 holds; then everything but ASCII
    is escaped, and whoever reads the line gets the same name back.

    Example:
        >>> json_line({"caf\udce9": 1})
        '{"caf\\udce9": 1}\n'
    """
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(record)
    return text + "\n"
