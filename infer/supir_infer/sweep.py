"""A grid over two or three knobs: every combination restored and measured, as the paper's figures were made.

Place in the flow: `sweep_cli` reads the knobs; cells run through `plan` and `folder` like any other run, so that an
interrupted sweep goes on; `sweep_sheet` and `sweep_curve` show what is measured here.
The law it keeps: all cells have one model, one caption and, unless it is a knob, one seed; they differ in their knobs
alone.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from supir_console import UserError
from supir_infer.images import picture_size
from supir_infer.saving import read_metadata
from supir_infer.settings import RestoreSettings, change_settings

if TYPE_CHECKING:
    import torch

    from supir_infer.captions import CaptionFor
    from supir_infer.outcomes import Ended
    from supir_infer.plan import Plan, Recipe
    from supir_model import Supir

SEED = "seed"
KIND = "png"
"""Of a cell's results, which are measured: nothing is lost in it."""
FIXED = ("output_format", "output_bits", "output_quality")
MOST_KNOBS = 3
NIQE_SIDE_PX = 192
GIVEN = "as given"
MEASURES = ("psnr", "lpips", "niqe")


@dataclass(frozen=True, slots=True)
class Knob:
    """A config key, or `seed`, with the values it takes."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination: its values by knob, what is made with them, and the folder of its results."""

    values: Mapping[str, Any]
    settings: RestoreSettings
    seed: int
    folder: Path

    def label(self, keys: Sequence[str]) -> str:
        """Returns the values of some knobs as text."""
        return ", ".join(f"{key}={said(self.values[key])}" for key in keys)


@dataclass(frozen=True, slots=True)
class Measured:
    """The means of a cell's pictures by measure, and its seconds a picture; `values` is {} for the given pictures."""

    values: Mapping[str, Any]
    figures: Mapping[str, float | None]
    seconds: float | None


def read_knobs(lines: Sequence[str]) -> tuple[Knob, ...]:
    """Returns the knobs of `--vary KEY=A,B,C` options.

    Raises:
        UserError: none, more than three, one twice, one without two values, or an unknown key.
    """
    knobs = tuple(map(_knob, lines))
    keys = [knob.key for knob in knobs]
    if not 1 <= len(knobs) <= MOST_KNOBS or len(set(keys)) != len(keys):
        raise UserError(
            f"--vary is given for {', '.join(keys) or 'nothing'}; give it once for each of two or three knobs, as in "
            "--vary start_sigma=0.03,0.3 --vary strength=0.5,1"
        )
    return knobs


def _knob(line: str) -> Knob:
    key, equals, text = line.partition("=")
    try:
        values = tuple(yaml.safe_load(f"[{text}]")) if equals else ()
    except yaml.YAMLError:
        values = ()
    if len(values) < 2 or len({repr(value) for value in values}) != len(values):
        raise UserError(f"--vary {line} has no two different values; write KEY=A,B, as in --vary steps=1,2,4")
    if key in FIXED:
        raise UserError(f"--vary {line}: results of a sweep are {KIND} files of 8 bits; vary another key")
    if key != SEED and key not in RestoreSettings.model_fields:
        change_settings(RestoreSettings(), {}, [f"{key}=0"])  # its own words, with the nearest key
    return Knob(key, values)


def cells_of(knobs: Sequence[Knob], settings: RestoreSettings, seed: int, output: Path) -> list[Cell]:
    """Returns a cell for every combination, the last knob's values one after the other.

    Raises:
        UserError: a combination is not allowed.
    """
    cells = []
    for combination in itertools.product(*(knob.values for knob in knobs)):
        values = {knob.key: value for knob, value in zip(knobs, combination, strict=True)}
        changes = {key: value for key, value in values.items() if key != SEED} | {
            "output_format": KIND,
            "output_bits": 8,
        }
        chosen = int(values.get(SEED, seed))
        name = _folder_name(values)
        cells.append(Cell(values, change_settings(settings, changes), chosen, output / "cells" / name))
    return cells


def run_cells(
    cells: Sequence[Cell], source: Path, caption_for: CaptionFor, recipe: Recipe, supir: Supir
) -> list[Ended]:
    """Restores what is not restored yet; returns the pictures that failed.

    Args:
        cells: the grid.
        source: picture or folder.
        caption_for: see `captions`.
        recipe: model and its hash; settings and seed are the cells'.
        supir: the model.
    """
    from supir_infer.earlier_results import RESULTS
    from supir_infer.folder import run_jobs
    from supir_infer.restore import Restorer
    from supir_infer.results import complete_results

    failures = []
    for cell, cell_recipe, plan in _plans(cells, source, caption_for, recipe):
        results = cell.folder / RESULTS
        complete_results(results, plan)
        failures += run_jobs(Restorer(supir, cell.settings), plan.open, cell_recipe, results, 1)
    return failures


def _plans(
    cells: Sequence[Cell], source: Path, caption_for: CaptionFor, recipe: Recipe
) -> list[tuple[Cell, Recipe, Plan]]:
    """All plans before the first picture is restored: what conflicts is said while nothing is spent."""
    from dataclasses import replace

    from supir_infer.plan import find_jobs, plan_jobs

    plans = []
    for cell in cells:
        cell_recipe = replace(recipe, settings=cell.settings, seed=cell.seed)
        jobs = find_jobs(source, cell.folder, caption_for, KIND)
        plans.append((cell, cell_recipe, plan_jobs(jobs, cell_recipe)))
    return plans


def measure_cells(
    cells: Sequence[Cell],
    source: Path,
    reference: Path | None,
    weights: Path | None,
    device: torch.device,
) -> tuple[list[Measured], dict[str, str]]:
    """Returns the given pictures' figures and each cell's, and why a measure is missing.

    Args:
        cells: restored.
        source: the pictures that were restored.
        reference: the clean ones; None leaves `niqe` alone.
        weights: folder of weight files, see `supir_quality`.
        device: where the measures run.
    """
    from supir_infer.evaluate import Ways, evaluate
    from supir_infer.matching import match_samples

    measured: list[Measured] = []
    skipped: dict[str, str] = {}
    for cell in cells:
        made = _made(cell.folder)
        if not made:
            measured.append(Measured(cell.values, {}, None))
            continue
        names = _measures(made, reference, skipped)
        if not names:
            measured.append(Measured(cell.values, {}, _seconds(made)))
            continue
        matches = match_samples(made[0] if source.is_file() else cell.folder, reference, source)
        evaluation = evaluate(matches, Ways(names, weights, device), lambda: None)
        skipped |= evaluation.skipped
        means = evaluation.means()
        if not measured and "bicubic" in means:
            measured.append(Measured({}, means["bicubic"], None))
        measured.append(Measured(cell.values, means.get("restored", {}), _seconds(made)))
    return measured, skipped


def _measures(made: Sequence[Path], reference: Path | None, skipped: dict[str, str]) -> list[str]:
    """The measures that these results and partners allow; why the others are missing goes into `skipped`."""
    names = list(MEASURES)
    if reference is None:
        for name in ("psnr", "lpips"):
            names.remove(name)
            skipped[name] = "needs --reference"
    smallest = min(min(picture_size(path)) for path in made)
    if smallest < NIQE_SIDE_PX:
        names.remove("niqe")
        skipped["niqe"] = f"a result has a side of {smallest} px, less than {NIQE_SIDE_PX}"
    return names


def shown_picture(source: Path, cells: Sequence[Cell]) -> tuple[Path, Path] | None:
    """Returns the first picture that a cell has a result of, and where it lies below each cell's folder.

    None where nothing was restored.
    """
    from supir_infer.earlier_results import list_to_restore
    from supir_infer.picture_names import picture_names

    pictures, names = [source], [source.stem]
    if source.is_dir():
        pictures = list_to_restore(source, cells[0].folder).pictures
        names = picture_names([path.relative_to(source) for path in pictures])
    results = [Path(f"{name}.png") for name in names]
    restored = (
        (picture, result)
        for picture, result in zip(pictures, results, strict=True)
        if any((cell.folder / result).exists() for cell in cells)
    )
    return next(restored, None)


def _made(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


def _seconds(made: Sequence[Path]) -> float | None:
    seconds = [sum((read_metadata(path) or {}).get("seconds", {}).values()) for path in made]
    return sum(seconds) / len(seconds) if seconds else None


def said(value: Any) -> str:
    """Returns a value as a label: numbers short, None as null."""
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value)


def _folder_name(values: Mapping[str, Any]) -> str:
    whole = ",".join(f"{key}={said(value)}" for key, value in values.items())
    name = re.sub(r"[^\w.,=+-]", "_", whole)[:100]
    return name if name == whole else f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
