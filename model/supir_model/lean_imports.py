"""diffusers without what our commands have no use for: optional packages that it imports wherever they are installed.

Place in the flow: commands that own their process call it before they import anything of the network; a library whose
caller may use those packages does not. peft, and what that imports, takes as long as a few steps of `mini`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("peft", "bitsandbytes", "sklearn", "scipy")


def import_network_alone() -> None:
    """Imports the network of the model, and thereby diffusers, as if `UNUSED` were not installed.

    For the rest of the process diffusers and transformers take them as missing; others import them as ever. Nothing
    happens where diffusers was imported before.
    """
    if "diffusers" in sys.modules:
        return
    hidden = [name for name in UNUSED if name not in sys.modules]
    for name in hidden:
        # the import system's own word for a module that is not to be found
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        with _packages_listed_once():
            import supir_model.supir  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _packages_listed_once() -> Iterator[None]:
    """Lets transformers and diffusers, which both read the metadata of every installed package, read them once."""
    listed = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = functools.cache(listed)
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = listed
