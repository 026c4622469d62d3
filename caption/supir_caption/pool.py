"""The Ray side of a run: actors take parts, report after each batch, and a dead one is replaced.

The law: each part is tried until it is committed or `attempts` workers have failed on it; then it is reported
and the run goes on. What only the user can mend (a missing model, a wrong config) ends the run at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from supir_caption.config import CaptionConfig
from supir_caption.worker import BatchDone, PartCaptioner
from supir_console import UserError
from supir_shards import DatasetError

_MAX_ERROR = 500  # characters of a worker's error that the list of failures keeps: its end names the cause


@dataclass(slots=True)
class PartOutcome:
    """How one part ended: what its batches came to, or why it could not be captioned."""

    part: str
    batches: list[BatchDone] = field(default_factory=list)
    error: str = ""


@dataclass(slots=True)
class _Job:
    part: str
    attempt: int = 1
    actor: Any = None
    batches: list[BatchDone] = field(default_factory=list)


def gpus_per_worker(config: CaptionConfig) -> int:
    """Returns the GPUs that each actor gets: as configured, else one for vLLM where the cluster has any.

    Raises:
        UserError: the cluster has fewer GPUs than one actor needs.
    """
    import ray

    there = int(ray.cluster_resources().get("GPU", 0))
    asked = config.run.gpus_per_worker
    if asked is None:
        return 1 if config.engine == "vllm" and there else 0
    if asked > there:
        raise UserError(f"run.gpus_per_worker={asked} but Ray sees {there} GPUs; set it to {there} or less")
    return asked


def num_workers(config: CaptionConfig, num_gpus: int, num_parts: int) -> int:
    """Returns the number of actors: as configured, else what the cluster holds; never more than parts."""
    import ray

    resources = ray.cluster_resources()
    if config.run.workers is not None:
        wanted = config.run.workers
    elif num_gpus:
        wanted = int(resources.get("GPU", 0)) // num_gpus
    elif config.engine == "vllm":
        wanted = 1  # on a CPU one model takes all memory and all cores
    else:
        wanted = int(resources.get("CPU", 1) // config.run.cpus_per_worker)
    return max(1, min(wanted, num_parts))


def caption_parts(
    url: str,
    parts: Sequence[str],
    config: CaptionConfig,
    *,
    workers: int,
    num_gpus: int,
    advance: Callable[[int], None],
) -> Iterator[PartOutcome]:
    """Yields the outcome of each part as it ends.

    Args:
        url: the dataset, absolute.
        parts: parts to caption.
        config: the captioner.
        workers: number of actors.
        num_gpus: GPUs of each.
        advance: told the number of images after each batch.

    Raises:
        UserError, DatasetError: a worker says that the user's input is wrong.
    """
    import ray

    actor_class = ray.remote(num_cpus=config.run.cpus_per_worker, num_gpus=num_gpus)(PartCaptioner)
    waiting = deque(_Job(part) for part in parts)
    free: list[Any] = [None] * workers  # None: an actor that is still to be made
    running: dict[Any, _Job] = {}
    while waiting or running:
        while waiting and free:
            job = waiting.popleft()
            job.actor = free.pop() or actor_class.remote(url, config, num_gpus)
            running[job.actor.caption_part.options(num_returns="streaming").remote(job.part)] = job
        stream = ray.wait(list(running), num_returns=1)[0][0]
        job = running[stream]
        try:
            done = ray.get(next(stream))
        except StopIteration:
            free.append(running.pop(stream).actor)
            yield PartOutcome(job.part, job.batches)
        except ray.exceptions.RayError as error:
            _raise_if_about_input(error)
            ray.kill(running.pop(stream).actor)
            free.append(None)
            advance(-sum(batch.images for batch in job.batches))
            if job.attempt < config.run.attempts:
                waiting.append(_Job(job.part, job.attempt + 1))
            else:
                yield PartOutcome(job.part, error=_in_one_line(error))
        else:
            job.batches.append(done)
            advance(done.images)


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[-_MAX_ERROR:]}"


def _raise_if_about_input(error: Exception) -> None:
    cause = getattr(error, "cause", None)
    if isinstance(cause, UserError | DatasetError):
        raise cause from error
