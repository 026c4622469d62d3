"""The `supir-degrade` command: preview a recipe, make validation pairs, make negative samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supir_console import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    UserError,
    entry,
    finish,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

RecipeOption = Annotated[str, typer.Option("--recipe", help="realesrgan, light, web2026, or a YAML file.")]
CropOption = Annotated[int, typer.Option("--crop", min=16, help="Side of the square crop, px.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
DatasetArgument = Annotated[str, typer.Argument(help="Dataset folder or URL.", metavar="DATASET")]
StrengthOption = Annotated[
    list[float] | None, typer.Option("--strength", help="Columns, 0 to 1. Repeatable.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Actors where there is no GPU; one a core by default.")
]
OutOption = Annotated[str, typer.Option("-o", "--output", help="New dataset, folder or URL.")]


@app.command()
def preview(
    source: Annotated[str, typer.Argument(help="Image file or dataset.", metavar="IMAGE|DATASET")],
    out: Annotated[Path, typer.Option("-o", "--output", help="PNG to write.")],
    recipe: RecipeOption = "realesrgan",
    draws: Annotated[int, typer.Option("--draws", min=1, help="Rows: draws of the recipe.")] = 6,
    strengths: StrengthOption = None,
    crop: CropOption = 320,
    seed: SeedOption = 0,
    overrides: SetOption = [],  # noqa: B006 (typer copies it)
    as_json: JsonOption = False,
) -> None:
    """Write a contact sheet: draws of a recipe at several strengths, each tile labelled with its trace."""
    from supir_degrade.preview import contact_sheet, draw_rows
    from supir_degrade.recipe import load_recipe

    loaded = load_recipe(recipe, overrides)
    crops = _preview_crops(source, draws, crop, seed)
    sheet = contact_sheet(draw_rows(crops, loaded, strengths or [0.25, 0.5, 1.0], seed))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, "PNG")
    finish({"sheet": str(out), "size_px": list(sheet.size)}, as_json=as_json)


@app.command()
def pairs(
    dataset: DatasetArgument,
    out: OutOption,
    count: Annotated[int, typer.Option("--count", min=1, help="Number of pairs.")] = 100,
    recipe: RecipeOption = "realesrgan",
    crop: CropOption = 512,
    seed: SeedOption = 0,
    overrides: SetOption = [],  # noqa: B006 (typer copies it)
    as_json: JsonOption = False,
) -> None:
    """Write fixed LQ/HQ pairs as two datasets, OUT/lq and OUT/hq; --set changes the recipe."""
    from supir_degrade.pairs import PairsConfig, make_pairs
    from supir_degrade.recipe import load_recipe
    from supir_shards import Dataset

    config = PairsConfig(recipe=load_recipe(recipe, overrides), count=count, crop_px=crop, seed=seed)
    summary = make_pairs(Dataset(dataset), out, config)
    finish(summary, as_json=as_json, failed=int(summary["failed"]))


@app.command()
def negatives(
    dataset: DatasetArgument,
    out: OutOption,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Number of samples.")] = None,
    workers: WorkersOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 (typer copies it)
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make negative-quality samples: img2img of the dataset's own photos under the negative words."""
    from supir_console import config_yaml, load_config
    from supir_degrade.negative_job import cost, make_negatives, measure_seconds, plan
    from supir_degrade.negatives import NegativesConfig
    from supir_shards import Dataset, Store

    chosen = [*overrides, *([f"count={count}"] if count else [])]
    settings = load_config(NegativesConfig, config, chosen)
    if print_config:
        typer.echo(config_yaml(settings), nl=False)
        return
    source, target = Dataset(dataset), Store(out)
    planned = plan(source, target, settings)
    price = cost(planned, settings)
    if dry_run:
        seconds = measure_seconds(settings) if planned.todo else 0.0
        hours = round(seconds * planned.num_todo / 3600, 4)
        finish({**price, "seconds_a_sample": round(seconds, 3), "worker_hours": hours}, as_json=as_json)
        return
    typer.echo("to make: " + ", ".join(f"{value} {name}" for name, value in price.items()), err=True)
    summary = make_negatives(source, target, settings, workers)
    finish(summary, as_json=as_json, failed=int(summary["failed"]))


def _preview_crops(source: str, draws: int, crop: int, seed: int) -> list[NDArray[np.uint8]]:
    """The same photo for every row, or one photo of the dataset a row; centre crops."""
    from supir_degrade.sources import choose_sources, decode, read_photo

    if Path(source).is_file():
        return [_centre(decode(Path(source).read_bytes()), crop)] * draws
    if "://" not in source and not Path(source).exists():
        raise UserError(f"{source} does not exist; give an image file or a dataset")
    from supir_shards import Dataset

    dataset = Dataset(source)
    chosen = choose_sources(dataset, count=draws, min_side_px=crop, seed=seed)
    return [
        _centre(read_photo(dataset, found, dataset.index(found.part).to_pylist()[found.row]), crop)
        for found in chosen
    ]


def _centre(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


main = entry(app)
