"""A restoration that can be stopped between any two calls of a network, not only between its steps.

Place in the flow: `page_work` and the nodes for ComfyUI run under it, so that a visitor who leaves does not keep the
machine busy. One step of a large picture is hundreds of calls, one a tile, and its autoencoder in strips is one call of
no network at all but hundreds of convolutions; waiting for the end of either would be waiting for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from supir_model import Supir

_should_stop: ContextVar[Callable[[], bool]] = ContextVar("should_stop", default=lambda: False)


class Stopped(Exception):  # noqa: N818 - no error: somebody wanted it
    """The work was stopped from outside."""


@contextmanager
def stoppable(supir: Supir, should_stop: Callable[[], bool]) -> Iterator[None]:
    """While it is entered, every call of a network of `supir` and every strip of its VAE first asks `should_stop`.

    Args:
        supir: used by one thread at a time.
        should_stop: cheap; True ends the work.

    Raises:
        Stopped: from the call that was not made.
    """
    parts = (supir.unet, supir.control, supir.vae.encoder, supir.vae.decoder, supir.robust_encoder)
    hooks = [part.register_forward_pre_hook(_ask) for part in parts]
    token = _should_stop.set(should_stop)
    try:
        yield
    finally:
        _should_stop.reset(token)
        for hook in hooks:
            hook.remove()


def stop_here() -> None:
    """Ends the work of this thread where it is to stop; long work calls it now and then.

    Raises:
        Stopped: it is.
    """
    if _should_stop.get()():
        raise Stopped


def _ask(*_: Any) -> None:
    stop_here()
