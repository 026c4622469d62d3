"""The negative-sample job: its plan, its cost, and its Ray actors.

Place in the flow: `supir-degrade negatives` → a dataset of role `negative`. Only this file imports Ray.
The law it keeps: the unit of work is one input part; a committed part is never made again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from supir_console import Progress, config_hash, ray_session
from supir_degrade.job import claim, count_failed
from supir_degrade.negatives import NegativesConfig, NegativeWorker, Request, load_prior, redraw
from supir_degrade.sources import Source, by_part, choose_sources
from supir_shards import Dataset, Store, finish_dataset, is_committed

COMMAND = "supir-degrade negatives"


@dataclass(frozen=True, slots=True)
class Plan:
    """The sources of every part, and those parts that are still to be made."""

    parts: dict[str, list[Source]]
    todo: tuple[str, ...]

    @property
    def num_todo(self) -> int:
        """Samples still to be made."""
        return sum(len(self.parts[part]) for part in self.todo)


def plan(dataset: Dataset, out: Store, config: NegativesConfig) -> Plan:
    """Returns what is to be made, after a look at what is there.

    Raises:
        UserError: the dataset has too few photos that are large enough.
    """
    sources = choose_sources(dataset, count=config.count, min_side_px=config.size_px, seed=config.seed)
    parts = by_part(sources)
    return Plan(parts, tuple(part for part in parts if not is_committed(out, part)))


def cost(planned: Plan, config: NegativesConfig) -> dict[str, int | float]:
    """Returns what the rest of the job takes: samples, parts, network calls, bytes at most."""
    num_steps = max(1, round(config.steps * config.strength))
    return {
        "samples": planned.num_todo,
        "parts": len(planned.todo),
        "network_calls": 2 * num_steps * planned.num_todo,
        "output_bytes_at_most": 3 * config.size_px**2 * planned.num_todo,
    }


def measure_seconds(config: NegativesConfig) -> float:
    """Returns the seconds a sample takes on one worker of this machine, measured on one gray batch."""
    import numpy as np
    import torch

    supir = load_prior(config)
    gray = np.full((config.size_px, config.size_px, 3), 128, np.uint8)
    prompt = ", ".join(config.words)
    source = Source("", 0, "")
    batch = [Request(source=source, image=gray, prompt=prompt, seed=n) for n in range(config.batch_size)]
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker has
    started = time.perf_counter()
    redraw(supir, batch, config)
    seconds = time.perf_counter() - started
    torch.set_num_threads(num_threads)
    return seconds / len(batch)


def make_negatives(
    dataset: Dataset, out: Store, config: NegativesConfig, num_workers: int | None
) -> dict[str, int | str]:
    """Makes the parts that are missing, finishes the dataset, and returns the run's summary.

    Args:
        dataset: the photos.
        out: where the samples go.
        config: see `NegativesConfig`.
        num_workers: actors where the cluster has no GPU, one a core if None; with GPUs there is one a GPU.

    Raises:
        UserError: too few photos, or `out` holds other work.
    """
    planned = plan(dataset, out, config)
    sources = [source for members in planned.parts.values() for source in members]
    claim(out, COMMAND, config, sources)
    if planned.todo:
        with ray_session():
            _run(dataset.store.url, out.url, config, planned, num_workers)
    finish_dataset(
        out, command=COMMAND, config=config.model_dump(mode="json"), config_hash=config_hash(config)
    )
    failed = count_failed(out, list(planned.parts))
    return {"samples": len(sources) - failed, "made": planned.num_todo, "failed": failed, "dataset": out.url}


def _run(
    dataset_url: str, out_url: str, config: NegativesConfig, planned: Plan, num_workers: int | None
) -> None:
    import ray
    from ray.exceptions import RayTaskError
    from ray.util import ActorPool

    resources = ray.cluster_resources()
    num_gpus = int(resources.get("GPU", 0))
    num_cpus = int(resources["CPU"])
    # An actor that finds no free core would wait for ever with its part.
    num_actors = min(num_gpus or min(num_workers or num_cpus, num_cpus), len(planned.todo))
    # A worker that dies is started again and makes its part again; nothing counts before the commit.
    options = {"num_gpus": min(num_gpus, 1), "num_cpus": 1, "max_restarts": 2, "max_task_retries": 2}
    actor = ray.remote(**options)(NegativeWorker)
    pool = ActorPool([actor.remote(dataset_url, out_url, config) for _ in range(num_actors)])
    with Progress(planned.num_todo, "negatives", "samples") as progress:
        jobs = [(part, planned.parts[part]) for part in planned.todo]
        try:
            for num_samples in pool.map_unordered(lambda worker, job: worker.make_part.remote(*job), jobs):
                progress.advance(num_samples)
        except RayTaskError as error:
            # The worker's own error, without the remote traceback that Ray wraps around it.
            raise error.cause from error
