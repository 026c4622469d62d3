"""The words and patterns of the checks, kept as text in `words/`, so that a list can be read and extended as a list."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from itertools import groupby

_EDGE = r"\b"
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
    """Returns the patterns of a file, one a line, as one; `@{part} = …` defines what `@{part}` stands for in them.

    A word's edge at the beginning of a line holds for all of the line's own alternatives.
    """
    parts: dict[str, str] = {}
    patterns: list[str] = []
    for line in _lines(name):
        part, is_part, pattern = line.partition(" = ")
        if is_part and _NAME.fullmatch(part):
            parts[part] = pattern
        else:
            patterns.append(_NAME.sub(lambda match: parts[match.group()], line))
    return "|".join(_joined(list(run)) for _, run in groupby(patterns, lambda one: one.startswith(_EDGE)))


def _joined(patterns: list[str]) -> str:
    """What begins with a word's edge has it in common, so that at most letters of a text one look is enough."""
    begins_at_edge = patterns[0].startswith(_EDGE)
    either = "|".join(f"(?:{pattern.removeprefix(_EDGE)})" for pattern in patterns)
    return rf"{_EDGE}(?:{either})" if begins_at_edge else either


def _lines(name: str) -> list[str]:
    text = files("supir_caption").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
