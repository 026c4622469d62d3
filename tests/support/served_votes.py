"""The server of a vote on a free port, for as long as a test asks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from supir_infer.vote_server import VoteServer
from supir_infer.vote_session import VoteSession


@contextmanager
def served(asked: VoteSession) -> Iterator[str]:
    """Yields the address of the page."""
    with VoteServer("127.0.0.1", 0, asked) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
