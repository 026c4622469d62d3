"""A cap on the bytes that one fetcher holds, whatever servers send.

Place in the flow: `fetch` gives every candidate a share, `transfer` takes from it as a body comes, and it is given back
when the picture is written. The law: above the cap transfers pause and their servers wait. One of them goes on all the
same, or nobody would ever end: all together hold at most the cap and one body.
"""

from __future__ import annotations

from collections.abc import Callable


class Held:
    """What all bodies of a fetcher may hold.

    Args:
        cap: bytes.
    """

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self.free = cap
        self.above: Share | None = None  # the one that goes on above the cap
        self.paused: dict[Share, tuple[int, Callable[[], None]]] = {}

    @property
    def is_tight(self) -> bool:
        """Whether more than a quarter of the cap is held."""
        return 4 * self.free < 3 * self._cap

    def has_room(self, share: Share, size: int) -> bool:
        """Returns whether a share may take more bytes: within the cap, or as the one that goes on above it."""
        is_the_one = self.above in (None, share) and self.free + share.size >= 0
        return size <= self.free or is_the_one

    def wake(self) -> None:
        """Lets paused transfers go on for which there is room, the longest paused first."""
        for share, (size, go_on) in list(self.paused.items()):
            if self.has_room(share, size):
                del self.paused[share]
                go_on()


class Share:
    """What one candidate holds.

    Args:
        held: the whole that it is a share of.
    """

    __slots__ = ("_held", "size")

    def __init__(self, held: Held) -> None:
        self._held = held
        self.size = 0

    def take(self, size: int, go_on: Callable[[], None]) -> bool:
        """Returns whether there is room for more bytes and takes it; if not, `go_on` is called when there is."""
        held = self._held
        if not held.has_room(self, size):
            held.paused[self] = (size, go_on)
            return False
        if size > held.free:
            held.above = self
        held.free -= size
        self.size += size
        return True

    def keep(self, size: int) -> None:
        """Gives back all but some bytes, once no more will come."""
        held = self._held
        held.paused.pop(self, None)
        if held.above is self:
            held.above = None
        if self.size != size:
            held.free += self.size - size
            self.size = size
        held.wake()
