"""The negative-sample job: its plan, its cost, and its Ray actors.

Place in the flow: `supir-degrade negatives` → a dataset of role `negative`. Only this file imports Ray.
The law it keeps: the unit of work is one input part; a committed part is never made again. A part on which
`ATTEMPTS` workers died or failed is listed and left to the next run, and the others are made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from supir_console import Outcome, Progress, config_hash, ray_session, run_on_actors
from supir_degrade.job import DROPPED, FAILURES, Plan, claim, plan_job, write_dropped, write_failures
from supir_degrade.negatives import (
    COMMAND,
    QUALITY_SCORES,
    NegativesConfig,
    NegativeWorker,
    Request,
    load_prior,
    redraw,
)
from supir_degrade.sources import Source, choose_sources
from supir_degrade.vae import one_thread
from supir_shards import Dataset, Store, absolute_url, finish_dataset

ATTEMPTS = 3


def plan(dataset: Dataset, out: Store, config: NegativesConfig) -> Plan:
    """Returns what is to be made, after a look at what is there; nothing is written.

    Raises:
        UserError: the dataset has too few photos that are large enough, or `out` holds other work.
        DatasetError: the dataset is not finished, damaged, or of another format.
    """
    sources = choose_sources(dataset, count=config.count, min_side_px=config.size_px, seed=config.seed)
    return plan_job([out], COMMAND, config, sources)


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

    supir = load_prior(config)
    gray = np.full((config.size_px, config.size_px, 3), 128, np.uint8)
    prompt = ", ".join(config.words)
    source = Source("", 0, "")
    batch = [Request(source=source, image=gray, prompt=prompt, seed=n) for n in range(config.batch_size)]
    with one_thread():  # as a worker has
        started = time.perf_counter()
        redraw(supir, batch, config)
        return (time.perf_counter() - started) / len(batch)


def make_negatives(
    dataset: Dataset, out: Store, config: NegativesConfig, planned: Plan, num_workers: int | None
) -> dict[str, int | str | None]:
    """Makes the parts that are missing, finishes the dataset, and returns the run's summary.

    In the summary `made` counts the photos redrawn by this run, `clean` all that the filter dropped.

    Args:
        dataset: the photos.
        out: where the samples go.
        config: see `NegativesConfig`.
        planned: from `plan` for these three.
        num_workers: actors where the cluster has no GPU, one a core if None; with GPUs there is one a GPU.

    Raises:
        UserError: the model or the score cannot be loaded.
        DatasetError: a part's index cannot be read.
    """
    claim(out, planned.mark)
    num_made, part_errors = 0, {}
    for outcome in _outcomes(dataset.store.url, out.url, config, planned, num_workers):
        num_made += sum(outcome.results)
        if outcome.error:
            part_errors[outcome.item] = outcome.error
    manifest = finish_dataset(
        out, command=COMMAND, config=config.model_dump(mode="json"), config_hash=config_hash(config)
    )
    failed = write_failures(out, planned.parts, part_errors)
    clean = write_dropped(out, [part for part in planned.parts if part not in part_errors], QUALITY_SCORES)
    return {
        "samples": manifest.totals.num_samples,
        "made": num_made,
        "clean": clean,
        "dropped": f"{out.url}/{DROPPED}" if clean else None,
        "failed": failed,
        "failures": f"{out.url}/{FAILURES}" if failed else None,
        "dataset": out.url,
    }


def _outcomes(
    dataset_url: str, out_url: str, config: NegativesConfig, planned: Plan, num_workers: int | None
) -> Iterator[Outcome[str, int]]:
    if not planned.todo:
        return
    import ray

    with ray_session(), Progress(planned.num_todo, "negatives", "samples") as progress:
        resources = ray.cluster_resources()
        num_gpus, num_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
        wanted = num_gpus or min(num_workers or num_cpus, num_cpus)
        actor = ray.remote(num_gpus=min(num_gpus, 1), num_cpus=1)(NegativeWorker)
        yield from run_on_actors(
            planned.todo,
            make_actor=lambda: actor.remote(absolute_url(dataset_url), absolute_url(out_url), config),
            start=lambda worker, part: worker.make_part.options(num_returns="streaming").remote(
                part, planned.parts[part]
            ),
            num_actors=max(1, min(wanted, len(planned.todo))),
            attempts=ATTEMPTS,
            count=lambda made: made,
            progress=progress,
        )
