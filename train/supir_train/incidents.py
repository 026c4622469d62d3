"""RUN/incidents/step-00000007/: a step whose loss or gradient is no number, kept so that it can be made again.

    incident.json                the figures, and of each image: number, key, crop, flip, trace, prompt
    checkpoints/step-00000006/   the state before the step, see `checkpoint.py`

Place in the flow: `loop.py` finds one and ends the run, `replay.py` makes it again, the next start passes over
the step: its images are read, its noise is skipped with them, and no weight moves.
The laws it keeps: a step is listed before the run ends, and complete or not at all; no more of them are passed over
than `incident_limit` says.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from supir_console import UserError
from supir_train.batch import Batch
from supir_train.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from supir_train.config import TrainConfig
from supir_train.phase import PhaseName
from supir_train.world import World

FOLDER = "incidents"
FILE = "incident.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What is kept of a step beside its state; `step` counts over all phases, `phase_step` within `phase`, from 1.

    `loss` and `grad_norm` are texts ("nan", "inf", or the number's shortest exact form), which JSON has no numbers for.
    `images_a_batch` of the loader, `images_a_forward` and `processes` say how the step was split.
    """

    step: int
    phase: PhaseName
    phase_step: int
    seed: int
    loss: str
    grad_norm: str
    images_a_forward: int
    processes: int
    images: list[dict[str, Any]]
    images_a_batch: int | None = None
    """None in what older versions wrote, where it was `images_a_forward`."""


def image_lines(batch: Batch) -> Iterator[dict[str, Any]]:
    """Yields what each image of the batch was made from."""
    for place, (number, key, box, prompt) in enumerate(
        zip(batch.numbers, batch.keys, batch.boxes, batch.prompts, strict=True)
    ):
        trace = batch.traces[place].model_dump(mode="json") if batch.traces else None
        yield {
            "number": number,
            "key": key,
            "crop": box.corners,
            "flip": box.flip,
            "prompt": prompt,
            "trace": trace,
        }


def write_incident(run: Path, incident: Incident, save: Callable[[Path], Path], world: World) -> Path:
    """Writes the incident, lets the run go on from the state before it, and returns its folder.

    Args:
        run: the run folder.
        save: writes the state as a checkpoint below the folder that it is given, and returns the checkpoint; all
            processes call it.
        world: the processes of the run, of which one writes.
    """
    final = run / FOLDER / f"step-{incident.step:08d}"
    temporary = final.with_name(f".{final.name}")
    if world.writes:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    state = save(temporary / "checkpoints")
    if world.writes:
        _put(final, temporary, state, incident)
    return world.from_first(final)


def _put(final: Path, temporary: Path, state: Path, incident: Incident) -> None:
    if incident.phase_step > 1:  # before a phase's first step the run goes on from the end of the one before
        _put_beside(state, final.parents[1] / "checkpoints")
    with (temporary / FILE).open("w", encoding="utf-8") as file:
        json.dump(asdict(incident), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)


def list_incidents(run: Path) -> dict[int, Path]:
    """Returns the folders of the run's incidents by their step, in order."""
    found = sorted((run / FOLDER).glob(f"step-*/{FILE}"))
    return {int(path.parent.name.removeprefix("step-")): path.parent for path in found}


def load_incident(run: Path, step: int | None) -> tuple[Incident, Checkpoint]:
    """Returns an incident of the run, the newest without `step`, and the state before it.

    Raises:
        UserError: there is no such incident, or it is damaged.
    """
    listed = list_incidents(run)
    if not listed:
        raise UserError(f"{run} has no incident: each of its steps so far was a number")
    if step is not None and step not in listed:
        raise UserError(
            f"{run} has no incident of step {step}: it has only those of steps {', '.join(map(str, listed))}"
        )
    folder = listed[max(listed) if step is None else step]
    try:
        incident = Incident(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / FILE} is damaged ({error}); delete that folder") from error
    states = list_checkpoints(folder / "checkpoints")
    if not states:
        raise UserError(f"{folder} has lost its checkpoint; delete that folder")
    return incident, load_checkpoint(states[-1])


def require_few_incidents(config: TrainConfig, world: World) -> frozenset[int]:
    """Returns the steps of the run that are to be passed over, to all processes the same.

    Raises:
        UserError: they are more than the config allows.
    """
    listed = world.from_first(list(list_incidents(config.run)))
    if len(listed) > config.incident_limit:
        raise UserError(
            f"{config.run} has left the numbers at steps {', '.join(map(str, listed))}; {advice(config)}"
        )
    return frozenset(listed)


def advice(config: TrainConfig) -> str:
    """Returns what to do with a run of more incidents than are passed over."""
    return (
        f"that is more than incident_limit={config.incident_limit}: start again with a lower optimize.lr (now "
        f"{config.optimize.lr:g}) or precision fp32 in a new run, or raise incident_limit"
    )


def told(incident: Incident, folder: Path, config: TrainConfig) -> UserError:
    """Returns the error that ends the run at an incident."""
    name, value = (
        ("loss", incident.loss)
        if not math.isfinite(float(incident.loss))
        else ("gradient", incident.grad_norm)
    )
    count = len(list_incidents(config.run))
    what_next = (
        advice(config)
        if count > config.incident_limit
        else f"the same command goes on past it (incident {count} of at most {config.incident_limit}; if more come, "
        f"lower optimize.lr (now {config.optimize.lr:g}) or use precision fp32 in a new run)"
    )
    return UserError(
        f"the {name} of {incident.phase} is {value} at step {incident.step}; batch and state are kept in {folder}, "
        f"`supir-train replay {config.run}` makes it again, {what_next}"
    )


def gathered(lines: Iterable[Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Returns the lines of all processes, by the number of the image."""
    return sorted((dict(line) for own in lines for line in own), key=lambda line: line["number"])


def _put_beside(state: Path, checkpoints: Path) -> None:
    """Puts a checkpoint among those of the run; its files are shared, not copied, where the file system can."""
    final, temporary = checkpoints / state.name, checkpoints / f".{state.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(state, temporary, copy_function=_link)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
