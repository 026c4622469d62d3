"""The run: open jobs are restored one batch after the other, each result and each failure is written at once.

Place in the flow: between `cli` and `restore`. Files: each output has its origin inside;
`results.jsonl` beside them gets one JSON line a picture, with provenance and seconds, or with the reason of
a failure.
The law it keeps: one bad picture costs one line, not the run; restored + failed == open jobs. Only a full
disk ends the run. An interrupted run leaves whole outputs only, and the same command continues it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supir_console import Progress, UserError, installed_version
from supir_infer.captioner import told
from supir_infer.images import ImageError, Picture, picture_size, read_picture, resize, to_bytes, to_deep
from supir_infer.plan import Job, Recipe, settings_hash
from supir_infer.restore import Restorer, Result
from supir_infer.results import append_failure, append_success
from supir_infer.saving import require_room, write_picture
from supir_infer.settings import RestoreSettings
from supir_infer.sizes import plan_sizes
from supir_model.estimator import Degradation
from supir_model.out_of_memory import is_out_of_memory
from supir_model.sampler import OnStep

if TYPE_CHECKING:
    from supir_caption.inline import Said
    from supir_infer.captioner import Captioner

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that has no result, and why."""

    job: Job
    reason: str


def run_jobs(
    restorer: Restorer,
    jobs: Sequence[Job],
    recipe: Recipe,
    results: Path,
    batch_size: int,
    captioner: Captioner | None = None,
) -> list[Failure]:
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
    failures: list[Failure] = []
    with Progress(len(jobs) * restorer.num_steps, "restore", "steps") as progress:
        for batch in batches(jobs, restorer, batch_size):
            for failure in _run_batch(restorer, batch, recipe, results, progress, captioner):
                append_failure(results, failure.job, failure.reason)
                failures.append(failure)
    return failures


def batches(jobs: Sequence[Job], restorer: Restorer, batch_size: int) -> Iterator[list[Job]]:
    """Yields the jobs in order, neighbours of one working size together, at most `batch_size` of them."""
    group: list[Job] = []
    size: tuple[int, int] | None = None
    for job in jobs:
        job_size = _working_size(job, restorer)
        if group and (len(group) == batch_size or job_size is None or job_size != size):
            yield group
            group = []
        group.append(job)
        size = job_size
    if group:
        yield group


def _working_size(job: Job, restorer: Restorer) -> tuple[int, int] | None:
    """The working size by the file's header; None where there is none, which makes a batch of its own."""
    try:
        return None if job.problem else plan_sizes(picture_size(job.source), restorer.settings).working
    except (ImageError, UserError):
        return None


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


def _run_batch(
    restorer: Restorer,
    batch: list[Job],
    recipe: Recipe,
    results: Path,
    progress: Progress,
    captioner: Captioner | None,
) -> Iterator[Failure]:
    """Restores the readable pictures of a batch; yields those of it that failed."""
    pictures: list[tuple[Job, Picture]] = []
    steps_left = len(batch) * restorer.num_steps

    def count_steps(number: int) -> None:
        nonlocal steps_left
        progress.advance(min(number, steps_left))
        steps_left -= min(number, steps_left)

    for job in batch:
        try:
            pictures.append((job, _read(job, restorer.settings)))
        except Exception as error:  # whatever is wrong with one picture costs that picture
            yield Failure(job, reason_of(error))
    said = [_said(restorer, job, picture, captioner) for job, picture in pictures]
    asked = [
        (replace(job, caption=one.text) if one else job, picture)
        for (job, picture), one in zip(pictures, said, strict=True)
    ]
    outcomes = _outcomes(restorer, asked, recipe.seed, lambda _: count_steps(len(pictures)))
    count_steps(steps_left)  # of what was not restored, or was clean already
    for (job, picture), one, outcome in zip(pictures, said, outcomes, strict=True):
        reason = reason_of(outcome) if isinstance(outcome, Exception) else ""
        if isinstance(outcome, Result):
            made = {"captioned": told(one)} if one else {}
            reason = _write(job, picture, outcome, recipe, restorer, results, made)
        if reason:
            yield Failure(job, reason)


def _said(restorer: Restorer, job: Job, picture: Picture, captioner: Captioner | None) -> Said | None:
    """What the captioner says about a picture without a caption; what goes wrong with one picture costs its text."""
    if captioner is None or job.caption:
        return None
    from supir_caption.inline import Said

    try:
        return captioner.describe([restorer.cleaned(picture.rgb)])[0]
    except UserError:
        raise
    except Exception as error:
        return Said("", abstains=reason_of(error))


def _outcomes(
    restorer: Restorer, pictures: Sequence[tuple[Job, Picture]], seed: int, on_step: OnStep
) -> Sequence[Result | Exception]:
    """What became of each picture; where a batch fails its pictures are tried alone, so that the others get theirs."""
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
            return [error]
    return [outcome for pair in pictures for outcome in _outcomes(restorer, [pair], seed, on_step)]


def _write(
    job: Job,
    picture: Picture,
    outcome: Result,
    recipe: Recipe,
    restorer: Restorer,
    results: Path,
    made: dict[str, Any],
) -> str:
    """Writes a result and its line; returns why it could not be written, "" if it was."""
    try:
        metadata = write_result(job, picture, outcome, recipe, restorer, made)
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise UserError(
                f"{job.target} cannot be written: {error.strerror}; free some space and repeat the command, "
                "what is done stays done"
            ) from error
        return f"{job.target} cannot be written: {error.strerror or error}"
    except Exception as error:  # an encoder meets what a photo says about itself here
        return f"{job.target} cannot be written: {reason_of(error)}"
    append_success(results, job, metadata)
    return ""


def reason_of(error: Exception) -> str:
    """Returns why a picture could not be restored, in one line with a way on."""
    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return (
            "out of memory, with the smallest tiles too: use --dtype bfloat16, --offload, or a smaller --upscale or "
            f"--min-size ({text[:160]})"
        )
    return text if isinstance(error, UserError | ImageError) else f"{type(error).__name__}: {text[:240]}"


def write_result(
    job: Job,
    picture: Picture,
    outcome: Result,
    recipe: Recipe,
    restorer: Restorer,
    made: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes the job's result, alpha included, and returns the metadata it carries, `made` among them."""
    origin = recipe.origin(job)
    settings = restorer.settings
    sizes = outcome.sizes
    metadata = origin | {
        "settings_hash": settings_hash(origin["settings"]),
        "prompt": outcome.prompt,
        **(made or {}),
        "size": {"input": sizes.source, "working": sizes.working, "output": sizes.output},
        "tiles": outcome.num_tiles,
        "tile_px": outcome.settings.tile_px,  # less than the settings' where memory did not suffice
        "strength": round(outcome.strength, 3),
        "degradation": _rounded(outcome.degradation),
        "seconds": {name: round(seconds, 3) for name, seconds in outcome.timings.items()},
        "device": str(restorer.supir.device),
        "dtype": restorer.precision,
        "notes": list(picture.notes),
        "versions": {name: installed_version(name) for name in ("supir-stack", "torch", "diffusers")},
    }
    to_levels = to_deep if settings.output_bits == 16 else to_bytes
    alpha = None if picture.alpha is None else to_levels(resize(picture.alpha, sizes.output))
    write_picture(
        job.target, outcome.image, alpha, metadata, picture.description, quality=settings.output_quality
    )
    return metadata


def _rounded(degradation: Degradation | None) -> dict[str, float] | None:
    if degradation is None:
        return None
    return {name: round(value, 2) for name, value in asdict(degradation).items()}
