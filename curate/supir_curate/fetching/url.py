"""A URL as browsers read it: taken apart, its host in ASCII, its path without dots, its letters encoded.

Place in the flow: `address` asks here what a URL names before it says whether that may be asked; `web` follows
redirects through `joined`. The law: what is checked, what robots.txt is asked about and what goes to the host are one
and the same text, so no way of writing a URL leads past a check.

Source: WHATWG URL Standard (basic URL parser, host parser, percent-encode sets); UTS #46 with its parameters there:
non-transitional, CheckJoiners and CheckBidi, no STD3 rules. Deviations, each on the safe side: no credentials, no host
left out (`http:///a.jpg` names none here), and numbers as hosts are for `address` to refuse. Names in letters of other
scripts are IDNA 2008's by the `idna` package, but for code points that only UTS #46 allows, such as emoji.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urljoin

MAX_LABEL, MAX_HOST = 63, 253  # letters, as names are asked for
DEFAULT_PORTS = {"http": 80, "https": 443}
PATH_LETTERS = "%/:@!$&'()*+,;=~-._[]|\\"  # besides letters and digits; a backslash never gets here
QUERY_LETTERS = "%/?:@!$&()*+,;=~-._[]|\\^`{}"

_PLAIN = re.compile(r"[%/:@!$&()*+,;=~\-._A-Za-z0-9]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_OUTER = "".join(map(chr, range(0x21)))  # control characters and the space
_INNER = re.compile(r"[\t\n\r]")
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x20#/:<>?@\[\\\]^|%\x7f]")  # code points of no domain
_NUMBER = re.compile(r"\d+|0[xX][0-9a-fA-F]*")
_JOINERS = "\u200c\u200d"


class NoUrl(ValueError):  # noqa: N818 - says what it is
    """A text is no http or https URL; the message says why."""


class Url(NamedTuple):
    """A URL taken apart.

    Args:
        scheme: "http" or "https".
        host: in lower case, as names are asked for: ASCII; an IPv6 address without brackets.
        port: TCP port; the scheme's own where none is named.
        path: begins with a slash; letters that may stand there, no "." or "..".
        query: without its question mark; None without one.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None

    @property
    def origin(self) -> str:
        """Scheme, host and, unless it is the scheme's own, port."""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{bracketed(self.host)}{port}"

    def __str__(self) -> str:
        return f"{self.origin}{self.path}{'' if self.query is None else f'?{self.query}'}"


def read_url(text: str) -> Url:
    r"""Returns a URL taken apart; its fragment is left out.

    Raises:
        NoUrl: it is none, not http or https, names no host, or holds credentials.

    Example:
        >>> print(read_url(" HTTP:\\\\faß.EXAMPLE:80\\a b/../ü%20.jpg?q=ä#part"))
        http://xn--fa-hia.example/%C3%BC%20.jpg?q=%C3%A4
    """
    text = _INNER.sub("", text.strip(_OUTER))
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    if scheme not in DEFAULT_PORTS:
        raise NoUrl(f"scheme {scheme!r} is not http or https")
    rest = text[len(scheme) + 1 :].partition("#")[0]
    rest, mark, query = rest.partition("?")
    rest = rest.replace("\\", "/")
    slashes = len(rest) - len(rest.lstrip("/"))
    authority, _, path = rest[min(slashes, 2) :].partition("/")
    if "@" in authority:
        raise NoUrl("credentials in the URL")
    host, port = _host_and_port(authority, scheme)
    return Url(scheme, host, port, _path(path), _encoded(query, QUERY_LETTERS) if mark else None)


def joined(base: str, location: bytes) -> str:
    """Returns the URL that a Location header leads to; it is not checked yet.

    Args:
        base: that was asked, as it went to the host.
        location: as received; bytes that are not ASCII count as they are, whatever letters they were meant for.

    Raises:
        ValueError: it is no URL.
    """
    text = quote(location, safe="".join(map(chr, range(0x80))))
    text = _INNER.sub("", text.strip(_OUTER))
    found = _SCHEME.match(text)
    if found and found[1].lower() not in DEFAULT_PORTS:
        return text  # to be refused
    place, mark, rest = re.split(r"([?#]|$)", text, maxsplit=1)
    return urljoin(base, f"{place.replace(chr(92), '/')}{mark}{rest}")


def bracketed(host: str) -> str:
    """Returns a host as URLs write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_number(host: str) -> bool:
    """Returns whether a host ends in a number, which browsers then take for an IPv4 address, or is one of IPv6."""
    return ":" in host or bool(_NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]))


def ascii_host(host: str) -> str:
    """Returns a host's name as it is asked for, in lower case.

    Raises:
        NoUrl: it is no name.

    Example:
        >>> ascii_host("B%C3%BCcher.example"), ascii_host("ｆａß。de"), ascii_host("my_photos.example.")
        ('xn--bcher-kva.example', 'xn--fa-hia.de', 'my_photos.example.')
    """
    if "%" in host:
        host = unquote_to_bytes(host).decode("utf-8", "replace")
    try:
        name = host.lower() if host.isascii() and "xn--" not in host.lower() else _by_idna(host)
    except UnicodeError as error:  # idna's errors are such
        raise NoUrl(f"not a URL: host {host!r} is no name: {error}") from error
    labels = name.removesuffix(".").split(".")
    if _FORBIDDEN.search(name) or not all(0 < len(label) <= MAX_LABEL for label in labels):
        raise NoUrl(f"not a URL: host {host!r} is no name")
    if len(name) > MAX_HOST + name.endswith("."):
        raise NoUrl(f"not a URL: host {host[:40]!r}… is longer than {MAX_HOST} letters")
    return name


def _by_idna(host: str) -> str:
    import idna

    labels = idna.uts46_remap(host, std3_rules=False).split(".")
    told = [_told(label) for label in labels]
    if _is_bidi(told):
        for label in filter(None, told):
            idna.check_bidi(label, check_ltr=True)
    return ".".join(map(_ascii_label, told))


def _is_bidi(labels: list[str]) -> bool:
    """Returns whether a name has letters that are written from right to left: RFC 5893's rule then holds for all."""
    from unicodedata import bidirectional

    return any(bidirectional(letter) in ("R", "AL", "AN") for label in labels for letter in label)


def _told(label: str) -> str:
    """Returns a label in its own letters; one that came in ASCII must be what its letters give."""
    import idna

    if not label.startswith("xn--"):
        return label
    letters = label[4:].encode().decode("punycode")
    if letters.isascii() or idna.uts46_remap(letters, std3_rules=False) != letters:
        raise idna.IDNAError(f"{label!r} stands for no label")
    return letters


def _ascii_label(label: str) -> str:
    import idna

    if label.isascii():
        return label
    idna.check_initial_combiner(label)
    for place, letter in enumerate(label):
        if letter in _JOINERS and not idna.valid_contextj(label, place):
            raise idna.IDNAError(f"joiner U+{ord(letter):04X} may not stand in {label!r}")
    return f"xn--{label.encode('punycode').decode()}"


@lru_cache(maxsize=10_000)
def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    """Returns host and port of what stands between "//" and the path."""
    found = re.fullmatch(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(.*))?", authority, flags=re.DOTALL)
    if not found:
        raise NoUrl(f"not a URL: {authority!r} is no host and port")
    host, port = found[1], found[2] or str(DEFAULT_PORTS[scheme])
    if not host:
        raise NoUrl("no host")
    if not (port.isascii() and port.isdecimal()) or len(port.lstrip("0")) > 5 or int(port) > 65535:
        raise NoUrl(f"not a URL: port {port!r} is none of 0 to 65535")
    return (_ipv6(host[1:-1]) if host.startswith("[") else ascii_host(host)), int(port)


def _ipv6(host: str) -> str:
    from ipaddress import AddressValueError, IPv6Address

    try:
        return str(IPv6Address(host))
    except AddressValueError as error:
        raise NoUrl(f"not a URL: [{host}] is no address: {error}") from error


def _path(path: str) -> str:
    """Returns a path, without its first slash, as it is asked for: dots resolved, letters encoded."""
    if "." not in path and "%2" not in path:
        return f"/{_encoded(path, PATH_LETTERS)}"
    segments: list[str] = []
    given = path.split("/")
    for segment in given:
        dots = _DOT.sub(".", segment) if len(segment) <= 6 else ""
        if dots == "..":
            del segments[-1:]
        elif dots != ".":
            segments.append(segment)
    if _DOT.sub(".", given[-1]) in (".", ".."):
        segments.append("")
    return f"/{_encoded('/'.join(segments), PATH_LETTERS)}"


def _encoded(text: str, letters: str) -> str:
    """Returns a path or query in letters that may stand there; most are so already."""
    if _PLAIN.fullmatch(text):
        return text
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a character is none
    return quote(whole, safe=letters)
