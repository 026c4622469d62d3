"""Items of work over Ray actors: one that dies, alone or with its node, is replaced; what keeps failing is reported.

Place in the flow: `supir-caption` and `supir-degrade negatives` hand it their parts, inside a `ray_session`.
The law it keeps: each item is tried until it is done or `attempts` workers have failed on it; then it is
reported and the others go on. A worker gets an item when it has its place on a node and not before, so no item waits
for a place while another worker is free. What only the user can mend ends the run at once, in the worker's own words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from supir_console.entry import is_our_word_on_input
from supir_console.progress import Progress
from supir_console.ray_nodes import NodeWait, needs_of

Item = TypeVar("Item")
Result = TypeVar("Result")
_MAX_ERROR = 500  # characters of a worker's error that are kept: its end names the cause


@dataclass(slots=True)
class Outcome(Generic[Item, Result]):
    """How one item ended: what its worker yielded, or, with `error`, why no worker could finish it."""

    item: Item
    results: list[Result] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class _Job(Generic[Item, Result]):
    item: Item
    attempt: int = 1
    actor: Any = None
    results: list[Result] = field(default_factory=list)


def run_on_actors(
    items: Sequence[Item],
    *,
    make_actor: Callable[[], Any],
    start: Callable[[Any, Item], Any],
    num_actors: int,
    attempts: int,
    count: Callable[[Result], int],
    progress: Progress,
) -> Iterator[Outcome[Item, Result]]:
    """Yields the outcome of each item as it ends.

    Args:
        items: the work, begun in this order.
        make_actor: starts a worker.
        start: gives a worker an item and returns the stream of a generator method
            (`actor.method.options(num_returns="streaming").remote(item)`).
        num_actors: workers at the same time, at least 1; fewer where the cluster has room for fewer.
        attempts: workers that an item may cost.
        count: what a result adds to the progress; taken back when its item fails.
        progress: is told after each result.

    Raises:
        ValueError: one of our own classes, such as UserError: a worker says that the user's input is wrong.
        Unfinished: no worker is left, and no node with room for one has been there for the time `NodeWait` states.
    """
    pool: _Pool[Item, Result] = _Pool(items, make_actor, start, attempts)
    nodes = NodeWait(pool.needs)
    while pool.waiting or pool.running:
        pool.give_out(num_actors)
        ready = nodes.first_done([*pool.running, *pool.not_running()])
        if ready in pool.running:
            outcome, change = pool.hear(ready, count)
            progress.advance(change)
        else:
            outcome = pool.settle(ready)
        if outcome is not None:
            yield outcome


class _Pool(Generic[Item, Result]):
    """The items and workers of a run: `running` by their stream, the others by the promise that they are ready.

    `starting` are new, `resuming` were idle and may have died meanwhile.
    """

    def __init__(
        self,
        items: Sequence[Item],
        make_actor: Callable[[], Any],
        start: Callable[[Any, Item], Any],
        attempts: int,
    ) -> None:
        self._make_actor, self._start, self._attempts = make_actor, start, attempts
        self.waiting: deque[_Job[Item, Result]] = deque(_Job(item) for item in items)
        self.running: dict[Any, _Job[Item, Result]] = {}
        self.starting: dict[Any, Any] = {}
        self.resuming: dict[Any, Any] = {}
        self._idle: list[Any] = []

    def not_running(self) -> list[Any]:
        """The promises of the workers that an item could go to soon."""
        return [*self.resuming, *self.starting]

    def give_out(self, num_actors: int) -> None:
        """Calls idle workers back and starts new ones, as many as the waiting items can use."""
        wanted = min(len(self.waiting), num_actors - len(self.running)) - len(self.resuming)
        while self._idle and wanted > 0:
            actor = self._idle.pop()
            self.resuming[actor.__ray_ready__.remote()] = actor
            wanted -= 1
        while len(self.starting) < wanted:
            actor = self._make_actor()
            self.starting[actor.__ray_ready__.remote()] = actor

    def needs(self) -> dict[str, float]:
        """What a node must have for the work to go on: nothing while a worker is at work."""
        if self.running or self.resuming:
            return {}
        return needs_of(next(iter(self.starting.values())))

    def settle(self, ready: Any) -> Outcome[Item, Result] | None:
        """Takes in a worker that is ready; a new one that could not start has cost the next item an attempt."""
        import ray

        is_new = ready in self.starting
        actor = (self.starting if is_new else self.resuming).pop(ready)
        try:
            ray.get(ready)
        except ray.exceptions.RayError as error:
            if is_new and self.waiting:
                return self._failed(self.waiting.popleft(), actor, error)
            return None  # it has cost nobody anything
        self._employ(actor)
        return None

    def _employ(self, actor: Any) -> None:
        if not self.waiting:
            self._idle.append(actor)
            return
        job = self.waiting.popleft()
        job.actor = actor
        self.running[self._start(actor, job.item)] = job

    def hear(self, stream: Any, count: Callable[[Result], int]) -> tuple[Outcome[Item, Result] | None, int]:
        """Takes in what a worker has to say; returns the outcome that it makes and the change of the progress."""
        import ray

        job = self.running[stream]
        try:
            result = ray.get(next(stream))
        except StopIteration:
            self._employ(self.running.pop(stream).actor)
            return Outcome(job.item, job.results), 0
        except ray.exceptions.RayError as error:
            del self.running[stream]
            return self._failed(job, job.actor, error), -sum(map(count, job.results))
        job.results.append(result)
        return None, count(result)

    def _failed(self, job: _Job[Item, Result], actor: Any, error: Exception) -> Outcome[Item, Result] | None:
        import ray

        raise_if_about_input(error)
        ray.kill(actor)
        if job.attempt >= self._attempts:
            return Outcome(job.item, error=_in_one_line(error))
        self.waiting.append(_Job(job.item, job.attempt + 1))
        return None


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[-_MAX_ERROR:]}"


def raise_if_about_input(error: Exception) -> None:
    """Raises what a worker said about the user's input, if that is what ended it."""
    cause = getattr(error, "cause", None)
    if is_our_word_on_input(cause):
        raise cause from error
