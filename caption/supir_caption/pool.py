"""The Ray side of a run: how many actors the cluster holds for the config, and the parts that they caption.

Place in the flow: `run.py` calls it inside a `ray_session`; `supir_console.run_on_actors` replaces dead workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from supir_caption.config import CaptionConfig
from supir_caption.worker import BatchDone, PartCaptioner
from supir_console import Outcome, Progress, UserError, run_on_actors


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
    import ray

    actor_class = ray.remote(num_cpus=config.run.cpus_per_worker, num_gpus=num_gpus)(PartCaptioner)
    return run_on_actors(
        parts,
        make_actor=lambda: actor_class.remote(url, config, num_gpus),
        start=lambda actor, part: actor.caption_part.options(num_returns="streaming").remote(part),
        num_actors=workers,
        attempts=config.run.attempts,
        count=lambda done: done.images,
        progress=progress,
    )
