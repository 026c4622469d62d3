"""RUN/model/training.json: at which step of its run a model was made, and of what the run was begun with.

Place in the flow: `export.py` writes it with the weights, `run_checkpoints.py` asks by it whether a run is complete.
The law it keeps: a model is the run's end only if it says so, since `supir-train export` puts others in its place.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from supir_train.checkpoint import Progress
from supir_train.phase import PhaseName

FILE = "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOrigin:
    """`step`, `phase`, `phase_step` and `sources` as in a checkpoint's state.json."""

    step: int
    phase: PhaseName
    phase_step: int
    sources: dict[str, str]

    @classmethod
    def of(cls, progress: Progress) -> ModelOrigin:
        """Returns that of the model which is made of a checkpoint."""
        return cls(
            step=progress.step,
            phase=progress.phase,
            phase_step=progress.phase_step,
            sources=progress.sources,
        )

    def write(self, model: Path) -> None:
        """Writes it into a model's folder."""
        (model / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def is_of(self, model: Path) -> bool:
        """Returns whether it is that of the model in a folder."""
        try:
            found = json.loads((model / FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(found == asdict(self))
