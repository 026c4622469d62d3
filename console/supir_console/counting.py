"""Numbers with what they count, as people say them.

Place in the flow: lines of every command that tell how many of something there are.
"""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns a number and its noun in the form that goes with it.

    Args:
        number: how many.
        noun: of one.
        plural: where it is not `noun` with an s.

    Example:
        >>> counted(1, "picture"), counted(0, "picture"), counted(1200, "entry", "entries")
        ('1 picture', '0 pictures', '1200 entries')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
