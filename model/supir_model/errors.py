"""The one error of this package that is about the user's files and not about a call."""

from __future__ import annotations


class ModelFileError(ValueError):
    """A model's files are damaged, incomplete or do not fit together; the message is one finished line for the user."""
