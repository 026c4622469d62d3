"""The Ray side of a run: how many actors the cluster holds for the config, and the parts that they caption.

Place in the flow: `run.py` calls it inside a `ray_session`; `supir_console.run_on_actors` replaces dead
workers. A part whose tries are used up is begun again while they bring something: more pictures, or the one
that the workers die of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from supir_caption.config import CaptionConfig
from supir_caption.places import unfinished_folder
from supir_caption.unfinished import Unfinished
from supir_caption.worker import BatchDone, Measured, PartCaptioner
from supir_console import Outcome, Progress, UserError, limit_threads, raise_if_about_input, run_on_actors
from supir_shards import Dataset

ON_GPU = ("vllm", "transformers")
"""Engines that have a use for a GPU."""


class CaptionActor(PartCaptioner):
    """Captions parts in a process of its own, whose libraries keep to the cores that Ray has reserved for it.

    Args:
        url: the dataset, absolute.
        config: the captioner.
        num_gpus: GPUs that this process may use.
    """

    def __init__(self, url: str, config: CaptionConfig, num_gpus: int) -> None:
        limit_threads(max(1, int(config.run.cpus_per_worker)))  # before an engine loads any of them
        super().__init__(url, config, num_gpus)


def gpus_per_worker(config: CaptionConfig) -> int:
    """Returns the GPUs that each actor gets: as configured, else one for vLLM where the cluster has any.

    Raises:
        UserError: the cluster has fewer GPUs than one actor needs.
    """
    import ray

    there = int(ray.cluster_resources().get("GPU", 0))
    asked = config.run.gpus_per_worker
    if asked is None:
        return 1 if config.engine in ON_GPU and there else 0
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
    elif config.engine != "tags":
        wanted = 1  # a model on a CPU takes all memory and all cores; an endpoint is asked by threads
    else:
        wanted = int(resources.get("CPU", 1) // config.run.cpus_per_worker)
    return max(1, min(wanted, num_parts))


def caption_parts(
    url: str, parts: Sequence[str], config: CaptionConfig, *, workers: int, num_gpus: int, progress: Progress
) -> Iterator[Outcome[str, BatchDone]]:
    """Returns the outcome of each part as it ends, with what its batches came to.

    Args:
        url: the dataset, absolute.
        parts: parts to caption.
        config: the captioner.
        workers: number of actors.
        num_gpus: GPUs of each.
        progress: counts images.

    Raises:
        UserError, DatasetError: a worker says that the user's input is wrong.
    """
    dataset = Dataset(url)
    folder, made_by = config.folder, config.made_by_hash()

    def state(part: str) -> tuple[int, str]:
        return Unfinished(dataset.store, unfinished_folder(folder, made_by, part)).state()

    waiting = list(parts)
    for rounds_left in reversed(range(config.run.attempts)):
        before = {part: state(part) for part in waiting}
        waiting = []
        for outcome in _one_round(url, list(before), config, workers, num_gpus, progress):
            if outcome.error and rounds_left and state(outcome.item) != before[outcome.item]:
                waiting.append(outcome.item)
            else:
                yield outcome
        if not waiting:
            return


def measure(url: str, part: str, config: CaptionConfig, num_gpus: int) -> Measured:
    """Returns what the engine did with some images of a part, in an actor as the run will have them.

    Raises:
        UserError: the engine cannot be loaded.
    """
    import ray

    actor = actor_class(config, num_gpus).remote(url, config, num_gpus)
    try:
        measured: Measured = ray.get(actor.measure.remote(part, config.run.measure_images))
    except ray.exceptions.RayError as error:
        raise_if_about_input(error)
        raise UserError(
            f"the engine died while it was measured: {' '.join(str(error).split())[-300:]}"
        ) from error
    finally:
        ray.kill(actor)
    return measured


def actor_class(config: CaptionConfig, num_gpus: int) -> Any:
    """Returns the Ray actors that caption by this config, each with its cores and GPUs reserved."""
    import ray

    return ray.remote(num_cpus=config.run.cpus_per_worker, num_gpus=num_gpus)(CaptionActor)


def _one_round(
    url: str, parts: Sequence[str], config: CaptionConfig, workers: int, num_gpus: int, progress: Progress
) -> Iterator[Outcome[str, BatchDone]]:
    captioners = actor_class(config, num_gpus)
    return run_on_actors(
        parts,
        make_actor=lambda: captioners.remote(url, config, num_gpus),
        start=lambda actor, part: actor.caption_part.options(num_returns="streaming").remote(part),
        num_actors=workers,
        attempts=config.run.attempts,
        count=lambda done: done.images,
        progress=progress,
    )
