"""Politeness: how many requests one host gets at a time, and how long apart.

Place in the flow: every request of the fetcher, robots.txt included, waits here for its turn. The law: requests to
one host start at least the delay apart and never more than the given number are under way, whatever the total. What a
site asks for holds for all fetchers together: time is cut into slots of the site's delay, each fetcher has every N-th,
and nobody needs to talk to anybody; their clocks must agree to `SLACK_S`.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple

MAX_CRAWL_DELAY_S = 30.0  # a site that asks for more gets this
SLACK_S = 0.1  # that a slot is longer than the delay: a request may start late, the next fetcher's on time
MAX_HOSTS = 50_000  # remembered; beyond, hosts that nothing waits for are forgotten


class Sharing(NamedTuple):
    """One of several fetchers that ask the same hosts: its number, from 0, and how many there are."""

    number: int = 0
    fetchers: int = 1


ALONE = Sharing()


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore
    delay_s: float
    sharing: Sharing | None = None  # where the delay is the site's own
    last_start_s: float = float("-inf")
    waiting: int = 0

    def next_start_s(self, now_s: float) -> float:
        """Returns when the next request may start, in the loop's time."""
        if self.sharing is None or self.sharing.fetchers == 1:
            return max(now_s, self.last_start_s + self.delay_s)
        number, fetchers = self.sharing
        slot_s = self.delay_s / fetchers
        # The last start lies on a slot but for rounding, which must not cost a whole turn.
        earliest_s = max(now_s, self.last_start_s + self.delay_s - slot_s / 2)
        clock_s = time.time() + earliest_s - now_s
        slot = math.ceil(clock_s / slot_s)
        return earliest_s + (slot + (number - slot) % fetchers) * slot_s - clock_s


class _Turn:
    """One request's turn at its host."""

    def __init__(self, host: _Host) -> None:
        self._host = host

    async def __aenter__(self) -> None:
        host = self._host
        host.waiting += 1
        try:
            await host.slots.acquire()
        except BaseException:
            host.waiting -= 1
            raise
        now_s = asyncio.get_running_loop().time()
        host.last_start_s = start_s = host.next_start_s(now_s)
        if start_s > now_s:
            try:
                await asyncio.sleep(start_s - now_s)
            except BaseException:
                await self.__aexit__(None, None, None)
                raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._host.slots.release()
        self._host.waiting -= 1


class HostPace:
    """The turns of every host.

    Args:
        concurrency: requests under way to one host.
        delay_s: seconds between the starts of two requests to one host, by all fetchers.
        sharing: which of them this is.
    """

    def __init__(self, concurrency: int, delay_s: float, sharing: Sharing = ALONE) -> None:
        self._concurrency = concurrency
        self._delay_s = delay_s
        self._sharing = sharing
        self._hosts: dict[str, _Host] = {}

    def slow_down(self, host_name: str, delay_s: float) -> None:
        """Keeps requests to a host at least `delay_s` apart, whichever fetcher's, as its robots.txt asks."""
        host, fetchers = self._host(host_name), self._sharing.fetchers
        asked_s = max(self._delay_s, min(delay_s, MAX_CRAWL_DELAY_S))
        host.delay_s = fetchers * (asked_s + SLACK_S) if fetchers > 1 else asked_s
        host.sharing = self._sharing

    def turn(self, host: str) -> _Turn:
        """Returns what waits for a host's turn, as `async with`, and holds it while the block runs."""
        return _Turn(self._host(host))

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            if len(self._hosts) >= MAX_HOSTS:
                self._forget_idle()
            self._hosts[name] = _Host(
                asyncio.Semaphore(self._concurrency), self._delay_s * self._sharing.fetchers
            )
        return self._hosts[name]

    def _forget_idle(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._hosts = {
            name: host
            for name, host in self._hosts.items()
            if host.waiting or host.last_start_s + host.delay_s > now_s
        }
