"""URLs in, original bytes out: asynchronous, polite, and with its evidence.

Place in the flow: for URL sources, before `score`; a part's result is its spool file. The law: every candidate comes
out once, with bytes that begin like a picture or with a reason, whatever it makes go wrong; each redirect is checked
like the first URL, robots.txt included; a failure that may pass is tried again with growing pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace

from supir_curate.config import FetchConfig
from supir_curate.fetching.address import Target
from supir_curate.fetching.answer import MAX_DETAIL, OK, Answer, Expectation, FetchFailure
from supir_curate.fetching.held import Held, Share
from supir_curate.fetching.in_order import in_order
from supir_curate.fetching.pace import Sharing
from supir_curate.fetching.robots import Robots, opt_out
from supir_curate.fetching.web import Web, redirect_target, status_failure
from supir_curate.sources.candidate import Candidate
from supir_curate.sources.originals import Evidence, Original, spool_path, valid_text, verified, write_spool
from supir_curate.sources.plan import read_candidates
from supir_curate.verdict import Reason
from supir_images.formats import how_to_read, is_readable, kind_of
from supir_shards import Store

JPEG_START = b"\xff\xd8"  # stray bytes may follow, which decoders pass over
PICTURE_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82", b"\x00;")  # of JPEG, PNG and GIF
PADDING = b"\x00\r\n"  # that some servers leave behind a picture
REDIRECTS = (301, 302, 303, 307, 308)
AHEAD = 8  # candidates of a part that were begun and have not ended, as a multiple of the concurrency
HELD_BYTES = 2 * 2**20
"""Of bodies that a fetcher holds, a request that may be under way, whatever servers send."""


class Fetcher:
    """Fetches parts; one a node is enough. Made inside a running event loop's process, opened on first use.

    Args:
        config: what may be fetched, and how fast.
        allow_private: whether hosts outside the public internet may be asked.
        num_fetchers: fetchers that share the pace.
        number: of this one among them, from 0.
    """

    def __init__(self, config: FetchConfig, allow_private: bool, num_fetchers: int, number: int = 0) -> None:
        self._config = config
        self._allow_private = allow_private
        self._sharing = Sharing(number, num_fetchers)
        self._held = Held(HELD_BYTES * config.pace.concurrency)
        self._web: Web | None = None
        self._robots: Robots | None = None

    async def fetch_part(self, dataset: str, part: str) -> str:
        """Fetches a part into its spool file unless that is there; returns the part's name."""
        store = Store(dataset)
        if not store.exists(spool_path(part)):
            await write_spool(store, part, self.originals(read_candidates(store, part)))
        return part

    async def close(self) -> None:
        """Closes the connections."""
        if self._web is not None:
            await self._web.__aexit__(None, None, None)
            self._web = self._robots = None

    def originals(self, candidates: Iterable[Candidate]) -> AsyncIterator[list[Original]]:
        """Yields every candidate once with its bytes or its reason, some at a time: see `in_order`."""
        self._opened()
        return in_order(candidates, self._original, self._held, AHEAD * self._config.pace.concurrency)

    async def _original(self, row: int, candidate: Candidate, share: Share) -> Original:
        base = Original(row=row, url=candidate.url, text=candidate.text, licence=candidate.licence)
        if candidate.reason is not None:
            return replace(base, reason=candidate.reason, detail=candidate.detail)
        pace = self._config.pace
        for attempt in range(pace.retries + 1):
            trace = Trace()
            try:
                data = await self._picture(candidate.url, trace, share)
                return verified(replace(base, data=data, evidence=trace.evidence()), candidate)
            except FetchFailure as failure:
                if failure.answer is not None:
                    trace.answers.append(failure.answer)
                if not failure.may_pass or attempt == pace.retries:
                    return _failed(base, failure.reason, str(failure), trace)
                await asyncio.sleep(max(pace.backoff_s * 2**attempt, failure.retry_after_s))
            # One odd URL must not end a crawl of millions; what we choked on stands in the ledger.
            except Exception as error:
                return _failed(
                    base, Reason.UNEXPECTED, f"{type(error).__name__}: {error}"[:MAX_DETAIL], trace
                )
        raise AssertionError("every attempt returns or raises")

    async def _picture(self, url: str, trace: Trace, share: Share) -> bytes:
        web, robots = self._opened()
        policy = self._config.policy
        expected = Expectation(policy.max_bytes, self._judge_head, _require_picture, _is_whole, share)
        for _ in range(policy.max_redirects + 1):
            target = web.target(url)
            if policy.honour_robots:
                await _require_robots(robots, target, trace)
            answer = await web.get(target, expected)
            trace.answers.append(answer)
            if answer.status in OK:
                return answer.body
            if answer.status not in REDIRECTS or answer.header("location") is None:
                raise status_failure(answer)
            url = redirect_target(target, answer)
        raise FetchFailure(Reason.TOO_MANY_REDIRECTS, f"more than {policy.max_redirects}")

    def _judge_head(self, answer: Answer) -> None:
        """Refuses an answer whose headers refuse use for AI; what its Content-Type says decides nothing."""
        policy = self._config.policy
        tags = answer.headers.get("x-robots-tag", ())
        refusal = opt_out(tags, answer.header("tdm-reservation"), policy.user_agent)
        if policy.honour_opt_out and refusal:
            raise FetchFailure(Reason.OPTED_OUT, refusal)

    def _opened(self) -> tuple[Web, Robots]:
        if self._web is None or self._robots is None:
            self._web = Web(self._config, allow_private=self._allow_private, sharing=self._sharing)
            self._robots = Robots(self._web, self._config.policy.user_agent)
        return self._web, self._robots


@dataclass(slots=True)
class Trace:
    """What one attempt met on its way: the answers in order, and the last word of a robots.txt."""

    answers: list[Answer] = field(default_factory=list)
    robots: str | None = None

    def evidence(self) -> Evidence:
        """Returns the evidence for the ledger."""
        if not self.answers:
            return Evidence(robots=self.robots and valid_text(self.robots))
        last = self.answers[-1]
        texts = {
            "final_url": last.url,
            "address": last.address,
            "content_type": last.header("content-type"),
            "etag": last.header("etag"),
            "redirects": "\n".join(answer.url for answer in self.answers[:-1]),
            "robots": self.robots,
            "x_robots_tag": ", ".join(last.headers.get("x-robots-tag", ())),
            "fetched": last.header("date"),
        }
        known = {name: valid_text(text) for name, text in texts.items() if text}
        return Evidence(http_status=last.status, **known)


def _failed(base: Original, reason: Reason, detail: str, trace: Trace) -> Original:
    return replace(base, reason=reason, detail=valid_text(detail), evidence=trace.evidence())


async def _require_robots(robots: Robots, target: Target, trace: Trace) -> None:
    """Raises FetchFailure where robots.txt says no, or as long as it cannot be had, with the true reason."""
    try:
        verdict = await robots.verdict(target)
    except FetchFailure as failure:
        trace.robots = str(failure)
        raise FetchFailure(
            failure.reason,
            f"robots.txt: {failure}",
            may_pass=failure.may_pass,
            retry_after_s=failure.retry_after_s,
        ) from failure
    trace.robots = verdict.said
    if not verdict.allowed:
        raise FetchFailure(Reason.ROBOTS_DISALLOWED, f"robots.txt of {target.url}: {verdict.said}")


def _require_picture(start: bytes) -> None:
    """Stops a download whose first bytes are not those of a kind of picture that can be read here."""
    kind = "jpg" if start.startswith(JPEG_START) else kind_of(start)
    if kind is None:
        raise FetchFailure(Reason.NOT_AN_IMAGE, f"the body begins {start[:12].hex() or '(empty)'}")
    if not is_readable(kind):
        raise FetchFailure(Reason.NO_READER, f"a {kind} picture: {how_to_read(kind)}")


def _is_whole(body: bytes) -> bool:
    """Returns whether a picture ends as its format does, for servers that announce more than they have."""
    if body.startswith(b"RIFF"):
        return len(body) >= int.from_bytes(body[4:8], "little") + 8
    return body.rstrip(PADDING).endswith(PICTURE_ENDS)
