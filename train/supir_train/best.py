"""The best of a run's checkpoints by one of its validation's figures.

Place in the flow: `loop.py` asks whether a validation is the best so far, `checkpoint.py` keeps the best beside the
newest, `export.py` finds it. The law it keeps: what is best is read from the checkpoints themselves, so that it cannot
point at one that is gone; the figures of two phases are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

BestFigure = Literal["validation_loss", "psnr", "ssim", "lpips"]
LOWER_IS_BETTER: frozenset[BestFigure] = frozenset({"validation_loss", "lpips"})
NEEDS_RESTORATION: tuple[BestFigure, ...] = tuple(
    name for name in get_args(BestFigure) if name != "validation_loss"
)


def goodness(figure: BestFigure, figures: Mapping[str, float]) -> float | None:
    """Returns a number that is larger the better the validation was by `figure`; None where that was not measured.

    Args:
        figures: of one validation, by their names in metrics.jsonl.
    """
    name = figure if figure == "validation_loss" else f"validation_{figure}"
    if name not in figures:
        return None
    return -figures[name] if figure in LOWER_IS_BETTER else figures[name]


def best_checkpoint(
    checkpoints: Sequence[Path], figure: BestFigure, phase: str | None = None
) -> tuple[Path, float] | None:
    """Returns the best checkpoint of a phase, the earliest of equals, and its goodness; None where none was validated.

    Args:
        checkpoints: folders, oldest first.
        figure: what is compared.
        phase: name of the phase; None for that of the newest checkpoint.
    """
    states = [(path, _state(path)) for path in checkpoints]
    wanted = phase or (states[-1][1].get("phase") if states else None)
    best: tuple[Path, float] | None = None
    for path, state in states:
        good = goodness(figure, state.get("figures", {}))
        if good is not None and state.get("phase") == wanted and (best is None or good > best[1]):
            best = path, good
    return best


def _state(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; nothing where it is damaged, which whoever loads it reports."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
