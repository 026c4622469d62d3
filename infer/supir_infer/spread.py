"""`supir-infer --ray`: a folder over the processes of a Ray cluster, each with a model of its own.

Place in the flow: `cli` calls `run_on_ray`; each process does what one alone would do, a few pictures at a time, read
ahead and saved behind. Only this file imports Ray.
The law it keeps: pixels and lines are those of a run without it, the lines as the turns end; only names and metadata
pass through Ray. A turn whose process dies is taken apart, and a picture that no process outlives is a failure.
Limits: every node sees the pictures, the model and the results under the paths that this process has.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from supir_console import Progress, UserError, ray_session, run_on_actors
from supir_infer.folder import restore_jobs
from supir_infer.outcomes import Ended
from supir_infer.plan import Job, Plan
from supir_infer.results import complete_results, listed
from supir_infer.work import Work

MOST_A_TURN = 16
TURNS_A_WORKER = 4
"""A turn is at most the first, and small enough that each process gets the second number of them."""
PROCESS_BYTES = 2**30
"""Main memory that a process takes beside the weights."""
ATTEMPTS = 2
"""Processes that a picture may cost after its turn was taken apart."""


class TurnWorker:
    """What one process does.

    Args:
        work: what to do.
        folder: the working folder that names are relative to.
        witnesses: files that the node must see: one of the input, one of the output.
    """

    def __init__(self, work: Work, folder: Path, witnesses: Sequence[Path]) -> None:
        self._work, self._folder, self._witnesses = work, folder, witnesses

    def restore(self, jobs: Sequence[Job]) -> Iterator[Ended]:
        """Yields how each job ended, in their order.

        Raises:
            UserError: the node lacks the folder, a witness, the model or the captioner.
        """
        try:
            os.chdir(self._folder)
            for path in self._witnesses:
                path.stat()
        except OSError as error:
            raise UserError(
                f"--ray: the node {os.uname().nodename} does not see {error.filename} ({error.strerror}); pictures, "
                "model and results need the same paths on every node"
            ) from error
        work = self._work
        yield from restore_jobs(
            work.restorer, jobs, work.recipe, work.batch_size, work.captioner, lambda _: None
        )


def require_ray() -> None:
    """Raises `UserError` where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("--ray needs Ray, which is not installed: pip install 'supir-stack[ray]'")


def run_on_ray(work: Work, plan: Plan, results: Path, *, workers: int | None = None) -> list[Ended]:
    """Restores the open jobs of a plan on the cluster of RAY_ADDRESS, or on one of this machine; returns the failed.

    Args:
        work: what to do.
        plan: of the run.
        results: the .jsonl file, which is completed first.
        workers: processes at most; None takes every GPU, without one every core.

    Raises:
        UserError: no cluster answers, or what only the user can mend, in a process's own words.
        Unfinished: no node is left for the work.
    """
    complete_results(results, plan)
    if not plan.open:
        return []
    results.touch()
    witnesses = [results, *[job.source for job in plan.open if not job.problem][:1]]
    with ray_session(), Progress(len(plan.open), "restore", "images") as progress:
        return listed(_ended(work, plan.open, witnesses, workers, progress), results)


def _ended(
    work: Work, jobs: Sequence[Job], witnesses: Sequence[Path], workers: int | None, progress: Progress
) -> Iterator[Ended]:
    """How each job ended: first in turns, then those alone whose turns no process could finish."""
    import ray

    there = ray.cluster_resources()
    num_gpus = 0 if work.network.device == "cpu" else int(there.get("GPU", 0))
    num_workers = workers or num_gpus or int(there.get("CPU", 1))
    # float32 of a CPU is twice a file's half precision; a GPU's weights only pass through main memory
    weights = work.network.origin.num_bytes() * (1 if num_gpus else 2)
    actor = ray.remote(num_cpus=1, num_gpus=min(1, num_gpus), memory=PROCESS_BYTES + weights)(TurnWorker)
    folder = Path.cwd()
    shared: dict[str, Any] = {
        "make_actor": lambda: actor.remote(work, folder, witnesses),
        "start": lambda worker, turn: worker.restore.options(num_returns="streaming").remote(turn),
        "num_actors": num_workers,
        "count": lambda _: 1,
        "progress": progress,
    }
    broken: list[list[Job]] = []
    for outcome in run_on_actors(turns_of(jobs, num_workers, work.batch_size), attempts=1, **shared):
        broken.extend([job] for job in outcome.item if outcome.error)
        yield from outcome.results
    for outcome in run_on_actors(broken, attempts=ATTEMPTS, **shared):
        if outcome.error:
            progress.advance()
            yield Ended(outcome.item[0], reason=f"no process outlived it: {outcome.error}")
        yield from outcome.results


def turns_of(jobs: Sequence[Job], num_workers: int, batch_size: int) -> list[list[Job]]:
    """Returns the jobs in order, in turns of whole batches."""
    fair = len(jobs) // (TURNS_A_WORKER * num_workers)
    length = max(1, min(MOST_A_TURN, fair) // batch_size) * batch_size
    return [list(jobs[first : first + length]) for first in range(0, len(jobs), length)]
