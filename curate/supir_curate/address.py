"""Which hosts may be asked: names are resolved once, every address is checked, and the checked one is connected to.

Place in the flow: the fetcher's connector resolves through `PublicResolver`; `checked_url` looks at each URL first,
redirect targets included. The law: without permission no byte goes to an address that is not on the public internet,
however it is written, and since the connection uses the very address that was checked, a name that resolves
differently a moment later (DNS rebinding) changes nothing.

Source: OWASP server-side request forgery cheat sheet; IANA special-purpose registries through `ipaddress`.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


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


class PublicResolver(AbstractResolver):
    """Resolves names with the system's resolver and refuses a name if any of its addresses is not public."""

    def __init__(self) -> None:
        self._system = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Returns the addresses of a host.

        Raises:
            PrivateAddress: one of them is not public.
        """
        results = await self._system.resolve(host, port, family)
        for result in results:
            if not is_public(result["host"]):
                raise PrivateAddress(f"{host} resolves to {result['host']}")
        return results

    async def close(self) -> None:
        """Releases nothing: the system's resolver holds nothing."""


def host_of(url: str) -> str:
    """Returns the host that a URL names, in lower case; "" where it names none or is no URL at all."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_public(address: str) -> bool:
    """Returns whether an IP address is on the public internet, IPv4 inside IPv6 included."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def checked_url(url: str, reach: Reach) -> SplitResult:
    """Returns the parts of a URL that may be asked.

    Raises:
        BadUrl: not http or https, no host, credentials in it, or a port that is not allowed.
        PrivateAddress: the host is written as an address that is not public.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise BadUrl(f"not a URL: {error}") from error
    if parts.scheme not in ("http", "https"):
        raise BadUrl(f"scheme {parts.scheme!r} is not http or https")
    if not parts.hostname:
        raise BadUrl("no host")
    if parts.username is not None or parts.password is not None:
        raise BadUrl("credentials in the URL")
    if reach.private:
        return parts
    if port not in reach.ports:
        raise BadUrl(f"port {port} is not one of {', '.join(map(str, reach.ports))}")
    if _looks_numeric(parts.hostname) and not is_public(parts.hostname):
        raise PrivateAddress(f"{parts.hostname} is not public")
    return parts


def _looks_numeric(host: str) -> bool:
    """Returns whether a host is written as an address, which no resolver gets to see.

    Raises:
        BadUrl: it is one of the old forms (127.1, 2130706433) that only some libraries understand.
    """
    if ":" not in host and not host.replace(".", "").isdigit():
        return False
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError as error:
        raise BadUrl(f"host {host!r} is not an address in its full form") from error
    return True
