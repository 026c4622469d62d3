"""One GET under way: libcurl hands in sockets, headers and bytes, and each is checked before the next comes.

Place in the flow: `web` makes one for every request. The law: a socket is opened to a checked address and port only,
whatever name led there; the head is judged before the body is read, the body's start before the rest; a body above the
cap or cut off is a failure, never a shorter body. Compressed transfer was not asked for; where a body comes so all the
same, it is judged and counted as what it gives, and room for all that it may give is taken before.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pycurl

from supir_curate.fetching.address import Reach, is_public
from supir_curate.fetching.answer import OK, Answer, BadLength, Expectation, FetchFailure
from supir_curate.fetching.coding import codings_of, decoded
from supir_curate.verdict import Reason
from supir_images.formats import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRANT_BYTES = 256 * 1024  # of the fetcher's share, taken at once
IGNORED_BYTES = 64 * 1024  # of an answer other than 200: read to keep the connection, if it is short
STOP = -1  # what a callback answers to end the transfer
DNS, CERTIFICATE = pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_SSL_CACERT
LASTING = (DNS, CERTIFICATE, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_CERTPROBLEM)
CUT_OFF = (pycurl.E_PARTIAL_FILE, pycurl.E_RECV_ERROR)
NO_URL = (pycurl.E_URL_MALFORMAT, pycurl.E_UNSUPPORTED_PROTOCOL)


class Transfer:
    """What has come of one request; its methods are libcurl's callbacks.

    Args:
        url: that was asked.
        expected: what the answer must look like.
        reach: what may be reached.
        go_on: lets the transfer go on after it paused.
    """

    def __init__(self, url: str, expected: Expectation, reach: Reach, go_on: Callable[[], None]) -> None:
        self._url = url
        self._expected = expected
        self._reach = reach
        self._go_on = go_on
        self._status = 0
        self._lines: list[bytes] = []
        self._headers: dict[str, list[str]] = {}
        self._has_head = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._granted = 0  # body bytes that may be held
        self._cleared = 0  # body bytes up to which nothing is left to be judged
        self._is_started = expected.start is None
        self._codings: list[str] = []
        self._fault: Exception | None = None
        self._sockets: list[socket.socket] = []

    def open_socket(self, _purpose: int, place: Any) -> socket.socket | int:
        """Returns a socket for an address that may be reached."""
        address, port = place.addr[:2]
        address = address.decode() if isinstance(address, bytes) else address
        if not self._reach.private:
            if not is_public(address):
                self._fault = FetchFailure(Reason.PRIVATE_ADDRESS, f"{self._url} leads to {address}")
            elif port not in self._reach.ports:
                self._fault = FetchFailure(Reason.BAD_URL, f"{self._url} leads to port {port}")
            if self._fault:
                return int(pycurl.SOCKET_BAD)
        ours = socket.socket(place.family, place.socktype, place.protocol)
        self._sockets.append(ours)  # libcurl works on a duplicate
        return ours

    def take_header(self, line: bytes) -> int | None:
        """Takes one line of the head; after the last one judges the whole."""
        if self._has_head:
            return None  # a trailer
        if line.strip():
            self._lines.append(line)
            return None
        status, *lines = b"".join(self._lines).decode("utf-8", "surrogateescape").split("\n")
        self._lines = []
        words = status.split(None, 2)
        self._status = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
        if self._status < 200:
            return None  # an interim answer, such as 103 Early Hints: the true one follows
        self._has_head = True
        for line_text in lines[:-1]:
            name, _, value = line_text.partition(":")
            self._headers.setdefault(name.strip().lower(), []).append(value.strip())
        return self._guarded(self._judge_head) if self._status in OK else None

    def take_body(self, chunk: bytes) -> int | None:
        """Takes the next bytes of the body, pauses, or ends the transfer."""
        size = self._size + len(chunk)
        if size > self._cleared:
            if self._status not in OK:
                self._size = size
                return STOP if size > IGNORED_BYTES else None
            refusal = self._guarded(lambda: self._judge_body(chunk, size)) or self._clear(size)
            if refusal:
                return refusal
        self._chunks.append(chunk)
        self._size = size
        return None

    def answer(self, address: str | None, code: int, words: str) -> Answer:
        """Returns the answer of a transfer that ended.

        Args:
            address: that answered, if one did.
            code: libcurl's, 0 for a whole answer.
            words: libcurl's, for any other code.

        Raises:
            FetchFailure: it gave no answer, or no whole or wanted body.
        """
        head = Answer(self._url, address, self._status, self._headers, b"") if self._has_head else None
        body = b""
        try:
            if self._fault:
                raise self._fault
            if head and head.status not in OK:
                return head
            is_whole = self._expected.is_whole if code in CUT_OFF and self._is_started else None
            if head is None or (code and not is_whole):
                raise self._connection_failure(code, words)
            body = self._body()
            if is_whole and not is_whole(body):
                raise self._connection_failure(code, words)
            return Answer(self._url, address, head.status, head.headers, body)
        except FetchFailure as failure:
            failure.answer, body = head, b""
            raise
        finally:
            self._chunks = []  # libcurl's handle knows this transfer until its next one
            for ours in self._sockets:
                ours.close()
            if self._expected.share:
                self._expected.share.keep(len(body))

    def _connection_failure(self, code: int, words: str) -> FetchFailure:
        return _connection_failure(code, words, is_connected=bool(self._sockets))

    def _judge_head(self) -> None:
        cap = self._expected.max_bytes
        if self._expected.head:
            self._expected.head(Answer(self._url, None, self._status, self._headers, b""))
        self._codings = codings_of(self._all("content-encoding"))
        announced = next(iter(self._all("content-length")), "")
        if announced.isdecimal() and int(announced) > cap and not self._all("transfer-encoding"):
            raise FetchFailure(Reason.TOO_MANY_BYTES, f"{announced} bytes announced, cap {cap}")

    def _judge_body(self, chunk: bytes, size: int) -> None:
        cap, start = self._expected.max_bytes, self._expected.start
        if size > cap:
            raise FetchFailure(Reason.TOO_MANY_BYTES, f"more than {cap} bytes came")
        if start and not self._is_started and size >= HEAD_BYTES:
            begin = b"".join((*self._chunks, chunk))[:HEAD_BYTES]
            self._is_started = True
            try:
                start(begin)
                self._codings = []  # whatever its header says, it is what was asked for
            except FetchFailure:
                if not self._codings:
                    raise

    def _body(self) -> bytes:
        """Returns the whole body without its codings.

        Raises:
            FetchFailure: it is not what was expected.
        """
        body, start, codings = b"".join(self._chunks), self._expected.start, self._codings
        if start is None or self._is_started:
            body = decoded(body, codings, self._expected.max_bytes)
        if start and (codings or not self._is_started):
            start(body[:HEAD_BYTES])
        return body

    def _clear(self, size: int) -> int | None:
        """Says how far the body may come without being looked at; pauses where it may hold no more."""
        reserved = self._expected.max_bytes if self._codings and self._is_started else 0
        while size + reserved > self._granted:
            share = self._expected.share
            if share is not None and not share.take(GRANT_BYTES, self._go_on):
                return int(pycurl.WRITEFUNC_PAUSE)
            self._granted += GRANT_BYTES
        if self._is_started:
            self._cleared = min(self._granted - reserved, self._expected.max_bytes)
        return None

    def _guarded(self, judge: Callable[[], None]) -> int | None:
        """Runs a check; what it raises ends the transfer and is raised when that has ended."""
        try:
            judge()
        except Exception as fault:
            self._fault = fault
            return STOP
        return None

    def _all(self, name: str) -> Sequence[str]:
        headers: Mapping[str, list[str]] = self._headers
        return headers.get(name, ())


def _connection_failure(code: int, words: str, *, is_connected: bool) -> FetchFailure:
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return FetchFailure(Reason.TIMED_OUT, f"no whole answer in time: {words}", may_pass=True)
    if code in NO_URL:
        if is_connected:  # an answer without a status line has the same code as a scheme that is unknown
            return FetchFailure(Reason.HTTP_ERROR, f"no HTTP answer: {words}")
        return FetchFailure(Reason.BAD_URL, f"not a URL: {words}")
    if code == pycurl.E_FTP_WEIRD_SERVER_REPLY and "content-length" in words.lower():
        return BadLength(Reason.CONNECTION_FAILED, f"curl {code}: {words}")
    # A name that does not resolve or a bad certificate will not change within a minute.
    return FetchFailure(
        Reason.CONNECTION_FAILED, f"curl {code}: {words or 'no answer'}", may_pass=code not in LASTING
    )
