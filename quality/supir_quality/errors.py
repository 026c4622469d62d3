"""The one error of this package. It is a `ValueError` class of ours, which every command reports in one line."""

from __future__ import annotations


class MeasureMissing(ValueError):  # noqa: N818 - a state of this installation, never a defect
    """A measure cannot be had in this installation; the message says what is missing and what to type."""
