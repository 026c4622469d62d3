"""A cap on the bytes that one fetcher holds, whatever servers send.

Place in the flow: `fetch` gives every candidate a share, `transfer` takes from it as a body comes, and gives back when
the picture is written. The law: bodies that are read are held to the cap together; above it a transfer pauses and
its server waits. The candidate that is to be written next goes on all the same, or nobody would ever give back: it
holds at most one body above the cap.
"""

from __future__ import annotations

from collections.abc import Callable


class Held:
    """What all bodies of a fetcher may hold.

    Args:
        cap: bytes.
    """

    def __init__(self, cap: int) -> None:
        self.free = cap
        self.paused: dict[Share, Callable[[], None]] = {}

    def wake(self) -> None:
        """Lets paused transfers look again whether there is room."""
        paused, self.paused = self.paused, {}
        for go_on in paused.values():
            go_on()


class Share:
    """What one candidate holds.

    Args:
        held: the whole that it is a share of.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._size = 0
        self._is_next = False

    def take(self, size: int, go_on: Callable[[], None]) -> bool:
        """Returns whether there is room for more bytes and takes it; if not, `go_on` is called when there may be."""
        if size > self._held.free and not self._is_next:
            self._held.paused[self] = go_on
            return False
        self._held.free -= size
        self._size += size
        return True

    def give_back(self) -> None:
        """Gives back all that was taken."""
        self._held.free += self._size
        if self._size:
            self._size = 0
            self._held.wake()

    def stop_waiting(self) -> None:
        """Says that the transfer that paused has ended."""
        self._held.paused.pop(self, None)

    def be_next(self) -> None:
        """Says that this candidate is waited for: it pauses no more."""
        self._is_next = True
        go_on = self._held.paused.pop(self, None)
        if go_on:
            go_on()
