"""Why bytes give no picture: one error with a reason from a closed list, and words that are safe to print.

The law: whatever the bytes are, what comes out of this package is a picture or `BadImage`. The reasons are stored in
ledgers and failure lists and never change their meaning.
"""

from __future__ import annotations

from enum import StrEnum

MAX_TEXT = 200


class Fault(StrEnum):
    """What is wrong with the bytes."""

    NOT_AN_IMAGE = "not_an_image"  # of no kind that is known, or with a header that is none
    NO_READER = (
        "no_reader"  # a picture, but what reads its kind is not installed; the detail says what to type
    )
    TOO_MANY_PIXELS = "too_many_pixels"
    ANIMATED = "animated"
    UNDECODABLE = "undecodable"


class BadImage(ValueError):  # noqa: N818 - the picture is bad, the code is not
    """The bytes give no picture that can be used; `reason` is for counting, `detail` says what was seen."""

    def __init__(self, reason: Fault, detail: str) -> None:
        super().__init__(printable(detail))
        self.reason = reason
        self.detail = printable(detail)


def printable(text: str) -> str:
    """Returns the text without control, bidirectional or invalid characters, at most 200 characters long."""
    safe = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:MAX_TEXT])
    return safe[:MAX_TEXT] + ("…" if len(text) > MAX_TEXT or len(safe) > MAX_TEXT else "")
