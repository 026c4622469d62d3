"""Items of work over Ray actors: a worker that dies is replaced, an item that keeps failing is reported.

Place in the flow: `supir-caption` and `supir-degrade negatives` hand it their parts, inside a `ray_session`.
The law it keeps: each item is tried until it is done or `attempts` workers have failed on it; then it is
reported and the others go on. What only the user can mend ends the run at once, in the worker's own words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from supir_console.entry import is_our_word_on_input
from supir_console.progress import Progress

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
        num_actors: workers at the same time, at least 1.
        attempts: workers that an item may cost.
        count: what a result adds to the progress; taken back when its item fails.
        progress: is told after each result.

    Raises:
        ValueError: one of our own classes, such as UserError: a worker says that the user's input is wrong.
    """
    import ray

    waiting: deque[_Job[Item, Result]] = deque(_Job(item) for item in items)
    idle: list[Any] = [None] * num_actors  # None: an actor that is still to be made
    running: dict[Any, _Job[Item, Result]] = {}
    while waiting or running:
        while waiting and idle:
            job = waiting.popleft()
            job.actor = idle.pop() or make_actor()
            running[start(job.actor, job.item)] = job
        stream = ray.wait(list(running), num_returns=1)[0][0]
        job = running[stream]
        try:
            result = ray.get(next(stream))
        except StopIteration:
            idle.append(running.pop(stream).actor)
            yield Outcome(job.item, job.results)
        except ray.exceptions.RayError as error:
            _raise_if_about_input(error)
            ray.kill(running.pop(stream).actor)
            idle.append(None)
            progress.advance(-sum(map(count, job.results)))
            if job.attempt < attempts:
                waiting.append(_Job(job.item, job.attempt + 1))
            else:
                yield Outcome(job.item, error=_in_one_line(error))
        else:
            job.results.append(result)
            progress.advance(count(result))


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[-_MAX_ERROR:]}"


def _raise_if_about_input(error: Exception) -> None:
    cause = getattr(error, "cause", None)
    if is_our_word_on_input(cause):
        raise cause from error
