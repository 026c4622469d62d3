"""A restoration that can be stopped between any two calls of a network, not only between its steps.

Place in the flow: `page_work` runs under it, so that a visitor who leaves does not keep the machine busy. One step of a
large picture is hundreds of calls, one a tile; waiting for its end would be waiting for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from supir_model import Supir


class Stopped(Exception):  # noqa: N818 - no error: somebody wanted it
    """The work was stopped from outside."""


@contextmanager
def stoppable(supir: Supir, should_stop: Callable[[], bool]) -> Iterator[None]:
    """While it is entered, every call of a network of `supir` first asks `should_stop`.

    Args:
        supir: used by one thread at a time.
        should_stop: cheap; True ends the work.

    Raises:
        Stopped: from the call that was not made.
    """

    def ask(*_: Any) -> None:
        if should_stop():
            raise Stopped

    parts = (supir.unet, supir.control, supir.vae.encoder, supir.vae.decoder, supir.robust_encoder)
    hooks = [part.register_forward_pre_hook(ask) for part in parts]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
