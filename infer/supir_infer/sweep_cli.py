"""`supir-infer sweep INPUT -o OUT --vary KEY=A,B,C --vary KEY=…`: what the knobs do, in pictures and figures.

Place in the flow: the command line of `sweep`. Writes OUT/sheet.png, curve.svg, table.csv, table.md, and the results
of each combination below OUT/cells. Exit codes as those of `supir-infer`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supir_console import ConfigOption, JsonOption, SetOption, UserError, counted, finish, ungrouped
from supir_infer import options as opt

if TYPE_CHECKING:
    from PIL.Image import Image

    from supir_infer.sweep import Cell, Knob, Measured

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of a sweep, the pictures that they were made from, the clean ones, and where what shows them goes."""

    knobs: tuple[Knob, ...]
    cells: list[Cell]
    source: Path
    reference: Path | None
    output: Path


@app.command()
@ungrouped
def sweep(
    *,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A picture, or a folder of pictures.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for sheet, curve, table and cells.")],
    vary: Annotated[
        list[str],
        typer.Option(
            "--vary", metavar="KEY=A,B,C", help="A config key, or seed, and its values; two or three of them."
        ),
    ],
    reference: Annotated[
        Path | None, typer.Option(help="The clean picture or folder, for PSNR and LPIPS.")
    ] = None,
    model: opt.ModelOptions,
    lora: opt.LoraOption = [],  # noqa: B006 - typer copies it
    preset: opt.PresetOption = None,
    texts: opt.CaptionOptions,
    seed: opt.SeedOption = 0,
    weights: Annotated[Path | None, typer.Option(help="Folder with NIQE's parameters.")] = None,
    device: opt.DeviceOption = "auto",
    dtype: opt.DtypeOption = "auto",
    float8: opt.Float8Option = False,
    offload: opt.OffloadOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    as_json: JsonOption = False,
) -> None:
    """Restores INPUT with every combination of two or three knobs and shows what they do."""
    from supir_infer.cli import read_settings
    from supir_infer.model_source import load_model
    from supir_infer.plan import Recipe
    from supir_infer.preset_base import tell_needs
    from supir_infer.running import Execution
    from supir_infer.sweep import cells_of, read_knobs, run_cells

    _require_places(source, output, reference)
    origin = model.changed(lora, float8)
    settings = read_settings(preset or origin.settings_preset(), config, {}, overrides)
    tell_needs(preset, origin)
    knobs = read_knobs(vary)
    cells = cells_of(knobs, settings, seed, output)
    sys.stderr.write(f"{counted(len(cells), 'combination')} of {', '.join(knob.key for knob in knobs)}\n")
    supir = load_model(origin, device, dtype, Execution(offload))
    recipe = Recipe(settings, seed, origin.described(), origin.sha256())
    failures = run_cells(cells, source, texts.source(source), recipe, supir)
    sys.stderr.writelines(f"failed: {failure.job.target}: {failure.reason}\n" for failure in failures)
    shown = _show(Grid(knobs, cells, source, reference, output), weights, device)
    if not as_json and "table" in shown:
        sys.stdout.write((output / "table.md").read_text(encoding="utf-8"))
    finish({"cells": len(cells), "failed": len(failures), **shown}, as_json, len(failures))


def _show(grid: Grid, weights: Path | None, device: str) -> dict[str, Any]:
    """Measures the cells and writes what shows them; returns what is missing, and the paths of the rest by kind."""
    import torch

    from supir_infer.model_source import resolve_device
    from supir_infer.sweep import measure_cells, shown_picture
    from supir_infer.sweep_sheet import draw_sheet

    at = torch.device(resolve_device(device))
    measured, missing = measure_cells(grid.cells, grid.source, grid.reference, weights, at)
    shown = shown_picture(grid.source, grid.cells)
    if shown is None:
        return {"missing": missing}
    pictures = [path if (path := cell.folder / shown[1]).exists() else None for cell in grid.cells]
    sheet = draw_sheet(grid.cells, grid.knobs, pictures, _given(shown[0], grid.source, grid.reference))
    return {"missing": missing, **_write(grid.output, grid.knobs, measured, sheet, missing)}


def _require_places(source: Path, output: Path, reference: Path | None) -> None:
    if not source.exists():
        raise UserError(f"{source} does not exist; give a picture or a folder of pictures")
    if reference is not None and reference.is_dir() != source.is_dir():
        raise UserError(
            f"--reference {reference} and {source} are a picture and a folder; give two of one kind"
        )
    folder, results = (source if source.is_dir() else source.parent).resolve(), output.resolve()
    if results == folder or (source.is_dir() and folder in results.parents):
        raise UserError(
            f"-o {output} is where the input lies, whose next run would restore the sheet; results need another folder"
        )


def _given(shown: Path, source: Path, reference: Path | None) -> dict[str, Path]:
    """What stands above the grid: the picture that is shown, and the clean one of its name."""
    from supir_infer.listing import list_pictures

    if reference is None:
        return {"input": shown}
    if source.is_file():
        return {"input": shown, "clean": reference}
    inside = shown.relative_to(source).with_suffix("")
    clean = list_pictures(reference).pictures
    same = [path for path in clean if path.relative_to(reference).with_suffix("") == inside]
    return {"input": shown} | ({"clean": same[0]} if same else {})


def _write(
    output: Path,
    knobs: tuple[Knob, ...],
    measured: list[Measured],
    sheet: Image,
    missing: dict[str, str],
) -> dict[str, str]:
    """Writes sheet, curve and tables; returns their paths by kind."""
    from supir_infer.sweep import MEASURES
    from supir_infer.sweep_curve import draw_curve, table_csv, table_markdown

    names = [name for name in MEASURES if any(cell.figures.get(name) is not None for cell in measured)]
    output.mkdir(parents=True, exist_ok=True)
    written = {"sheet": output / "sheet.png", "table": output / "table.csv"}
    sheet.save(written["sheet"])
    written["table"].write_text(table_csv(knobs, measured, names), encoding="utf-8")
    (output / "table.md").write_text(table_markdown(knobs, measured, names), encoding="utf-8")
    curve = draw_curve(knobs, measured)
    if curve is None:
        missing["curve"] = (
            "it sets LPIPS and PSNR against NIQE: give --reference, and results of 192 px and more"
        )
    else:
        written["curve"] = output / "curve.svg"
        written["curve"].write_text(curve, encoding="utf-8")
    return {kind: str(path) for kind, path in written.items()}
