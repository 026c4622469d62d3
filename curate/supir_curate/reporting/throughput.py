"""How long each part took, and where: notes in log/, and what the report makes of them.

Place in the flow: `pipeline` wraps the work of a part in `timed`; `report` shows `throughput`. The law: a note decides
nothing and belongs to the run, not to the dataset: `verify` passes log/ over, and two runs that end with the same
dataset differ here.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import TypeVar

from supir_shards import Store

LOG = "log"
STRAGGLERS = 5  # slowest parts of a step that the report names

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTime:
    """One part of one step.

    Args:
        part: its name.
        host: machine that did it.
        seconds: from start to end.
        cpu_seconds: processor time of the worker meanwhile; much less means that it waited for files or network.
    """

    part: str
    host: str
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """All noted parts of one step, the slowest ones by name.

    Args:
        step: its name.
        parts: how many.
        worker_hours: of all of them together.
        median_s: of a part.
        cpu_share: processor time of the whole.
        stragglers: the slowest parts, slowest first.
    """

    step: str
    parts: int
    worker_hours: float
    median_s: float
    cpu_share: float
    stragglers: tuple[PartTime, ...]


def timed(step: str, dataset: str, work: Callable[[str], Result], part: str) -> Result:
    """Does the work of a part and notes how long it took; returns the work's result.

    Args:
        step: name of the step.
        dataset: path or URL of the dataset.
        work: takes the part's name.
        part: its name.
    """
    began, began_cpu = time.perf_counter(), time.process_time()
    result = work(part)
    note = PartTime(
        part=part,
        host=socket.gethostname(),
        seconds=round(time.perf_counter() - began, 3),
        cpu_seconds=round(time.process_time() - began_cpu, 3),
    )
    Store(dataset).write(f"{LOG}/{step}/{part}.json", json.dumps(asdict(note)).encode() + b"\n")
    return result


def throughput(store: Store) -> Iterator[StepTime]:
    """Yields every step that has notes, in the order of their names."""
    for step in store.folders(LOG):
        notes = [PartTime(**json.loads(store.read(path))) for path in store.list(f"{LOG}/{step}", ".json")]
        if not notes:
            continue
        seconds = sum(note.seconds for note in notes)
        yield StepTime(
            step=step,
            parts=len(notes),
            worker_hours=seconds / 3600,
            median_s=median(note.seconds for note in notes),
            cpu_share=sum(note.cpu_seconds for note in notes) / max(seconds, 1e-9),
            stragglers=tuple(sorted(notes, key=lambda note: (-note.seconds, note.part))[:STRAGGLERS]),
        )
