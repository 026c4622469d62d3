"""Work on a stream's items in threads, results in the stream's order, with few items under way.

Place in the flow: `tars` lists several tars and `plan` writes several parts at a time; both wait for storage. The law:
an item is taken from the stream only when there is room for it, so memory does not grow with the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], at_once: int) -> Iterator[Result]:
    """Yields the result of each item.

    Args:
        work: runs in a thread.
        items: taken one by one.
        at_once: items under way.
    """
    with ThreadPoolExecutor(at_once) as threads:
        under_way: deque[Future[Result]] = deque()
        for item in items:
            under_way.append(threads.submit(work, item))
            if len(under_way) >= at_once:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
