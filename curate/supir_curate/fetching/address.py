"""Which hosts may be asked: names are resolved once, every address is checked, and the checked one is connected to.

Place in the flow: `web` resolves every name through `PublicResolver`; `checked_url` looks at each URL first, redirect
targets included; `transfer` looks at each address again before a socket is opened to it. The law: without permission no
byte goes to an address that is not on the public internet, however it is written, and since the connection uses the
very address that was checked, a name that resolves differently a moment later (DNS rebinding) changes nothing.

Source: OWASP server-side request forgery cheat sheet; IANA special-purpose registries through `ipaddress`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

from cachetools import TTLCache

from supir_curate.fetching.url import NoUrl, is_number, read_url

DNS_THREADS = 64  # names are resolved by the system, one a thread
KNOWN_NAMES, KNOWN_S = 100_000, 60.0  # answers that are kept, and for how long
NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "3fff::/20")))
"""What the registries say is not public, or is no longer, and older `ipaddress` lets pass."""


class Reach(NamedTuple):
    """What the fetcher may reach.

    Args:
        private: whether hosts outside the public internet, and any port, are allowed.
        ports: TCP ports of public hosts.
    """

    private: bool
    ports: tuple[int, ...]


class BadUrl(ValueError):  # noqa: N818 - the URL is bad, the code is not
    """The URL may not be asked; the message says why."""


class PrivateAddress(OSError):  # noqa: N818 - says what it is
    """A host is not on the public internet; the message names the address."""


class PublicResolver:
    """Resolves names with the system's resolver and refuses a name if any of its addresses is not public.

    An answer is kept for a minute, that there is no such name too: a list holds many URLs of one host, and a dead name
    may cost a thread ten seconds. What may pass, such as no answer in time, is asked again.

    Args:
        reach: what may be reached.
        timeout_s: after which a name does not resolve; waiting for a thread does not count.
    """

    def __init__(self, reach: Reach, timeout_s: float) -> None:
        self._reach = reach
        self._timeout_s = timeout_s
        self._idle = asyncio.Semaphore(DNS_THREADS)
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns")
        self._known: TTLCache[str, list[str] | socket.gaierror] = TTLCache(KNOWN_NAMES, KNOWN_S)

    async def resolve(self, host: str) -> list[str]:
        """Returns the addresses of a name.

        Raises:
            PrivateAddress: one of them is not public.
            TimeoutError: no answer in time.
            OSError: the name does not resolve.
        """
        found = self._known.get(host)
        if found is None:
            found = self._known[host] = await self._asked(host)
        if isinstance(found, socket.gaierror):
            raise socket.gaierror(*found.args)
        for address in found:
            if not self._reach.private and not is_public(address):
                raise PrivateAddress(f"{host} resolves to {address}")
        return found

    async def _asked(self, host: str) -> list[str] | socket.gaierror:
        """Returns what the system says of a name: its addresses, or that there is no such name."""
        await self._idle.acquire()
        answer = asyncio.get_running_loop().run_in_executor(self._threads, system_addresses, host)
        answer.add_done_callback(self._is_idle)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(answer)
        except socket.gaierror as error:
            if error.errno in NO_SUCH_NAME:
                return socket.gaierror(*error.args)  # without the frames that the caught one holds
            raise

    def _is_idle(self, answer: asyncio.Future[list[str]]) -> None:
        self._idle.release()
        if not answer.cancelled():
            answer.exception()  # nobody may be left to hear it

    def close(self) -> None:
        """Ends the threads; one that still waits for an answer ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def system_addresses(host: str) -> list[str]:
    """Returns the addresses of a name, as the system resolves it, each once.

    Raises:
        OSError: it does not resolve.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


def host_of(text: str) -> str:
    """Returns the host that a URL names, as names are asked for; "" where it names none or is no URL at all."""
    try:
        return read_url(text).host
    except NoUrl:
        return ""


@lru_cache(maxsize=10_000)
def is_public(address: str) -> bool:
    """Returns whether an IP address is on the public internet, IPv4 inside IPv6 included."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _SPECIAL)
    return ip.is_global and not is_special


class Target(NamedTuple):
    """A URL that may be asked.

    Args:
        url: as it was given.
        origin: scheme, host and port.
        host: in lower case, as names are asked for: ASCII, an IPv6 address without brackets.
        port: TCP port.
        wire: the URL that goes to the host, put together from what was checked.
    """

    url: str
    origin: str
    host: str
    port: int
    wire: str


def checked_url(text: str, reach: Reach) -> Target:
    """Returns a URL that may be asked, read as browsers read it.

    Raises:
        BadUrl: not http or https, no host, credentials in it, or a port that is not allowed.
        PrivateAddress: the host is written as an address that is not public.

    Example:
        >>> checked_url("HTTP://Bücher.example/a b/ü%20.jpg?q=ä#part", Reach(private=False, ports=(80,))).wire
        'http://xn--bcher-kva.example/a%20b/%C3%BC%20.jpg?q=%C3%A4'
    """
    try:
        url = read_url(text)
    except NoUrl as error:
        raise BadUrl(str(error)) from error
    if not reach.private:
        if url.port not in reach.ports:
            raise BadUrl(f"port {url.port} is not one of {', '.join(map(str, reach.ports))}")
        if is_number(url.host):
            _require_public(url.host)
    return Target(text, url.origin, url.host, url.port, str(url))


def _require_public(host: str) -> None:
    """Checks a host that is written as an address, which no resolver gets to see.

    Raises:
        BadUrl: it is one of the old forms (127.1, 2130706433, 0x7f.1) that only some programs understand.
        PrivateAddress: it is not public.
    """
    if not is_address(host):
        raise BadUrl(f"host {host!r} is not an address in its full form")
    if not is_public(host):
        raise PrivateAddress(f"{host} is not public")


def is_address(host: str) -> bool:
    """Returns whether a host is an IP address in its full form."""
    if ":" not in host and not host[-1:].isdigit():
        return False
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    except OSError:
        return False
    return True
