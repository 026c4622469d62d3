"""What a loop talks to: the processes and the device, the logs, and whoever may tell it to stop.

Place in the flow: `run.py` makes one for all phases of a start; `loop.py` and `step.py` only speak to it. The law it
keeps: one process writes, all of them come by.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from supir_console import Progress as ProgressLine
from supir_train.batch import Batch
from supir_train.curves import Curves
from supir_train.metrics import BadSamples, StepLog, pair_lines
from supir_train.pace import Pace
from supir_train.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The surroundings of a loop: where it computes, with whom, where it writes, and who tells it to stop."""

    device: torch.device
    world: World
    pace: Pace
    logs: Mapping[str, StepLog]
    """`metrics` and `traces` of the process that writes; the others have none."""
    curves: Curves | None
    """The same figures for TensorBoard, where it is installed and this process writes."""
    bad_samples: BadSamples
    should_stop: Callable[[int], bool]
    """Asked after each step, and often while it is validated, with the number of steps of the run that are done."""
    passed_over: frozenset[int] = frozenset()
    """Steps of the run that move no weight, see `incidents.py`."""

    def progress(self, phase: str, steps: int, done: int) -> ProgressLine:
        """Returns the line that tells the user how the phase goes on; the process that writes shows it.

        Args:
            phase: its name.
            steps: those of the phase.
            done: how many of them earlier starts have made.
        """
        return ProgressLine(steps, phase, "steps", done=done, shown=self.world.writes)

    def log(self, line: Mapping[str, Any]) -> None:
        """Writes a line of metrics."""
        if self.world.writes:
            line = {**line, "time": round(time.time(), 3)}
            self.logs["metrics"].write(line)
            if self.curves:
                self.curves.write(line)

    def trace(self, place: Mapping[str, Any], used: Sequence[Batch]) -> None:
        """Writes what the pairs of a step were made from, those of all processes."""
        own = list(itertools.chain.from_iterable(map(pair_lines, used)))
        everyone = self.world.gather(own)
        if self.world.writes:
            for line in itertools.chain.from_iterable(everyone):
                self.logs["traces"].write({**place, **line})

    def note_bad(self, used: Sequence[Batch]) -> None:
        """Notes the samples of this process's batches that gave no crop."""
        for batch in used:
            self.bad_samples.add(batch.bad)
