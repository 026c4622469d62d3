"""RUN/events: what metrics.jsonl and RUN/sheets hold, as TensorBoard reads it.

Place in the flow: `run.py` opens them, `loop.py` writes each line of metrics to both. The law it keeps: they say
nothing that metrics.jsonl does not; a start makes them again from the lines that stand, so that a continued run shows
no step twice and nothing that lies after its checkpoint. So a disk that takes no more of them ends no run.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

PLACE = ("step", "phase", "phase_step", "time")
"""Keys of a line of metrics that say where it stands and are no figure."""
FLUSH_S = 30

log = logging.getLogger(__name__)


class Curves:
    """The event files of a run, made anew.

    Args:
        run: the run folder.
        lines: the lines of metrics.jsonl that stand.
    """

    def __init__(self, run: Path, lines: Iterable[Mapping[str, Any]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(run / "events", ignore_errors=True)
        self._run, self._writer = run, SummaryWriter(run / "events", flush_secs=FLUSH_S)
        self._is_given_up = False
        for line in lines:
            self.write(line)

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds the figures of a line of metrics under PHASE/NAME, and its sheet as a picture."""
        with self._giving_up_on_full_disk():
            self._add(line)

    def close(self) -> None:
        """Writes out what is held back."""
        with self._giving_up_on_full_disk():
            self._writer.close()

    @contextmanager
    def _giving_up_on_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # once met, each later call meets it again
            if not self._is_given_up:
                log.warning(
                    "%s ends here: %s; metrics.jsonl goes on, and the next start makes the curves again",
                    self._run / "events",
                    error,
                )
            self._is_given_up = True

    def _add(self, line: Mapping[str, Any]) -> None:
        step, phase, when = line["step"], line["phase"], line["time"]
        for name, value in line.items():
            if name == "sheet":
                self._write_sheet(phase, value, step, when)
            elif name not in PLACE:
                self._writer.add_scalar(f"{phase}/{name}", value, step, walltime=when)

    def _write_sheet(self, phase: str, name: str, step: int, when: float) -> None:
        from PIL import Image

        try:
            with Image.open(self._run / name) as sheet:
                pixels = np.asarray(sheet.convert("RGB"))
        except OSError:  # the user may clear old sheets away
            return
        self._writer.add_image(f"{phase}/restored", pixels, step, walltime=when, dataformats="HWC")


def open_curves(run: Path, lines: Iterable[Mapping[str, Any]]) -> Curves | None:
    """Returns the event files, or None, after a word on it, where tensorboard is not installed."""
    if find_spec("tensorboard") is None:
        log.warning(
            "tensorboard is not installed, so the curves stand in %s alone; type: pip install 'supir-stack[train]'",
            run / "metrics.jsonl",
        )
        return None
    return Curves(run, lines)
