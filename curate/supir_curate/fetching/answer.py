"""What a host answered to one request, what is expected of it, and why there is none.

Place in the flow: `transfer` makes answers, `web` hands them to `robots` and `fetch`. The law: a body is whole or the
answer is a failure with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from supir_curate.fetching.held import Share
from supir_curate.verdict import Reason

OK = (200, 203)  # statuses whose body is what was asked for
MAX_DETAIL = 200  # characters of a server's or library's words in the ledger


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered to one request.

    Args:
        url: the URL that was asked.
        address: the IP address that answered.
        status: HTTP status.
        headers: values as received, by name in lower case; bytes that are not UTF-8 are surrogates.
        body: the whole body, without its content codings, where the status is one of `OK`; b"" of any other.
    """

    url: str
    address: str | None
    status: int
    headers: Mapping[str, Sequence[str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Returns the first value of a header, given in lower case; None where it was not sent."""
        values = self.headers.get(name)
        return values[0] if values else None


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


class BadLength(FetchFailure):
    """A Content-Length that is no number, or two that differ: browsers read on until the connection ends."""


class Expectation(NamedTuple):
    """What an answer must look like to be read; `head` and `start` raise FetchFailure when it does not.

    Args:
        max_bytes: cap on the body, as it comes and without its content codings.
        head: sees the answer before its body is read.
        start: sees the first 12 bytes, or the whole of a shorter body.
        is_whole: says whether a body is whole by its own marks, though the host announced more of it.
        share: of the bytes that the fetcher holds; None where the cap is small.
    """

    max_bytes: int
    head: Callable[[Answer], None] | None = None
    start: Callable[[bytes], None] | None = None
    is_whole: Callable[[bytes], bool] | None = None
    share: Share | None = None
