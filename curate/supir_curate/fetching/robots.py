"""What sites ask of crawlers: robots.txt by host, and the headers that refuse use for AI.

Place in the flow: the fetcher asks here before it asks for a picture, and again with the answer's headers. The law:
robots.txt is fetched once a host while it is remembered; a file that says no means no; one that does not exist
(status 400 to 499) means yes. While it cannot be had because the host fails nothing is fetched there, which is no word
of the site's: the failure is the request's own, is not remembered, and may pass.

Source: RFC 9309 §2.3.1; the X-Robots-Tag values noai and noimageai (DeviantArt, 2022); tdm-reservation from the W3C TDM
Reservation Protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from protego import Protego

from supir_curate.fetching.address import Target
from supir_curate.fetching.answer import OK, Answer, Expectation
from supir_curate.fetching.web import Web, redirect_target, status_failure

MAX_ROBOTS_BYTES = 500 * 1024  # RFC 9309 §2.5: parse at least this much
MAX_REDIRECTS = 5  # RFC 9309 §2.3.1.2
MAX_FILES = 10_000  # held at once; the oldest is fetched anew when its host comes up again
MAX_HELD_BYTES = 8 * 2**20  # of their texts; their rules take up to twenty times that
OPT_OUT_TAGS = frozenset({"noai", "noimageai"})
VALUED_TAGS = (
    "unavailable_after",
    "max-snippet",
    "max-image-preview",
    "max-video-preview",
)  # "name: value", no bot


class RobotsVerdict(NamedTuple):
    """Whether a URL may be fetched, and what the host said, for the ledger."""

    allowed: bool
    said: str


class _File(NamedTuple):
    """A host's robots.txt and its bytes; `rules` is None where it has none, and `said` tells why."""

    rules: Protego | None
    said: str
    size: int = 0


class Robots:
    """The robots.txt files of every host asked so far.

    Args:
        web: to fetch them with.
        user_agent: the name that their rules are matched with.
    """

    def __init__(self, web: Web, user_agent: str) -> None:
        self._web = web
        self._user_agent = user_agent
        self._files: dict[str, asyncio.Task[_File]] = {}
        self._sizes: dict[str, int] = {}
        self._held = 0  # bytes, the sum of the sizes

    async def verdict(self, target: Target) -> RobotsVerdict:
        """Returns whether a URL may be fetched; the URLs that come first wait together for the host's robots.txt.

        Args:
            target: what is to be asked.

        Raises:
            FetchFailure: robots.txt cannot be had now; the next URL asks for it again.
        """
        rules, said, _ = await self._file(target.origin)
        if rules is None:
            return RobotsVerdict(True, said)
        delay_s = rules.crawl_delay(self._user_agent)
        if delay_s:
            self._web.pace.slow_down(target.host, float(delay_s))
        allowed = rules.can_fetch(target.wire, self._user_agent)
        return RobotsVerdict(allowed, "allowed" if allowed else "disallowed")

    async def _file(self, origin: str) -> _File:
        if origin not in self._files:
            while len(self._files) >= MAX_FILES or (self._files and self._held > MAX_HELD_BYTES):
                self._forget(next(iter(self._files)))
            self._files[origin] = asyncio.create_task(self._fetch(origin))
        task = self._files[origin]
        try:
            file = await task
        except Exception:
            if self._files.get(origin) is task:
                self._forget(origin)
            raise
        if self._files.get(origin) is task and origin not in self._sizes:
            self._sizes[origin] = file.size
            self._held += file.size
        return file

    def _forget(self, origin: str) -> None:
        del self._files[origin]
        self._held -= self._sizes.pop(origin, 0)

    async def _fetch(self, origin: str) -> _File:
        answer = await self._answer(f"{origin}/robots.txt")
        if answer.status in OK:
            return _File(Protego.parse(answer.body.decode("utf-8", "replace")), "", len(answer.body))
        if 300 <= answer.status < 500 and answer.status != 429:
            return _File(None, f"status {answer.status}")
        raise status_failure(answer)

    async def _answer(self, url: str) -> Answer:
        """Returns the first answer that is no redirect, or the last of too many, which count as no file."""
        for _ in range(MAX_REDIRECTS):
            target = self._web.target(url)
            answer = await self._web.get(target, Expectation(MAX_ROBOTS_BYTES))
            if not 300 <= answer.status < 400:
                return answer
            url = redirect_target(target, answer)
        return await self._web.get(self._web.target(url), Expectation(MAX_ROBOTS_BYTES))


def opt_out(tags: Iterable[str], tdm_reservation: str | None, user_agent: str) -> str | None:
    """Returns the header value that refuses use for AI, None when none does.

    Args:
        tags: X-Robots-Tag headers, each "noai, noindex" or "somebot: noai".
        tdm_reservation: the TDM-Reservation header.
        user_agent: values that name another bot are not for us.
    """
    if tdm_reservation is not None and tdm_reservation.strip() == "1":
        return "tdm-reservation: 1"
    for tag in tags:
        bot, colon, rest = tag.partition(":")
        is_named = bool(colon) and "," not in bot and bot.strip().lower() not in VALUED_TAGS
        if is_named and bot.strip() != "*" and bot.strip().lower() not in user_agent.lower():
            continue
        values = {value.strip().lower() for value in (rest if is_named else tag).split(",")}
        if values & OPT_OUT_TAGS:
            return tag
    return None
