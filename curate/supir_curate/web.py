"""One guarded GET: a checked host, a whole body under the byte cap, or a failure with its reason.

Place in the flow: `robots` and `fetch` ask the web through `Web.get` and nothing else does. The law: a body is whole
or it is a failure, never cut off; compressed transfer is refused, so the cap counts what is stored; redirects are
returned, not followed, so that the caller checks each hop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urljoin

import aiohttp
from aiohttp.connector import Connection
from multidict import CIMultiDictProxy

from supir_curate.address import BadUrl, PrivateAddress, PublicResolver, Reach, checked_url
from supir_curate.config import FetchConfig
from supir_curate.pace import HostPace
from supir_curate.verdict import Reason

CHUNK_BYTES = 64 * 1024
START_BYTES = 12  # RIFF....WEBP is the longest mark
RETRIED_STATUSES = (429, 500, 502, 503, 504)
MAX_DETAIL = 200  # characters of a server's or library's words in the ledger
MAX_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered to one request.

    Args:
        url: the URL that was asked.
        address: the IP address that answered.
        status: HTTP status.
        headers: as received.
        body: the whole body of a 200 answer, b"" of any other.
    """

    url: str
    address: str | None
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class FetchFailure(Exception):  # noqa: N818 - an outcome, not a defect
    """A request that gave no body.

    Args:
        reason: for counting.
        detail: what was seen.
        may_pass: whether a retry makes sense.
        retry_after_s: seconds that the host asks to wait before one.
    """

    def __init__(
        self, reason: Reason, detail: str, *, may_pass: bool = False, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(detail[:MAX_DETAIL])
        self.reason = reason
        self.may_pass = may_pass
        self.retry_after_s = retry_after_s
        self.answer: Answer | None = None  # where one came


class Expectation(NamedTuple):
    """What a 200 answer must look like to be read; each function raises FetchFailure when it does not.

    Args:
        max_bytes: cap on the body.
        head: sees the answer before its body is read.
        start: sees the first 12 bytes, or the whole of a shorter body.
    """

    max_bytes: int
    head: Callable[[Answer], None] | None = None
    start: Callable[[bytes], None] | None = None


class Web:
    """A session that asks politely and only where it may.

    Args:
        config: user agent, ports, pace and time cap.
        allow_private: whether hosts outside the public internet may be asked, at any port.
        num_fetchers: how many fetchers share the pace; each starts requests that many times slower.
    """

    def __init__(self, config: FetchConfig, *, allow_private: bool, num_fetchers: int = 1) -> None:
        pace = config.pace
        self._reach = Reach(private=allow_private, ports=config.policy.allowed_ports)
        self.pace = HostPace(pace.per_host_concurrency, pace.per_host_delay_s * num_fetchers)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=pace.concurrency, resolver=None if allow_private else PublicResolver()
            ),
            headers={"User-Agent": config.policy.user_agent, "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_PeerResponse,
            timeout=aiohttp.ClientTimeout(total=pace.timeout_s),
            auto_decompress=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Web:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, url: str, expected: Expectation) -> Answer:
        """Returns the answer to one GET; a redirect or an error status is an answer like any other.

        Raises:
            FetchFailure: nothing may be or could be had from that URL.
        """
        host = self.checked_host(url)
        head: Answer | None = None
        try:
            async with self.pace.turn(host), self._session.get(url, allow_redirects=False) as response:
                peer = response.peer if isinstance(response, _PeerResponse) else None
                head = Answer(url, peer, response.status, response.headers, b"")
                if response.status != 200:
                    return head
                if expected.head:
                    expected.head(head)
                return replace(head, body=await _body(response, expected))
        except FetchFailure as failure:
            failure.answer = head
            raise
        except TimeoutError as error:
            raise _after(head, Reason.TIMED_OUT, f"{host}: no whole answer in time", may_pass=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason, detail, may_pass = _connection_failure(error)
            raise _after(head, reason, detail, may_pass=may_pass) from error

    def checked_host(self, url: str) -> str:
        """Returns the host of a URL that may be asked.

        Raises:
            FetchFailure: it is no such URL, or is written with an address that is not public.
        """
        try:
            return checked_url(url, self._reach).hostname or ""
        except BadUrl as error:
            raise FetchFailure(Reason.BAD_URL, str(error)) from error
        except PrivateAddress as error:
            raise FetchFailure(Reason.PRIVATE_ADDRESS, str(error)) from error


def redirect_target(answer: Answer) -> str:
    """Returns the URL that a redirect leads to; it is not checked yet.

    Raises:
        FetchFailure: its Location is no URL.
    """
    location = answer.headers.get("Location", "")
    try:
        return urljoin(answer.url, location)
    except ValueError as error:
        raise FetchFailure(Reason.BAD_URL, f"redirected to {location!r}: {error}") from error


def status_failure(answer: Answer) -> FetchFailure:
    """Returns the failure that an answer other than 200 is, with the pause that it asks for, at most a minute."""
    wanted = answer.headers.get("Retry-After", "")
    return FetchFailure(
        Reason.HTTP_ERROR,
        f"status {answer.status}",
        may_pass=answer.status in RETRIED_STATUSES,
        retry_after_s=min(float(wanted), MAX_RETRY_AFTER_S) if wanted.isdecimal() else 0.0,
    )


class _PeerResponse(aiohttp.ClientResponse):
    """A response that remembers which address answered; the connection itself is gone once a short body is read."""

    peer: str | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        transport = connection.transport
        address = transport.get_extra_info("peername") if transport else None
        self.peer = str(address[0]) if address else None
        return await super().start(connection)


async def _body(response: aiohttp.ClientResponse, expected: Expectation) -> bytes:
    cap = expected.max_bytes
    if response.content_length is not None and response.content_length > cap:
        raise FetchFailure(Reason.TOO_MANY_BYTES, f"{response.content_length} bytes announced, cap {cap}")
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise FetchFailure(Reason.HTTP_ERROR, f"Content-Encoding {encoding} was not asked for")
    body = bytearray()
    seen_start = expected.start is None
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > cap:
            raise FetchFailure(Reason.TOO_MANY_BYTES, f"more than {cap} bytes came")
        if not seen_start and expected.start and len(body) >= START_BYTES:
            expected.start(bytes(body[:START_BYTES]))
            seen_start = True
    if not seen_start and expected.start:
        expected.start(bytes(body))
    return bytes(body)


def _after(head: Answer | None, reason: Reason, detail: str, *, may_pass: bool) -> FetchFailure:
    failure = FetchFailure(reason, detail, may_pass=may_pass)
    failure.answer = head
    return failure


def _connection_failure(error: Exception) -> tuple[Reason, str, bool]:
    """Returns the reason, the detail, and whether a retry makes sense."""
    cause = getattr(error, "os_error", None) or error.__cause__ or error
    if isinstance(cause, PrivateAddress):
        return Reason.PRIVATE_ADDRESS, str(cause), False
    # Certificate errors are ValueErrors too.
    if isinstance(error, aiohttp.InvalidURL) or not isinstance(error, (aiohttp.ClientError, OSError)):
        return Reason.BAD_URL, f"not a URL: {error}", False
    # A name that does not resolve or a bad certificate will not change within a minute.
    lasting = isinstance(error, (aiohttp.ClientConnectorDNSError, aiohttp.ClientConnectorCertificateError))
    return Reason.CONNECTION_FAILED, f"{type(error).__name__}: {error}", not lasting
