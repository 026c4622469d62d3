"""The `supir-degrade` command: preview a recipe, make validation pairs, make negative samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from supir_console import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    UserError,
    config_yaml,
    entry,
    finish,
    load_config,
    require_outside,
    require_writable_file,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Given = TypeVar("Given")
RECIPE_HELP = "realesrgan, light, web2026, or a YAML file."
CROP_HELP = "Side of the square crop, px"
SEED_HELP = "Seed of every random choice."
CountOption = Annotated[int | None, typer.Option("--count", min=1, help="Number of samples; 100 by default.")]
DatasetArgument = Annotated[str | None, typer.Argument(help="Dataset folder or URL.", metavar="DATASET")]
StrengthOption = Annotated[
    list[float] | None, typer.Option("--strength", help="Columns, above 0, to 1. Repeatable.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Actors where there is no GPU; one a core by default.")
]
TargetsOption = Annotated[
    bool | None,
    typer.Option(
        "--estimate-targets", help="Write blur, noise, JPEG quality and scale of each LQ as scores."
    ),
]
OutOption = Annotated[str | None, typer.Option("-o", "--output", help="New dataset, folder or URL.")]


@app.command()
def preview(
    source: Annotated[
        str | None, typer.Argument(help="Image file or dataset.", metavar="IMAGE|DATASET")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--output", help="PNG, JPEG or WebP to write.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help=RECIPE_HELP)] = "realesrgan",
    draws: Annotated[int, typer.Option("--draws", min=1, help="Rows: draws of the recipe.")] = 6,
    strengths: StrengthOption = None,
    crop: Annotated[int, typer.Option("--crop", min=16, help=f"{CROP_HELP}.")] = 320,
    seed: Annotated[int, typer.Option("--seed", help=SEED_HELP)] = 0,
    overrides: SetOption = [],  # noqa: B006 (typer copies it)
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a contact sheet: draws of a recipe at several strengths, each tile labelled with its trace.

    --set changes a key of the recipe; --print-config prints the recipe, which --recipe FILE reads back.
    """
    from supir_degrade.recipe import load_recipe

    loaded = load_recipe(recipe, overrides)
    if print_config:
        typer.echo(config_yaml(loaded), nl=False)
        return
    source = _given(source, "IMAGE or DATASET", "preview photo.jpg -o sheet.png")
    out = _given(out, "-o", "preview photo.jpg -o sheet.png")
    from supir_degrade.preview import contact_sheet, draw_rows, save_options
    from supir_degrade.requirements import check_recipe

    encoding = save_options(out)
    require_outside(str(out), source, "-o")
    require_writable_file(out, "-o")
    check_recipe(loaded)
    crops, unreadable = _preview_crops(source, draws, crop, seed)
    sheet = contact_sheet(draw_rows(crops, loaded, strengths or [0.25, 0.5, 1.0], seed))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, **encoding)
    summary = {"sheet": str(out), "size_px": list(sheet.size), "unreadable": unreadable}
    finish(summary, as_json=as_json, failed=len(unreadable))


@app.command()
def pairs(
    dataset: DatasetArgument = None,
    out: OutOption = None,
    count: CountOption = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help=f"{RECIPE_HELP} realesrgan by default.")
    ] = None,
    crop: Annotated[int | None, typer.Option("--crop", min=16, help=f"{CROP_HELP}; 512 by default.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help=f"{SEED_HELP} 0 by default.")] = None,
    estimate_targets: TargetsOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 (typer copies it)
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write fixed LQ/HQ pairs as two datasets, OUT/lq and OUT/hq; --set recipe.KEY=VALUE changes the recipe."""
    from supir_degrade.pairs import PairsConfig, cost, make_pairs, plan

    named = _flags(recipe={"name": recipe} if recipe else None)  # first, so that --set can change its keys
    flags = _flags(count=count, crop_px=crop, seed=seed, estimate_targets=estimate_targets)
    settings = load_config(PairsConfig, config, [*named, *overrides, *flags])
    if print_config:
        typer.echo(config_yaml(settings), nl=False)
        return
    from supir_shards import Dataset

    source = Dataset(_given(dataset, "DATASET", "pairs DATASET -o VAL"))
    target = _given(out, "-o", "pairs DATASET -o VAL")
    require_outside(target, source.store.url, "-o")
    if dry_run:
        finish(cost(plan(source, target, settings), settings), as_json=as_json)
        return
    summary = make_pairs(source, target, settings)
    finish(summary, as_json=as_json, failed=int(summary["failed"] or 0))


@app.command()
def negatives(
    dataset: DatasetArgument = None,
    out: OutOption = None,
    count: CountOption = None,
    workers: WorkersOption = None,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 (typer copies it)
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make negative-quality samples: img2img of the dataset's own photos under the negative words."""
    from supir_degrade.negative_job import cost, make_negatives, measure_seconds, plan
    from supir_degrade.negatives import NegativesConfig

    settings = load_config(NegativesConfig, config, [*overrides, *_flags(count=count)])
    if print_config:
        typer.echo(config_yaml(settings), nl=False)
        return
    from supir_shards import Dataset, Store

    source = Dataset(_given(dataset, "DATASET", "negatives DATASET -o NEG"))
    target = Store(_given(out, "-o", "negatives DATASET -o NEG"))
    require_outside(target.url, source.store.url, "-o")
    planned = plan(source, target, settings)
    price = cost(planned, settings)
    if dry_run:
        seconds = measure_seconds(settings) if planned.todo else 0.0
        hours = round(seconds * planned.num_todo / 3600, 4)
        finish({**price, "seconds_a_sample": round(seconds, 3), "worker_hours": hours}, as_json=as_json)
        return
    typer.echo("to make: " + ", ".join(f"{value} {name}" for name, value in price.items()), err=True)
    summary = make_negatives(source, target, settings, planned, workers)
    finish(summary, as_json=as_json, failed=int(summary["failed"] or 0))


def _flags(**values: object) -> list[str]:
    """The options that were given, as `--set` writes them."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items() if value is not None]


def _given(value: Given | None, name: str, example: str) -> Given:
    if value is None:
        raise UserError(f"{name} is missing; type: supir-degrade {example}")
    return value


def _preview_crops(
    source: str, draws: int, crop: int, seed: int
) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Centre crops, one a row: of the same photo, or of photos of the dataset, and why some of these are missing."""
    from supir_degrade.sources import UnreadablePhotoError, choose_sources, read_photo

    if Path(source).is_file():
        return [_centre(_photo(Path(source)), crop)] * draws, []
    if "://" not in source and not Path(source).exists():
        raise UserError(f"{source} does not exist; give an image file or a dataset")
    from supir_shards import Dataset

    dataset = Dataset(source)
    crops, unreadable = [], []
    for found in choose_sources(dataset, count=draws, min_side_px=crop, seed=seed):
        try:
            photo = read_photo(dataset, found, dataset.index(found.part).to_pylist()[found.row])
        except UnreadablePhotoError as error:
            unreadable.append(str(error))
            continue
        crops.append(_centre(photo.pixels, crop))
    if not crops:
        raise UserError(f"none of {draws} photos of {source} can be read, first {unreadable[0]}; run verify")
    return crops, unreadable


def _photo(path: Path) -> NDArray[np.uint8]:
    from supir_images import BadImage, decode_rgb

    try:
        return decode_rgb(path.read_bytes())
    except BadImage as error:
        raise UserError(f"{path}: {error.detail}; give a sound JPEG, PNG or WebP file") from error


def _centre(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


main = entry(app)
