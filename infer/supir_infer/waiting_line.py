"""Who works next: one at a time, the others in the order they came, and no more than a number of them.

Place in the flow: `page_work` stands in it before it uses the network.
The law it keeps: nobody is overtaken; who gives up does not hold the others up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from supir_console import UserError, counted

LOOK_S = 0.2


class WaitingLine:
    """A line of places.

    Args:
        longest: places taken at once, the one at work included.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._places: list[object] = []
        self._moved = threading.Condition()

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def turn(self, gives_up: Callable[[], bool], on_move: Callable[[int], None]) -> Iterator[bool]:
        """Waits for its turn and holds it while it is entered; gives False where `gives_up` came first.

        Args:
            gives_up: asked a few times a second while waiting.
            on_move: called with the number of those in front, whenever it changes, 0 at last.

        Raises:
            UserError: the line is as long as it may be.
        """
        place = object()
        with self._moved:
            if len(self._places) >= self._longest:
                raise UserError(
                    f"the line of {counted(len(self._places), 'visitor')} is full; try again in a few minutes"
                )
            self._places.append(place)
        try:
            yield self._wait(place, gives_up, on_move)
        finally:
            with self._moved:
                self._places.remove(place)
                self._moved.notify_all()

    def _wait(self, place: object, gives_up: Callable[[], bool], on_move: Callable[[int], None]) -> bool:
        told = -1
        while not gives_up():
            with self._moved:
                ahead = self._places.index(place)
                if ahead == told:
                    self._moved.wait(LOOK_S)
                    continue
            on_move(ahead)
            told = ahead
            if ahead == 0:
                return True
        return False
