"""Which pictures of a run are restored together, and their files read.

Place in the flow: `folder` has the sizes looked up and the batches read ahead of their restoration.
The law it keeps: whatever is wrong with one picture costs that picture; it is a batch of its own, or is left out of
the one that it belonged to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from supir_console import UserError
from supir_infer.images import ImageError, Picture, picture_size, read_picture
from supir_infer.outcomes import reason_of
from supir_infer.plan import Job
from supir_infer.saving import require_room
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes, plan_sizes

if TYPE_CHECKING:
    from supir_infer.captioner import Said

READ_BYTES_A_PX = 16
"""Of a picture in memory: four channels of float32."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A job and the sizes of its picture by the file's header; None where there is none."""

    job: Job
    sizes: Sizes | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job and its picture, or why it has none; `said` is what a captioner says about it, if one was asked."""

    job: Job
    picture: Picture | None
    problem: str = ""
    said: Said | None = None

    @property
    def num_bytes(self) -> int:
        """What the picture holds in memory."""
        return 0 if self.picture is None else self.picture.rgb.nbytes

    def prompted(self) -> Job:
        """Returns the job as it is restored: what was said is its caption."""
        return replace(self.job, caption=self.said.text) if self.said else self.job


def look_up(job: Job, settings: RestoreSettings) -> Sized:
    """Returns the job with its sizes."""
    try:
        return Sized(job, None if job.problem else plan_sizes(picture_size(job.source), settings))
    except (ImageError, UserError):
        return Sized(job, None)


def batches(jobs: Iterable[Sized], batch_size: int) -> Iterator[list[Sized]]:
    """Yields the jobs in order, neighbours of one working size together, at most `batch_size` of them."""
    group: list[Sized] = []
    for job in jobs:
        if group and (
            len(group) == batch_size or _working(job) is None or _working(job) != _working(group[-1])
        ):
            yield group
            group = []
        group.append(job)
    if group:
        yield group


def _working(job: Sized) -> tuple[int, int] | None:
    return None if job.sizes is None else job.sizes.working


def read_bytes(batch: Sequence[Sized]) -> int:
    """Returns the bytes that a batch's pictures take once they are read."""
    return sum(READ_BYTES_A_PX * math.prod(job.sizes.source) for job in batch if job.sizes)


def load(batch: Sequence[Sized], settings: RestoreSettings) -> list[Loaded]:
    """Returns the batch's pictures in their order."""
    return [_loaded(sized.job, settings) for sized in batch]


def _loaded(job: Job, settings: RestoreSettings) -> Loaded:
    try:
        return Loaded(job, _read(job, settings))
    except Exception as error:  # whatever is wrong with one picture costs that picture
        return Loaded(job, None, reason_of(error))


def _read(job: Job, settings: RestoreSettings) -> Picture:
    """The job's picture; `ImageError` if it cannot be had, changed since the plan, or gives no file of that kind."""
    if job.problem:
        raise ImageError(job.problem)
    picture = read_picture(job.source)
    if picture.sha256 != job.sha256:
        raise ImageError(f"{job.source.name}: changed while the run went on; repeat the command")
    height, width = picture.rgb.shape[:2]
    size = plan_sizes((width, height), settings).output
    try:
        require_room(settings.output_format, size, picture.alpha)
    except ValueError as error:
        raise ImageError(f"{job.source.name}: {error}") from error
    return picture
