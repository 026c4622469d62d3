"""The words and patterns of the checks, kept as text in `words/`, so that a list can be read and extended as a list."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"@\{[a-z_]+\}")


@cache
def word_lists(name: str) -> dict[str, frozenset[str]]:
    """Returns the lists of a file by their names; each begins with `[name]`, lines with # are comments."""
    lists: dict[str, frozenset[str]] = {}
    current = ""
    for line in _lines(name):
        if line.startswith("["):
            current = line.strip("[]")
        else:
            lists[current] = lists.get(current, frozenset()) | frozenset(line.split())
    return lists


@cache
def alternatives(name: str) -> str:
    """Returns the patterns of a file, one a line, as one; `@{part} = …` defines what `@{part}` stands for in them."""
    parts: dict[str, str] = {}
    patterns: list[str] = []
    for line in _lines(name):
        part, is_part, pattern = line.partition(" = ")
        if is_part and _NAME.fullmatch(part):
            parts[part] = pattern
        else:
            patterns.append(_NAME.sub(lambda match: parts[match.group()], line))
    return "|".join(f"(?:{pattern})" for pattern in patterns)


def _lines(name: str) -> list[str]:
    text = files("supir_caption").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
