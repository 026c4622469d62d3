"""Progress on stderr: a bar with rate and ETA on a terminal, plain lines every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LINE_INTERVAL_S = 10.0


class Progress:
    """Counts finished items of a job and says how fast it goes and when it will end.

    Args:
        total: number of items; None when it is not known.
        what: name of the job, e.g. "score".
        unit: what is counted, e.g. "images".
        done: how many of them an earlier start has finished; they count, and the rate is without them.
        shown: False keeps it quiet, in one of several processes that do the same job.
    """

    def __init__(self, total: int | None, what: str, unit: str, *, done: int = 0, shown: bool = True) -> None:
        self._shown = shown
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=f" {unit}",
            file=sys.stderr,
            disable=not (shown and sys.stderr.isatty()),
            dynamic_ncols=True,
        )
        self._total, self._what, self._unit = total, what, unit
        self._before = self._done = self._told = done
        self._started = self._last_line = time.monotonic()
        self._note = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        took_long = time.monotonic() - self._started > LINE_INTERVAL_S
        if self._bar.disable and error is None and took_long and self._done > self._told:
            self._write_line()

    def advance(self, count: int = 1) -> None:
        """Counts `count` more finished items."""
        self._done += count
        self._bar.update(count)
        if self._bar.disable and time.monotonic() - self._last_line >= LINE_INTERVAL_S:
            self._write_line()

    def note(self, text: str) -> None:
        """Shows a short text beside the count, such as the current loss."""
        self._bar.set_postfix_str(text)
        self._note = text

    def _write_line(self) -> None:
        self._last_line, self._told = time.monotonic(), self._done
        if not self._shown:
            return
        sys.stderr.write(self._line(self._last_line - self._started) + "\n")
        sys.stderr.flush()

    def _line(self, elapsed_s: float) -> str:
        rate = (self._done - self._before) / max(elapsed_s, 1e-9)
        parts = [f"{self._what}: {self._done}"]
        if self._total is not None:
            left_s = (self._total - self._done) / max(rate, 1e-9)
            parts = [
                f"{self._what}: {self._done}/{self._total} {self._unit}",
                f"{rate:.3g}/s",
                f"{left_s:.0f} s left",
            ]
        else:
            parts += [self._unit, f"{rate:.3g}/s"]
        return ", ".join([*parts, self._note] if self._note else parts)


def track(items: Iterable[Item], total: int | None, what: str, unit: str) -> Iterator[Item]:
    """Yields `items` unchanged while showing their progress."""
    with Progress(total, what, unit) as progress:
        for item in items:
            yield item
            progress.advance()
