"""Scorers with weights over a whole dataset: between `score` and `select`, on the pictures that pass so far.

Place in the flow: `assess_cli` and `run` call it; the work of a part is `assess_actor`'s. The law: every scorer is
loaded once, and missing weights are told, before a picture is read; a part is done for a scorer when its file is there,
so a run that was stopped anywhere continues; answers of other weights never meet under one name.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from supir_console import (
    NodeWait,
    Outcome,
    Progress,
    Unfinished,
    UserError,
    config_hash,
    ray_session,
    run_on_actors,
)
from supir_curate.assess_actor import (
    Assessed,
    PartAssessor,
    load_identities,
    load_scorers,
    open_picture,
    stamp_of,
)
from supir_curate.config import CurateConfig
from supir_curate.scorers.contract import Identity
from supir_curate.selection.select import require_scored
from supir_curate.sidecar import missing_rows, require_same
from supir_curate.sources.originals import read_originals
from supir_curate.sources.plan import PLAN, Plan, load_plan
from supir_shards import MANIFEST, Store, finish_dataset, ledger_path
from supir_shards.layout import scores_path

COMMAND = "supir-curate assess"
UNASSESSED = "report/unassessed.csv"
ATTEMPTS = 2  # workers that a part may cost
SAMPLE = 4  # pictures that a dry run looks at


def assess(store: Store, plan: Plan, config: CurateConfig, workers: int) -> dict[str, Any]:
    """Takes every picture that passes through every scorer that has not seen it; returns the run's figures.

    Args:
        store: the dataset, with its whole ledger.
        plan: its plan.
        config: its select section says what passes, its assess section who looks.
        workers: processes on CPUs; 0 takes every core. On GPUs `assess.workers_per_gpu` decides.

    Raises:
        UserError: no scorer is named, one cannot be loaded, or answers under its name came from others.
    """
    chosen = config.assess.scorers
    if not chosen:
        raise UserError("no scorer is named; type for example: --with niqe,nsfw,faces,text,mobilenet")
    require_scored(store, plan)
    todo = unassessed(store, plan, config)
    images = failed_parts = 0
    errors: list[str] = []
    if todo:
        with ray_session(workers or None), Progress(sum(todo.values()), "assess", "images") as progress:
            for outcome in _outcomes(store, plan, config, list(todo), progress):
                images += sum(done.images for done in outcome.results)
                failed_parts += bool(outcome.error)
                errors += [f"{outcome.item}: {outcome.error}"] if outcome.error else []
    failed = _write_unassessed(store, plan, config, errors)
    if store.exists(MANIFEST) and todo:
        _finish(store, config)
    return {
        "dataset": store.url,
        "scorers": sorted(chosen),
        "parts": len(todo) - failed_parts,
        "parts_done_before": plan.num_parts - len(todo),
        "images": images,
        "failed": failed,
        "failures": f"{store.url}/{UNASSESSED}" if failed else None,
    }


@contextmanager
def scorers_ready(store: Store, config: CurateConfig, workers: int) -> Iterator[None]:
    """Holds Ray for a run whose scorers are known to load; it does nothing where they have nothing left to look at.

    Raises:
        UserError: as `check_scorers`, hours before the scorers' turn comes.
    """
    if not config.assess.scorers or _is_assessed(store, config):
        yield
        return
    with ray_session(workers or None):
        check_scorers(config)
        yield


def _is_assessed(store: Store, config: CurateConfig) -> bool:
    if not store.exists(PLAN):
        return False
    plan, done = load_plan(store), set(store.list("ledger"))
    return all(ledger_path(part) in done for part in plan.parts()) and not unassessed(store, plan, config)


def assess_if_wanted(store: Store, plan: Plan, config: CurateConfig, workers: int) -> int:
    """Lets the config's scorers look, if it names any; returns how many answers are missing."""
    return int(assess(store, plan, config, workers)["failed"]) if config.assess.scorers else 0


def check_scorers(config: CurateConfig) -> dict[str, Identity]:
    """Loads every scorer where the work will be done and returns what each is; nothing is read or written.

    Raises:
        UserError: one cannot be loaded; the message says how to get it.
        Unfinished: the workers that tried it died, or no node is left for one.
    """
    import ray

    share = _gpu_share(config)
    task = ray.remote(num_cpus=1, num_gpus=share, max_retries=ATTEMPTS - 1)(load_identities)
    nodes = NodeWait(lambda: {"CPU": 1, "GPU": share} if share else {"CPU": 1})
    try:
        identities: dict[str, Identity] = ray.get(nodes.first_done([task.remote(for_workers(config))]))
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, UserError):
            raise cause from error
        raise
    except ray.exceptions.RayError as error:
        raise Unfinished(f"loading the scorers stopped ({error}); run the same command again") from error
    return identities


def unassessed(store: Store, plan: Plan, config: CurateConfig) -> dict[str, int]:
    """Returns the parts that a scorer has still to look at, with the number of pictures; no picture is read."""
    counts: dict[str, int] = {}
    for part in plan.parts():
        missing = missing_rows(store, part, config)
        if missing:
            counts[part] = len(set().union(*missing.values()))
    return counts


def assessing_cost(store: Store, plan: Plan, config: CurateConfig, workers: int) -> dict[str, Any]:
    """Returns what a run will take, its pace measured on a few pictures in this process; nothing is written.

    Raises:
        UserError: as `assess`.
    """
    require_scored(store, plan)
    todo = unassessed(store, plan, config)
    scorers = load_scorers(config)
    require_same(store, {name: stamp_of(name, config, scorer.identity) for name, scorer in scorers.items()})
    seconds = dict.fromkeys(["read", *scorers], 0.0)
    looked_at = 0
    for rgb in _sample(store, plan, config, list(todo)[:1], seconds):
        looked_at += 1
        for name, scorer in scorers.items():
            started = time.perf_counter()
            scorer.answer([scorer.prepare(rgb)])
            seconds[name] += time.perf_counter() - started
    each = {name: round(value / max(1, looked_at), 3) for name, value in seconds.items()}
    cores = workers or os.cpu_count() or 1
    return {
        "dataset": store.url,
        "parts": len(todo),
        "images": sum(todo.values()),
        "seconds_a_picture_and_core": each,
        "seconds_measured_on": looked_at,
        "hours": round(sum(todo.values()) * sum(each.values()) / cores / 3600, 3),
        "workers": cores,
        "embedding_bytes": 2 * sum(todo.values()) * sum(scorer.width for scorer in scorers.values()),
    }


def _sample(
    store: Store, plan: Plan, config: CurateConfig, parts: list[str], seconds: dict[str, float]
) -> Iterator[Any]:
    for part in parts:
        rows = sorted(set().union(*missing_rows(store, part, config).values()))[:SAMPLE]
        table = store.read_table(ledger_path(part), ["source_row", "sha256"])
        sha256 = dict(zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True))
        for original in read_originals(
            store, plan, part, set(rows).__contains__, config.fetch.policy.max_bytes
        ):
            started = time.perf_counter()
            rgb = open_picture(original, sha256[original.row], config.assess.side_px)
            seconds["read"] += time.perf_counter() - started
            yield rgb


def _outcomes(
    store: Store, plan: Plan, config: CurateConfig, parts: list[str], progress: Progress
) -> Iterator[Outcome[str, Assessed]]:
    import ray

    identities = check_scorers(config)
    stamps = {name: stamp_of(name, config, identity) for name, identity in identities.items()}
    require_same(store, stamps)
    share = _gpu_share(config)
    there = ray.cluster_resources()
    room = there.get("GPU", 0) / share if share else there.get("CPU", 1)
    actor_class = ray.remote(num_cpus=1, num_gpus=share)(PartAssessor)
    ready = for_workers(config)
    return run_on_actors(
        parts,
        make_actor=lambda: actor_class.remote(store.url, plan, ready, stamps),
        start=lambda actor, part: actor.assess_part.options(num_returns="streaming").remote(part),
        num_actors=max(1, min(len(parts), int(room), int(there.get("CPU", 1)))),
        attempts=ATTEMPTS,
        count=lambda done: done.images,
        progress=progress,
    )


def for_workers(config: CurateConfig) -> CurateConfig:
    """Returns the config with absolute paths, for processes that run in another folder."""
    return config.model_copy(update={"assess": config.assess.for_workers()})


def _gpu_share(config: CurateConfig) -> float:
    """Returns the share of a GPU that a worker gets: none where there is no GPU, or no scorer that uses one."""
    import ray

    uses_gpu = any(scorer.uses_gpu for scorer in config.assess.scorers.values())
    return 1 / config.assess.workers_per_gpu if uses_gpu and ray.cluster_resources().get("GPU", 0) else 0.0


def _write_unassessed(store: Store, plan: Plan, config: CurateConfig, errors: list[str]) -> int:
    """Lists every picture without an answer, and every part that failed; returns how many lines that are."""
    sink = io.StringIO()
    table = csv.writer(sink, lineterminator="\n")
    table.writerow(("scorer", "part", "source_row", "detail"))
    count = 0
    for name in config.assess.scorers:
        for part in plan.parts():
            path = scores_path(name, part)
            if not store.exists(path):
                continue
            columns = store.read_table(path, ["source_row", "detail"]).to_pydict()
            lines = [
                (name, part, row, detail)
                for row, detail in zip(columns["source_row"], columns["detail"], strict=True)
                if detail
            ]
            table.writerows(lines)
            count += len(lines)
    table.writerows(("", *error.split(": ", 1)) for error in errors)
    if count + len(errors):
        store.write(UNASSESSED, sink.getvalue().encode())
    else:
        store.delete(UNASSESSED)
    return count + len(errors)


def _finish(store: Store, config: CurateConfig) -> None:
    section = config.assess
    finish_dataset(
        store, command=COMMAND, config=section.model_dump(mode="json"), config_hash=config_hash(section)
    )
