"""Which pictures of a run are restored together, and their files read and decoded.

Place in the flow: `folder` has the files read and the batches decoded ahead of their restoration.
The law it keeps: a file is read once, its hash and size taken of the bytes that are decoded later; whatever is wrong
with one picture costs that picture; it is a batch of its own, or is left out of the one that it belonged to.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from supir_infer.images import ImageError, Picture, picture_in, read_file, size_in
from supir_infer.outcomes import reason_of
from supir_infer.plan import Job
from supir_infer.saving import require_room
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import Sizes, plan_sizes

if TYPE_CHECKING:
    from supir_infer.captioner import Said

READ_BYTES_A_PX = 16
"""Of a picture in memory: four channels of float32."""
FILE_BYTES_A_PX = 4
"""Of a file at most, as a rule: four channels of 8 bits as they are."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A job with the hash of its file, the file's bytes and the sizes by its header; or why there are none."""

    job: Job
    sizes: Sizes | None = None
    data: bytes = b""
    problem: str = ""


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


def file_bytes(job: Job) -> int:
    """Returns how long a job's file is, in bytes; 0 where it is not read."""
    try:
        return 0 if job.problem else job.source.stat().st_size
    except OSError:
        return 0  # reading it will say why


def look_up(job: Job, settings: RestoreSettings) -> Sized:
    """Returns the job with its file's bytes and its sizes, or with what is wrong."""
    try:
        if job.problem:
            raise ImageError(job.problem)
        data = read_file(job.source)
        sha256 = hashlib.sha256(data).hexdigest()
        if job.sha256 not in ("", sha256):
            raise ImageError(f"{job.source.name}: changed while the run went on; repeat the command")
        job = replace(job, sha256=sha256)
        return Sized(job, plan_sizes(size_in(data, job.source.name), settings), data)
    except Exception as error:  # whatever is wrong with one picture costs that picture
        return Sized(job, problem=reason_of(error))


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
    return [_loaded(sized, settings) for sized in batch]


def _loaded(sized: Sized, settings: RestoreSettings) -> Loaded:
    if sized.sizes is None:
        return Loaded(sized.job, None, sized.problem)
    try:
        return Loaded(sized.job, _decoded(sized.job, sized.data, sized.sizes, settings))
    except Exception as error:  # whatever is wrong with one picture costs that picture
        return Loaded(sized.job, None, reason_of(error))


def _decoded(job: Job, data: bytes, sizes: Sizes, settings: RestoreSettings) -> Picture:
    """The picture in a file; `ImageError` if it cannot be had, or gives no result of the kind that is asked for."""
    name = job.source.name
    picture = picture_in(data, name, job.sha256)
    try:
        require_room(settings.output_format, sizes.output, picture.alpha)
    except ValueError as error:
        raise ImageError(f"{name}: {error}") from error
    return picture
