"""One guarded GET: a checked host, a whole body under the byte cap, or a failure with its reason.

Place in the flow: `robots` and `fetch` ask the web through `Web.get` and nothing else does; libcurl carries it. The
law: a name is resolved here, all its addresses are checked, and libcurl connects to those alone; redirects are
returned, not followed, so that the caller checks each hop; nothing of the environment (proxies, cookies, netrc) is
used.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from types import TracebackType

import pycurl

from supir_curate.config import FetchConfig
from supir_curate.fetching.address import (
    BadUrl,
    PrivateAddress,
    PublicResolver,
    Reach,
    Target,
    checked_url,
    is_address,
)
from supir_curate.fetching.answer import Answer, BadLength, Expectation, FetchFailure
from supir_curate.fetching.pace import ALONE, HostPace, Sharing
from supir_curate.fetching.transfer import Transfer
from supir_curate.fetching.url import bracketed, joined
from supir_curate.verdict import Reason

RECEIVE_BYTES = 256 * 1024  # that libcurl hands over at once
RETRIED_STATUSES = (429, 500, 502, 503, 504)
MAX_RETRY_AFTER_S = 60.0

Options = Mapping[int, int | list[str]]
LENGTH_COUNTS: Options = {
    pycurl.IGNORE_CONTENT_LENGTH: 0,
    pycurl.HTTPHEADER: ["Accept-Encoding: identity"],
}
LENGTH_IGNORED: Options = {
    pycurl.IGNORE_CONTENT_LENGTH: 1,  # the body then ends with the connection
    pycurl.HTTPHEADER: ["Accept-Encoding: identity", "Connection: close"],
}


class Web:
    """A session that asks politely and only where it may; made inside the running event loop.

    Args:
        config: user agent, ports, pace and time cap.
        allow_private: whether hosts outside the public internet may be asked, at any port.
        sharing: which of several fetchers this is; they share the pace.
    """

    def __init__(self, config: FetchConfig, *, allow_private: bool, sharing: Sharing = ALONE) -> None:
        pace = config.pace
        self._reach = Reach(private=allow_private, ports=config.policy.allowed_ports)
        self._resolver = PublicResolver(self._reach, pace.timeout_s)
        self.pace = HostPace(pace.per_host_concurrency, pace.per_host_delay_s, sharing)
        self._timeout_s = pace.timeout_s
        self._user_agent = config.policy.user_agent
        self._certificates = ssl.get_default_verify_paths()
        self._multi = pycurl.AsyncCurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, pace.concurrency)
        # Whoever has a handle may ask: there are as many as requests may be under way.
        self._handles: asyncio.LifoQueue[pycurl.Curl] = asyncio.LifoQueue()
        self._refused: set[pycurl.Curl] = set()  # while they were paused
        self._names: Counter[str] = Counter()  # of the requests under way
        self._unused: list[str] = []  # names that libcurl still knows, each as it is told to forget it
        for _ in range(pace.concurrency):
            self._handles.put_nowait(self._new_handle())

    async def __aenter__(self) -> Web:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._multi.aclose()
        self._resolver.close()

    def target(self, url: str) -> Target:
        """Returns a URL that may be asked.

        Raises:
            FetchFailure: it is no such URL, or is written with an address that is not public.
        """
        try:
            return checked_url(url, self._reach)
        except BadUrl as error:
            raise FetchFailure(Reason.BAD_URL, str(error)) from error
        except PrivateAddress as error:
            raise FetchFailure(Reason.PRIVATE_ADDRESS, str(error)) from error

    async def get(self, target: Target, expected: Expectation) -> Answer:
        """Returns the answer to one GET; a redirect or an error status is an answer like any other.

        Raises:
            FetchFailure: nothing may be or could be had from that URL.
        """
        try:
            return await self._got(target, expected, LENGTH_COUNTS)
        except BadLength:
            return await self._got(target, expected, LENGTH_IGNORED)

    async def _got(self, target: Target, expected: Expectation, options: Options) -> Answer:
        async with self.pace.turn(target.host):
            addresses = [] if is_address(target.host) else await self._addresses(target)
            curl = await self._handles.get()
            try:
                with self._told(curl, target, addresses):
                    transfer = Transfer(target.url, expected, self._reach, partial(self._go_on, curl))
                    _prepare(curl, target, transfer, options)
                    code, words = await self._run(curl)
                return transfer.answer(curl.getinfo(pycurl.PRIMARY_IP) or None, code, words)
            finally:
                self._handles.put_nowait(curl)

    @contextmanager
    def _told(self, curl: pycurl.Curl, target: Target, addresses: list[str]) -> Iterator[None]:
        """Tells libcurl a name's addresses, and to forget them after the last request that needs them.

        With every request libcurl walks through all the names that it knows.
        """
        if not addresses:
            curl.unsetopt(pycurl.RESOLVE)
            yield
            return
        name = f"{target.host}:{target.port}"
        curl.setopt(pycurl.RESOLVE, [*self._unused, f"{name}:{','.join(map(bracketed, addresses))}"])
        self._unused = []
        self._names[name] += 1
        try:
            yield
        finally:
            self._names[name] -= 1
            if not self._names[name]:
                del self._names[name]
                self._unused.append(f"-{name}")

    async def _run(self, curl: pycurl.Curl) -> tuple[int, str]:
        """Returns libcurl's code and words for how a transfer ended, 0 for a whole answer."""
        try:
            await self._multi.perform(curl)
        except pycurl.error as error:
            return error.args[0], str(error.args[1])
        except asyncio.CancelledError:
            if curl not in self._refused:
                raise
            self._refused.remove(curl)
            return pycurl.E_WRITE_ERROR, "refused"
        return 0, ""

    def _go_on(self, curl: pycurl.Curl) -> None:
        """Lets a paused transfer go on."""
        try:
            curl.pause(pycurl.PAUSE_CONT)
        except (
            pycurl.error
        ):  # the bytes that had waited were refused, and nothing else would end the transfer
            self._refused.add(curl)
            self._multi.remove_handle(curl)

    async def _addresses(self, target: Target) -> list[str]:
        """Returns the addresses of a name; all of them may be connected to."""
        try:
            return await self._resolver.resolve(target.host)
        except PrivateAddress as error:
            raise FetchFailure(Reason.PRIVATE_ADDRESS, str(error)) from error
        except ValueError as error:  # a name with a label of more than 63 letters, say
            raise FetchFailure(Reason.BAD_URL, f"not a URL: {error}") from error
        except TimeoutError as error:
            detail = f"{target.host}: its name is not resolved in time"
            raise FetchFailure(Reason.TIMED_OUT, detail, may_pass=True) from error
        except OSError as error:  # such a name will not change within a minute
            raise FetchFailure(Reason.CONNECTION_FAILED, f"{type(error).__name__}: {error}") from error

    def _new_handle(self) -> pycurl.Curl:
        """Returns a handle with what all requests share."""
        curl = pycurl.Curl()
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.USERAGENT, self._user_agent)
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(self._timeout_s * 1000)))
        curl.setopt(pycurl.BUFFERSIZE, RECEIVE_BYTES)
        curl.setopt(pycurl.DNS_CACHE_TIMEOUT, 0)  # but for names that it is told
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.NOSIGNAL, 1)
        if self._certificates.cafile:
            curl.setopt(pycurl.CAINFO, self._certificates.cafile)
        elif self._certificates.capath:
            curl.setopt(pycurl.CAPATH, self._certificates.capath)
        return curl


def _prepare(curl: pycurl.Curl, target: Target, transfer: Transfer, options: Options) -> None:
    for option, value in options.items():
        curl.setopt(option, value)
    curl.setopt(pycurl.URL, target.wire)
    curl.setopt(pycurl.OPENSOCKETFUNCTION, transfer.open_socket)
    curl.setopt(pycurl.HEADERFUNCTION, transfer.take_header)
    curl.setopt(pycurl.WRITEFUNCTION, transfer.take_body)


def redirect_target(target: Target, answer: Answer) -> str:
    """Returns the URL that a redirect leads to; it is not checked yet.

    Args:
        target: what was asked.
        answer: its answer.

    Raises:
        FetchFailure: its Location is no URL.
    """
    location = answer.header("location") or ""
    try:
        return joined(target.wire, location.encode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise FetchFailure(Reason.BAD_URL, f"redirected to {location!r}: {error}") from error


def status_failure(answer: Answer) -> FetchFailure:
    """Returns the failure that an answer of another status is, with the pause that it asks for, at most a minute."""
    wanted = _seconds(answer.header("retry-after") or "")
    return FetchFailure(
        Reason.HTTP_ERROR,
        f"status {answer.status}",
        may_pass=answer.status in RETRIED_STATUSES,
        retry_after_s=min(max(wanted, 0.0), MAX_RETRY_AFTER_S),
    )


def _seconds(wanted: str) -> float:
    """Returns the seconds of a Retry-After header, which gives them or a date; 0 where it gives neither."""
    if wanted.isdecimal():
        return float(wanted)
    try:
        return parsedate_to_datetime(wanted).timestamp() - time.time()
    except ValueError:
        return 0.0
