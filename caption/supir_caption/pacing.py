"""When the next request may go out: the limits of a minute, and the pause that a server asks for.

Place in the flow: `openai_model`'s threads ask it before every request. The law: in no minute do more requests
or tokens begin than allowed, and nobody sends while the server has asked for quiet.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

_MINUTE_S = 60.0


class Pacing:
    """Limits of one minute, shared by threads.

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: None for no limit; until a request is answered it counts as the mean of the answered.
        clock: seconds, rising.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._requests, self._tokens = requests_per_minute, tokens_per_minute
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._begun: deque[list[float]] = deque()  # [second, tokens] of the last minute, in order
        self._quiet_until = 0.0
        self._answered, self._answered_tokens = 0, 0.0

    def begin(self) -> list[float]:
        """Waits until a request may go out; returns its entry, for `answered`."""
        while True:
            with self._lock:
                wait_s = self._wait_s(self._clock())
                if wait_s <= 0:
                    entry = [self._clock(), self._expected_tokens()]
                    self._begun.append(entry)
                    return entry
            self._sleep(wait_s)

    def answered(self, entry: list[float], tokens: int) -> None:
        """Tells what a request took."""
        with self._lock:
            entry[1] = tokens
            self._answered += 1
            self._answered_tokens += tokens

    def quiet(self, seconds: float) -> None:
        """Nothing goes out for so long."""
        with self._lock:
            self._quiet_until = max(self._quiet_until, self._clock() + seconds)

    def _expected_tokens(self) -> float:
        return self._answered_tokens / self._answered if self._answered else 0.0

    def _wait_s(self, now: float) -> float:
        if now < self._quiet_until:
            return self._quiet_until - now
        while self._begun and self._begun[0][0] <= now - _MINUTE_S:
            self._begun.popleft()
        if not self._begun:
            return 0.0
        until_one_leaves = self._begun[0][0] + _MINUTE_S - now
        if self._requests is not None and len(self._begun) + 1 > max(1.0, self._requests):
            return until_one_leaves
        used = sum(tokens for _, tokens in self._begun)
        if self._tokens is not None and used + self._expected_tokens() > self._tokens:
            return until_one_leaves
        return 0.0
