"""What a run over a file or a folder has to do: which picture goes where, and which of them are done already.

Place in the flow: `cli` makes the plan, prints or estimates it, and hands the open jobs to
`folder.run_jobs`.
The law it keeps: finished work is never overwritten unasked and never done twice, and no input ever. An output carries
in itself what it was made from (picture hash, model hash, settings, caption, seed); equal means finished, different
means that this picture is refused, and the run where all are. A picture that is refused, cannot be read, or whose
caption cannot, is an open job with its `problem`: the run goes on and records it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from supir_console import UserError, counted
from supir_infer.captions import CaptionFor
from supir_infer.earlier_results import list_to_restore
from supir_infer.listing import SUFFIXES, is_picture
from supir_infer.picture_names import picture_names
from supir_infer.regions import Region, RegionsFor
from supir_infer.saving import FORMAT_OF, SUFFIX_OF, read_metadata
from supir_infer.settings import EXECUTION_KEYS, RestoreSettings

FOREIGN = "was not made by supir-infer, or is damaged"


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to restore: where it is, where the result goes, its caption and the hash of its file.

    `sha256` is "" until the file is read, which the plan leaves to the run where it can. `problem` says why it cannot
    be restored, "" if it can; then caption and hash may be empty. `regions` are the texts for its tiles.
    """

    source: Path
    target: Path
    caption: str
    sha256: str
    problem: str = ""
    regions: tuple[Region, ...] = ()


class FileHash:
    """The SHA-256 of a file, read when it is first asked for; `known` is "" until then."""

    def __init__(self, path: Path) -> None:
        self._path, self.known = path, ""

    def __call__(self) -> str:
        """Returns it in hex digits; an OSError where the file cannot be read."""
        if not self.known:
            with self._path.open("rb") as stream:
                self.known = hashlib.file_digest(stream, "sha256").hexdigest()
        return self.known


@dataclass(frozen=True, slots=True)
class Recipe:
    """What all pictures of a run share; `captioner` is who captions those that have no caption, see `captioner`."""

    settings: RestoreSettings
    seed: int
    model: str
    model_sha256: str
    captioner: str | None = None

    def origin(self, job: Job) -> dict[str, Any]:
        """Returns all that decides the pixels of the job's output; it is written into the output."""
        settings = self.settings.model_dump(mode="json", exclude=set(EXECUTION_KEYS))
        tile_captions = [[*region.box, region.text] for region in job.regions]
        return {
            "input_sha256": job.sha256,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "caption": job.caption,
            "captioner": None if job.caption else self.captioner,
            **({"tile_captions": tile_captions} if tile_captions else {}),
            "seed": self.seed,
            "settings": settings,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """`open` jobs in order, and the `finished` ones with the metadata of their outputs."""

    open: list[Job] = field(default_factory=list)
    finished: list[tuple[Job, dict[str, Any]]] = field(default_factory=list)


def settings_hash(settings: dict[str, Any]) -> str:
    """Returns 16 hex digits that name a set of settings, as `origin` holds them."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def find_jobs(
    source: Path,
    output: Path,
    caption_for: CaptionFor,
    kind: str = "png",
    regions_for: RegionsFor = lambda *_: (),
) -> list[Job]:
    """Returns a job for the picture `source`, or for every picture below the folder `source`, by name.

    Args:
        source: picture or folder; see `listing` for what is one, and `earlier_results` for what is left out.
        output: a folder, in which the tree below `source` is repeated, see `picture_names`; for one picture also the
            name of a result.
        caption_for: see `caption_source`.
        kind: of the results' files, one of `saving.SUFFIX_OF`.
        regions_for: see `regions.TileCaptions`.

    Raises:
        UserError: nothing to restore, an output name of another kind, or outputs that are the inputs.
    """
    pairs = _pairs(source, output, kind)
    sources = {identity for path, _ in pairs if (identity := _identity(path))}
    jobs = [_job(path, target, caption_for, regions_for, sources) for path, target in pairs]
    if all(job.problem == _overwrites(job.target) for job in jobs):
        raise UserError(jobs[0].problem)
    return jobs


def plan_jobs(jobs: Sequence[Job], recipe: Recipe, *, redo: bool = False) -> Plan:
    """Returns which jobs are open and which are finished.

    Args:
        jobs: from `find_jobs`.
        recipe: of the run.
        redo: makes results of this program anew, whatever they were made from.

    Raises:
        UserError: nothing can be done, since every output exists and was made from something else.
    """
    plan, refused = Plan(), []
    for job in map(_checked, jobs):
        if job.problem or not job.target.exists():
            plan.open.append(job)
            continue
        metadata = read_metadata(job.target)
        difference = _difference(metadata, recipe.origin(job))
        if difference == FOREIGN or (difference and not redo):
            refused.append((job, difference))
        elif redo:
            plan.open.append(job)
        else:
            plan.finished.append((job, metadata or {}))
    if refused and len(refused) == len(jobs):
        job, difference = refused[0]
        raise UserError(_refusal(job, f"{difference} ({counted(len(refused), 'such file')})"))
    order = {job.source: number for number, job in enumerate(jobs)}
    plan.open.extend(replace(job, problem=_refusal(job, difference)) for job, difference in refused)
    plan.open.sort(key=lambda job: order[job.source])
    return plan


def _refusal(job: Job, difference: str) -> str:
    mend = "remove it" if difference.startswith(FOREIGN) else "use --redo to make it anew"
    return (
        f"{job.target} exists and {difference}; finished work is not overwritten: {mend}, or choose another "
        "folder with -o"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _overwrites(target: Path) -> str:
    return (
        f"{target} is a picture of the input itself, which is never overwritten; choose another place with -o"
    )


def _job(
    path: Path,
    target: Path,
    caption_for: CaptionFor,
    regions_for: RegionsFor,
    sources: set[tuple[int, int]],
) -> Job:
    # without dots: a folder that is still to be made may have them behind it, as in `new/../photos/a.png`
    if _identity(Path(os.path.realpath(target))) in sources:
        return Job(path, target, "", "", _overwrites(target))
    sha256 = FileHash(path)
    try:
        regions = regions_for(path, sha256)
        return Job(path, target, caption_for(path, sha256), sha256.known, regions=regions)
    except UserError as error:
        return Job(path, target, "", sha256.known, str(error))
    except OSError as error:
        return Job(path, target, "", sha256.known, _unreadable(error, path))


def _unreadable(error: OSError, path: Path) -> str:
    name = Path(error.filename).name if error.filename else path.name  # the picture's own, or its caption's
    return f"{name}: cannot be read: {error.strerror}"


def _checked(job: Job) -> Job:
    """The job, its picture hashed where its output exists; with its problem where either cannot be had."""
    try:
        exists = job.target.exists()
    except OSError as error:
        return replace(job, problem=f"{job.target} cannot be written: {error.strerror}")
    if job.problem or job.sha256 or not exists:
        return job
    try:
        return replace(job, sha256=FileHash(job.source)())
    except OSError as error:
        return replace(job, problem=_unreadable(error, job.source))


def _pairs(source: Path, output: Path, kind: str) -> list[tuple[Path, Path]]:
    if source.is_dir():
        if output.suffix.lower() in SUFFIXES and not output.is_dir():
            raise UserError(f"-o {output} names a picture, but {source} is a folder; give an output folder")
        if os.path.realpath(output) == os.path.realpath(source):
            raise UserError(
                f"-o {output} is the input folder itself; results need another one, for example "
                f"-o {output / 'restored'}"
            )
        paths = list_to_restore(source, output).pictures
        if not paths:
            raise UserError(f"{source} holds no picture ({' '.join(SUFFIXES)}); give a folder with pictures")
        names = picture_names([path.relative_to(source) for path in paths])
        return [(path, output / f"{name}{SUFFIX_OF[kind]}") for path, name in zip(paths, names, strict=True)]
    if not source.is_file():
        what = "is no file that can be read to its end" if source.exists() else "does not exist"
        raise UserError(f"{source} {what}; give a picture or a folder of pictures")
    if not is_picture(source):
        raise UserError(
            f"{source.name} does not begin like a picture, nor end in one of {' '.join(SUFFIXES)}; give a picture"
        )
    if not names_result(output):
        return [(source, output / f"{source.stem}{SUFFIX_OF[kind]}")]
    if FORMAT_OF.get(output.suffix.lower()) != kind:
        raise UserError(
            f"-o {output.name}: results are {kind} files; give a name ending in {SUFFIX_OF[kind]}, or a folder, or "
            f"--format ({' '.join(SUFFIX_OF)})"
        )
    return [(source, output)]


def names_result(output: Path) -> bool:
    """Returns whether an output is the name of one result and no folder."""
    return output.suffix.lower() in SUFFIXES and not output.is_dir()


def _difference(metadata: dict[str, Any] | None, origin: dict[str, Any]) -> str | None:
    """Says in words how an existing output differs from what would be made now; None if it does not."""
    if metadata is None:
        return FOREIGN
    if metadata.get("input_sha256") != origin["input_sha256"]:
        return "was made from another picture"
    if metadata.get("model_sha256") != origin["model_sha256"]:
        return f"was made with another model ({metadata.get('model')}, now {origin['model']})"
    for key in ("seed", "caption", "captioner", "tile_captions"):
        if metadata.get(key) != origin.get(key):
            return f"was made with {key}={metadata.get(key)!r}, now {origin.get(key)!r}"
    before, now = metadata.get("settings"), origin["settings"]
    if not isinstance(before, dict):
        return "does not say with which settings it was made"
    for key in sorted(before.keys() | now.keys()):
        earlier = before[key] if key in before else _default(key)
        if earlier != now.get(key):
            return f"was made with {key}={earlier!r}, now {now.get(key)!r}"
    return None


def _default(key: str) -> Any:
    """What a key does that an output made before it existed does not know."""
    field = RestoreSettings.model_fields.get(key)
    return None if field is None else field.default
