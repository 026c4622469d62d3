"""A part's candidates fetched many at a time, and handed on in source order.

Place in the flow: `fetch` says how one is fetched, `write_spool` takes the lists that come out. The law: each comes out
once, in source order; but where a slow one would make those after it hold too much, what is there goes first, so that a
slow host costs its own time and neither memory nor the others'.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from itertools import islice
from typing import Any

from supir_curate.fetching.held import Held, Share
from supir_curate.sources.candidate import Candidate
from supir_curate.sources.originals import Original

BATCH_BYTES = 4 * 2**20  # that come out at once, for the disk's sake

Fetch = Callable[[int, Candidate, Share], Coroutine[Any, Any, Original]]
Fetched = tuple[Original, Share]


async def in_order(
    candidates: Iterable[Candidate], fetch: Fetch, held: Held, ahead: int
) -> AsyncIterator[list[Original]]:
    """Yields every candidate once, some at a time; their bytes count as held until the next list is asked for.

    Args:
        candidates: in source order.
        fetch: fetches one, given its row; raises nothing but what shall end the part.
        held: what all parts hold together; when it is tight, candidates come out of turn.
        ahead: candidates under way at a time.
    """
    rows = enumerate(candidates)
    under_way: set[asyncio.Task[Fetched]] = set()
    ended: asyncio.Queue[asyncio.Task[Fetched]] = asyncio.Queue()
    shares: set[Share] = set()
    turns = Turns()
    try:
        while True:
            for row, candidate in islice(rows, ahead - len(under_way)):
                share = Share(held)
                shares.add(share)
                task = asyncio.create_task(_fetched(fetch, row, candidate, share))
                under_way.add(task)
                task.add_done_callback(ended.put_nowait)
            if not under_way:
                return
            task = await ended.get()
            under_way.remove(task)
            turns.put(task.result())
            del task  # it holds a body
            is_pressed = held.is_tight and ended.empty()
            if is_pressed:
                turns.skip_missing()
            if is_pressed or turns.size >= BATCH_BYTES or not under_way:
                batch, given_back = turns.take()
                yield batch
                del batch  # what is given back is held by nobody
                shares.difference_update(given_back)
                _give_back(given_back)
    finally:
        for task in under_way:
            task.cancel()
        _give_back(shares)


class Turns:
    """Candidates that wait for their turn; `size` counts the bytes of those whose turn it is."""

    def __init__(self) -> None:
        self.size = 0
        self._due: list[Fetched] = []
        self._next = 0
        self._early: dict[int, Fetched] = {}
        self._gone: set[int] = set()

    def put(self, one: Fetched) -> None:
        """Takes one in; every row comes once."""
        self._early[one[0].row] = one
        while self._next in self._early or self._next in self._gone:
            if self._next in self._early:
                self._add(self._next)
            self._gone.discard(self._next)
            self._next += 1

    def skip_missing(self) -> None:
        """Makes it everyone's turn who is here."""
        self._gone.update(self._early)
        for row in sorted(self._early):
            self._add(row)

    def take(self) -> tuple[list[Original], list[Share]]:
        """Returns those whose turn it is, each once."""
        due, self._due, self.size = self._due, [], 0
        return [original for original, _ in due], [share for _, share in due]

    def _add(self, row: int) -> None:
        one = self._early.pop(row)
        self._due.append(one)
        self.size += len(one[0].data)


def _give_back(shares: Iterable[Share]) -> None:
    for share in shares:
        share.keep(0)


async def _fetched(fetch: Fetch, row: int, candidate: Candidate, share: Share) -> Fetched:
    try:
        return await fetch(row, candidate, share), share
    except BaseException:
        share.keep(0)
        raise
