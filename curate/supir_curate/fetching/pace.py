"""Politeness: how many requests one host gets at a time, and how long apart.

Place in the flow: every request of the fetcher, robots.txt included, waits here for its turn. The law: requests to
one host start at least the delay apart and never more than the given number are under way, whatever the total.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType

MAX_CRAWL_DELAY_S = 30.0  # a site that asks for more gets this
MAX_HOSTS = 50_000  # remembered; beyond, hosts that nothing waits for are forgotten


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore
    delay_s: float
    next_start_s: float = 0.0
    waiting: int = 0


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
        start_s = max(now_s, host.next_start_s)
        host.next_start_s = start_s + host.delay_s
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
        delay_s: seconds between the starts of two requests to one host.
    """

    def __init__(self, concurrency: int, delay_s: float) -> None:
        self._concurrency = concurrency
        self._delay_s = delay_s
        self._hosts: dict[str, _Host] = {}

    def slow_down(self, host: str, delay_s: float) -> None:
        """Keeps requests to a host at least `delay_s` apart, as its robots.txt asks."""
        self._host(host).delay_s = max(self._delay_s, min(delay_s, MAX_CRAWL_DELAY_S))

    def turn(self, host: str) -> _Turn:
        """Returns what waits for a host's turn, as `async with`, and holds it while the block runs."""
        return _Turn(self._host(host))

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            if len(self._hosts) >= MAX_HOSTS:
                self._forget_idle()
            self._hosts[name] = _Host(asyncio.Semaphore(self._concurrency), self._delay_s)
        return self._hosts[name]

    def _forget_idle(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._hosts = {
            name: host for name, host in self._hosts.items() if host.waiting or host.next_start_s > now_s
        }
