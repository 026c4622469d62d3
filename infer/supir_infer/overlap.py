"""Work that threads do beside the network's: ahead of it (files are read), and behind it (results are saved).

Place in the flow: `folder` strings these together; what iterates over the last of them is the one thread that has the
network. The law they keep: results come in the items' order, an error in its turn; no more waits than there is room
for, and what is too large for the room is worked on while nothing else waits, so that memory does not grow with the
run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class Room:
    """What may wait at most: items, and bytes by what each weighs."""

    items: int
    num_bytes: int


def ahead(
    items: Iterable[Item],
    work: Callable[[Item], Done],
    weigh: Callable[[Item], int],
    room: Room,
    threads: int = 1,
) -> Generator[Done]:
    """Yields `work` of each item, while threads do that of the next ones; one that is too large waits to be asked for.

    Closing it waits for what is being worked on and drops the rest.

    Args:
        items: iterated over by the caller's thread.
        work: done by the threads.
        weigh: bytes of an item's result.
        room: for the results that wait, the one that is yielded not counted.
        threads: that work.
    """
    source = iter(items)
    looked_at: deque[Item] = deque()
    waiting: deque[tuple[int, Future[Done]]] = deque()
    pool = ThreadPoolExecutor(threads)

    def begin(free_bytes: float) -> bool:
        """Begins the next item, if there is one and it weighs no more; returns whether it did."""
        if not looked_at:
            looked_at.extend(islice(source, 1))
        if not looked_at or (weight := weigh(looked_at[0])) > free_bytes:
            return False
        waiting.append((weight, pool.submit(work, looked_at.popleft())))
        return True

    try:
        while waiting or begin(math.inf):
            _, current = waiting.popleft()
            while len(waiting) < room.items and begin(room.num_bytes - _weight(waiting)):
                pass
            yield current.result()
            del current  # a result is the caller's alone
    finally:
        pool.shutdown(cancel_futures=True)


def behind(
    items: Iterable[Item],
    work: Callable[[Item], Done],
    weigh: Callable[[Item], int],
    room: Room,
    threads: int = 1,
) -> Generator[Done]:
    """Yields `work` of each item, done by threads while the next item comes; what is too large is waited for.

    What has come is worked on even where the next item is an error, or this is closed.

    Args:
        items: iterated over by the caller's thread.
        work: done by the threads.
        weigh: bytes that an item holds until its work is done.
        room: for the items that wait.
        threads: that work.
    """
    waiting: deque[tuple[int, Future[Done]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append((weigh(item), pool.submit(work, item)))
            del item  # its work holds it as long as it must
            while waiting and (
                waiting[0][1].done() or len(waiting) > room.items or _weight(waiting) > room.num_bytes
            ):
                yield waiting.popleft()[1].result()
        while waiting:
            yield waiting.popleft()[1].result()


def _weight(waiting: Iterable[tuple[int, object]]) -> int:
    return sum(weight for weight, _ in waiting)
