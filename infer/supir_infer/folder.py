"""The run: open jobs are restored one batch after the other, while the next are read and the last are saved.

Place in the flow: between `cli` and `restore`; `overlap` has the threads. Files: each output has its origin inside;
`results.jsonl` beside them gets one JSON line a picture, in the jobs' order, with provenance and seconds, or with the
reason of a failure; a result's line follows its file, at the latest when the next picture is restored.
The law it keeps: one bad picture costs one line, not the run; restored + failed == open jobs. Only a full
disk ends the run. An interrupted run leaves whole outputs only, and the same command continues it. What is computed,
and in which order, does not depend on the threads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from supir_console import Progress
from supir_infer.batching import (
    FILE_BYTES_A_PX,
    READ_BYTES_A_PX,
    Loaded,
    batches,
    file_bytes,
    load,
    look_up,
    read_bytes,
)
from supir_infer.captioner import said_of, shown_of, told
from supir_infer.images import Picture
from supir_infer.outcomes import MADE_BYTES_A_PX, Ended, Made, reason_of, save
from supir_infer.overlap import Room, ahead, behind
from supir_infer.plan import Job, Recipe
from supir_infer.restore import Restorer, Result
from supir_infer.results import listed
from supir_infer.sizes import Sizes
from supir_model.sampler import OnStep

if TYPE_CHECKING:
    from supir_infer.captioner import Captioner, Shown

MIB = 2**20
FILES = Room(items=64, num_bytes=64 * MIB)
READ = Room(items=2, num_bytes=512 * MIB)
CAPTIONED = Room(items=1, num_bytes=512 * MIB)
MADE = Room(items=4, num_bytes=256 * MIB)
"""What waits between the stages: files, batches that are decoded and captioned, results that are to be saved."""
READERS, SAVERS = 2, 4
"""Threads at most; no more than there are cores."""


def waiting_bytes(sizes: Sequence[Sizes]) -> int:
    """Returns the main memory that waiting pictures of these sizes take at most, beside the one at work."""
    if len(sizes) < 2:
        return 0
    source = max(math.prod(size.source) for size in sizes)
    output = max(math.prod(size.output) for size in sizes)
    files = min(FILES.num_bytes, min(FILES.items, len(sizes)) * FILE_BYTES_A_PX * source)
    read = min(READ.num_bytes, READ.items * READ_BYTES_A_PX * source)
    return files + read + min(MADE.num_bytes, MADE.items * MADE_BYTES_A_PX * output)


def run_jobs(
    restorer: Restorer,
    jobs: Sequence[Job],
    recipe: Recipe,
    results: Path,
    batch_size: int,
    captioner: Captioner | None = None,
) -> list[Ended]:
    """Returns the pictures that failed, after all were tried.

    Args:
        restorer: has the recipe's settings.
        jobs: the open ones of a plan.
        recipe: what is written into every output.
        results: the .jsonl file that lines are appended to.
        batch_size: neighbouring pictures of one working size that are restored together.
        captioner: says what is in the pictures that have no caption.

    Raises:
        UserError: the disk is full, or the captioner answers nobody.
    """
    with (
        Progress(len(jobs) * restorer.num_steps, "restore", "steps") as progress,
        closing(restore_jobs(restorer, jobs, recipe, batch_size, captioner, progress.advance)) as all_ended,
    ):
        return listed(all_ended, results)


def restore_jobs(
    restorer: Restorer,
    jobs: Iterable[Job],
    recipe: Recipe,
    batch_size: int,
    captioner: Captioner | None,
    count_steps: Callable[[int], None],
) -> Generator[Ended]:
    """Yields how each job ended, in their order.

    Args:
        restorer, jobs, recipe, batch_size, captioner: as in `run_jobs`.
        count_steps: called with the number of denoising steps that are done.

    Raises:
        UserError: as `run_jobs`.
    """
    cores = os.cpu_count() or 1
    settings = restorer.settings
    sized = ahead(jobs, partial(look_up, settings=settings), file_bytes, FILES)
    grouped = batches(sized, batch_size)
    read = ahead(grouped, partial(load, settings=settings), read_bytes, READ, min(READERS, cores))
    with closing(sized), closing(read), closing(_captioned(read, restorer, captioner)) as ready:
        made = (one for batch in ready for one in _restored(restorer, batch, recipe.seed, count_steps))
        saved = partial(save, recipe=recipe, restorer=restorer)
        yield from behind(made, saved, lambda one: one.num_bytes, MADE, min(SAVERS, cores))


def _captioned(
    read: Generator[list[Loaded]], restorer: Restorer, captioner: Captioner | None
) -> Generator[list[Loaded]]:
    """The batches with what the captioner says; while it is asked, the batch before is restored."""
    if captioner is None:
        yield from read
        return
    shown = ([(one, shown_of(restorer, one.job, one.picture)) for one in batch] for batch in read)

    def ask(batch: Sequence[tuple[Loaded, Shown]]) -> list[Loaded]:
        return [replace(one, said=said_of(captioner, image)) for one, image in batch]

    with closing(ahead(shown, ask, lambda batch: sum(one.num_bytes for one, _ in batch), CAPTIONED)) as asked:
        yield from asked


def _restored(
    restorer: Restorer, batch: Sequence[Loaded], seed: int, count_steps: Callable[[int], None]
) -> Iterator[Made]:
    """What became of each picture of a batch."""
    steps_left = len(batch) * restorer.num_steps
    readable = [(one.prompted(), one.picture) for one in batch if one.picture is not None]

    def count(number: int) -> None:
        nonlocal steps_left
        count_steps(min(number, steps_left))
        steps_left -= min(number, steps_left)

    outcomes = iter(_outcomes(restorer, readable, seed, lambda _: count(len(readable))))
    count(steps_left)  # of what was not restored, or was clean already
    for one in batch:
        outcome = one.problem if one.picture is None else next(outcomes)
        made = {"captioned": told(one.said)} if one.said else {}
        yield Made(one.job, one.picture and one.picture.without_pixels(), outcome, made)


def _outcomes(
    restorer: Restorer, pictures: Sequence[tuple[Job, Picture]], seed: int, on_step: OnStep
) -> Sequence[Result | str]:
    """What became of each picture, or why nothing did; a batch that fails is tried picture by picture."""
    if not pictures:
        return []
    try:
        return restorer.restore_batch(
            [picture.rgb for _, picture in pictures],
            [job.caption for job, _ in pictures],
            [seed] * len(pictures),
            on_step=on_step,
            regions=[job.regions for job, _ in pictures],
        )
    except Exception as error:
        if len(pictures) == 1:
            return [reason_of(error)]
    return [outcome for pair in pictures for outcome in _outcomes(restorer, [pair], seed, on_step)]
