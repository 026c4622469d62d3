"""Parts spread over a Ray cluster, and a source's files before them; the work itself is plain functions of a name.

Place in the flow: `pipeline` hands in a function of a part's name and gets results as parts finish. The law: a part
is done when its file is there, so a killed run loses at most the parts under way; a worker that dies, alone or with
its node, is replaced and its part tried again; a part that fails does not stop the others, and is named at the end.

Runs on a cluster of its own, started in this process and ended with it, or on the one that RAY_ADDRESS names. Only
names and counts pass through the object store; pictures never do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from supir_console import (
    NodeWait,
    Unfinished,
    UserError,
    counted,
    is_our_word_on_input,
    limit_threads,
    ray_session,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from supir_curate.sources.listing import ListFiles

WORKER_RETRIES = 2  # of a part, after a worker process or its node died; an exception of ours is not retried
READ_AHEAD = 2  # parts submitted a worker, so that none waits for the driver
PARTS_A_FETCHER = 8  # fetched at the same time by one fetcher: a slow URL holds up its part alone


class PartsFailed(RuntimeError):  # noqa: N818 - says what happened
    """Some parts could not be done by a defect of ours; the message names the first."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run may use.

    Args:
        workers: processes that score or pack at the same time; 0 takes every core of the cluster.
        fetchers: fetching processes, for URL sources; they share the pace a host is asked at.
    """

    workers: int = 0
    fetchers: int = 1


class Cluster:
    """Ray, connected when the first part needs it and left when the block ends, if it was connected here.

    Args:
        resources: what the run may use.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._session = ExitStack()
        self._is_connected = False

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def run(
        self, work: Callable[[str], Any], parts: Sequence[str], fetching: Fetching | None = None
    ) -> Iterator[Any]:
        """Yields each part's result as it is done.

        Args:
            work: pickles; takes a part's name.
            parts: names of the parts to do.
            fetching: fetches each part before `work` sees it.

        Raises:
            UserError: the input of a part is wrong; the others are done.
            Unfinished: Ray or a node died under a part and the others are done, or no node is left for the work.
            PartsFailed: a part failed for another reason; the others are done.
        """
        if not parts:
            return
        self._connect()
        import ray

        workers = self._resources.workers or int(ray.cluster_resources().get("CPU", 1))
        fetchers = fetching.start(self._resources.fetchers) if fetching else []
        limit = READ_AHEAD * workers + PARTS_A_FETCHER * len(fetchers)
        task = ray.remote(num_cpus=1, max_retries=WORKER_RETRIES)(_run_part)
        waiting = list(reversed(parts))
        part_of: dict[Any, str] = {}
        failures: dict[str, Exception] = {}
        nodes = NodeWait(lambda: {"CPU": 1})
        while waiting or part_of:
            while waiting and len(part_of) < limit:
                part = waiting.pop()
                fetched = fetching.submit(fetchers, part) if fetching else None
                part_of[task.remote(work, part, fetched)] = part
            done = nodes.first_done(list(part_of))
            part = part_of.pop(done)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:
                failures[part] = getattr(error, "cause", None) or error
        if failures:
            raise _failure(failures, len(parts))

    def spread(self, list_files: ListFiles, files: Sequence[str]) -> Iterator[pa.Table]:
        """Yields the tables of a source's files in the files' order, listed by Ray Data.

        Args:
            list_files: pickles; lists some files.
            files: escaped paths.

        Raises:
            Unfinished: Ray or a node died under it.
        """
        self._connect()
        from supir_curate.ray_listing import listed_by_ray

        return listed_by_ray(list_files, files, self._resources.workers or None)

    def _connect(self) -> None:
        if not self._is_connected:
            self._session.enter_context(ray_session(self._resources.workers or None))
            self._is_connected = True


class Fetching:
    """How parts get fetched before they are worked on.

    Args:
        fetcher: makes a fetcher, given how many there are and its number; it has `fetch_part(dataset, part)`.
        dataset: path or URL of the dataset.
    """

    def __init__(self, fetcher: Callable[[int, int], Any], dataset: str) -> None:
        self._fetcher = fetcher
        self._dataset = dataset

    def start(self, num_fetchers: int) -> list[Any]:
        """Returns that many fetching actors."""
        import ray

        actor = ray.remote(
            max_concurrency=PARTS_A_FETCHER,
            num_cpus=0,
            max_restarts=-1,  # a long run may outlive any number of nodes; each part's own tries are counted
            max_task_retries=WORKER_RETRIES,
        )(FetchActor)
        return [actor.remote(self._fetcher, num_fetchers, number) for number in range(num_fetchers)]

    def submit(self, actors: Sequence[Any], part: str) -> Any:
        """Returns a promise of the part's fetch, by the actor that its number falls to."""
        actor = actors[int(part.rpartition("-")[2]) % len(actors)]
        return actor.fetch_part.remote(self._dataset, part)


class FetchActor:
    """A fetcher in a process of its own; Ray runs its calls in one event loop."""

    def __init__(self, fetcher: Callable[[int, int], Any], num_fetchers: int, number: int) -> None:
        self._fetcher = fetcher(num_fetchers, number)

    async def fetch_part(self, dataset: str, part: str) -> str:
        """Fetches a part; returns its name."""
        name: str = await self._fetcher.fetch_part(dataset, part)
        return name


def _run_part(work: Callable[[str], Any], part: str, _fetched: str | None) -> Any:
    limit_threads(1)  # one part a core; OpenCV's own threads would fight for them
    return work(part)


def _failure(failures: dict[str, Exception], total: int) -> Exception:
    import ray

    part, error = min(failures.items())
    failed = f"{len(failures)} of {counted(total, 'part')} failed, first {part}"
    text = f"{failed}: {error}; the rest are done, rerun to continue"
    if is_our_word_on_input(error) or isinstance(error, OSError):
        return UserError(text)
    raised_in_work = isinstance(error, ray.exceptions.RayTaskError)
    died = isinstance(error, ray.exceptions.RayError) and not raised_in_work
    return Unfinished(text) if died else PartsFailed(text)
