"""The one error of this package that is about the user's files and not about a call, and the words for its cause."""

from __future__ import annotations


class ModelFileError(ValueError):
    """A model's files are damaged, incomplete or do not fit together; the message is one finished line for the user."""


def first_line(error: Exception) -> str:
    """The first line of a library's message that says something: torch puts a title above it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Error(s) in loading"):
        return lines[1]
    return lines[0] if lines else type(error).__name__
