"""Sizes of memory as people write them on a command line."""

from __future__ import annotations

from supir_console.entry import UserError

UNITS = {"GB": 10**9, "GiB": 2**30, "MB": 10**6, "MiB": 2**20}


def read_bytes(size: str, option: str) -> int:
    """Returns the bytes of a size, as in 24GB, 80GiB or 500MB.

    Args:
        size: number and unit.
        option: that it was given to, as in --fit.

    Raises:
        UserError: it is none.
    """
    number, unit = size.rstrip("GMiB"), size[len(size.rstrip("GMiB")) :]
    try:
        value = int(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        value = 0
    if value <= 0:
        raise UserError(f"{option} {size!r} is no size; write it as in 24GB, 80GiB or 500MB")
    return value
