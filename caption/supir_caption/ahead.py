"""Work that threads do ahead of whoever takes it: in order, bounded, asked whether it is ready.

Place in the flow: between the tar, which one thread reads front to back, and the engine, which must not wait
for a picture while it has questions to answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Source = TypeVar("Source")
Item = TypeVar("Item")
_END: Any = object()


class Ahead(Generic[Item]):
    """Iterates over `work` of each item of a source, in the source's order; an error comes in its turn.

    Args:
        source: read by one thread.
        work: done by several; what it returns is what comes out, and None comes out as nothing.
        depth: items whose work is begun before they are asked for; with 0 no two items are held at once, but the next
            is read.
        threads: that do the work.
    """

    def __init__(
        self,
        source: Iterable[Source],
        work: Callable[[Source], Item | None],
        *,
        depth: int,
        threads: int = 1,
    ) -> None:
        self._source = iter(source)
        self._work = work
        self._reader = ThreadPoolExecutor(1)
        self._workers = ThreadPoolExecutor(max(1, threads))
        self._depth = depth
        self._waiting: deque[Future[Item | None]] = deque()
        self._read: Future[Any] = self._reader.submit(next, self._source, _END)
        self._is_at_end = False
        for _ in range(depth):
            self._begin_one()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._is_at_end:
            if not self._waiting:
                self._begin_one()
            item = self._waiting.popleft().result()
            if item is _END:
                self.close()
            elif self._depth:
                self._begin_one()
            if item is not None and item is not _END:
                return item
        raise StopIteration

    def ready(self) -> bool:
        """Returns whether the next item, or the end, is there without waiting."""
        return not self._waiting or self._waiting[0].done()

    def close(self) -> None:
        """Stops the threads: what is not begun is dropped, what is under way ends before this returns.

        The source may write where the next one to iterate reads.
        """
        self._is_at_end = True
        self._waiting.clear()
        for threads in (self._reader, self._workers):
            threads.shutdown(cancel_futures=True)

    def _begin_one(self) -> None:
        read, self._read = self._read, self._reader.submit(next, self._source, _END)
        self._waiting.append(self._workers.submit(self._finish, read))

    def _finish(self, read: Future[Any]) -> Item | None:
        item = read.result()
        return item if item is _END else self._work(item)
