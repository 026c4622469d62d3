"""Which version of a package runs, for what a command writes beside its results.

The law it keeps: a version is a note on a result and never a reason to lose it.
"""

from __future__ import annotations

from importlib import metadata

NOT_INSTALLED = "0+source"


def installed_version(distribution: str) -> str:
    """Returns the version of an installed distribution, "0+source" where its code runs without being installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
