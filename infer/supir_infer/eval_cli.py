"""`supir-eval RESTORED [--reference HQ] [--lq LQ]`: measures pictures and says what the numbers mean.

Place in the flow: the command line of `evaluate`; `supir-eval vote` is handed on to `vote_cli`. Exit codes: 0 all
measured, 1 some pictures lacked a partner or could not be measured (they are named), 2 wrong usage or input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supir_console import JsonOption, Progress, UserError, by_first_word, entry, finish, require_writable_file
from supir_infer.vote_cli import app as vote_app

if TYPE_CHECKING:
    from supir_infer.evaluate import Ways
    from supir_infer.evaluation import Evaluation
    from supir_infer.matching import Matches

DEFAULT_METRICS = "psnr,psnr_y,ssim,ssim_y,lpips,lpips_vgg,dists,niqe,brisque,consistency,colour_shift,grid"
IN_TABLE = (
    "means",
    "intervals",
    "medians",
    "lower_quartiles",
    "upper_quartiles",
    "metrics",
    "pictures",
    "identical",
)
IN_TABLE_TOO = ("comparison", "failed_before", "restored_against_bicubic", "alarms", "seams", "against")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="supir-eval vote A B [C …] asks people instead of formulas; see supir-eval vote --help.")
def evaluate(
    restored: Annotated[Path, typer.Argument(help="A restored picture, or a folder of them.")],
    reference: Annotated[
        Path | None, typer.Option(help="The clean picture or folder; names must match.")
    ] = None,
    lq: Annotated[
        Path | None, typer.Option(help="The degraded input; adds a row for bicubic, and consistency with it.")
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="[NAME=]FOLDER of a published set, instead of --reference, --lq and --crop-border."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Of psnr ssim psnr_y ssim_y psnr_y_full ssim_y_full lpips lpips_vgg dists niqe brisque consistency "
            f"colour_shift grid, and musiq with the extra [iqa]. [default: {DEFAULT_METRICS}]"
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Folder with weight files for niqe, brisque and musiq.")
    ] = None,
    crop_border: Annotated[
        int | None, typer.Option(min=0, help="Px taken off each side before measuring. [default: 0]")
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(help="SIDE[:STRIDE] in px of the tiles of pictures that do not tell theirs, for seams."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="An earlier --json report, or another run's folder: what changed, and by chance?"),
    ] = None,
    per_image: Annotated[Path | None, typer.Option(help=".csv or .parquet with one row a picture.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measures RESTORED; every number comes with what computed it, on which weights and pixels."""
    if per_image is not None:
        _check_per_image(per_image)
    import torch

    from supir_infer.evaluate import Ways
    from supir_infer.judgement import judged
    from supir_infer.matching import match_samples
    from supir_infer.model_source import resolve_device
    from supir_infer.named_sets import find_set
    from supir_infer.seams import read_tiles

    told: dict[str, Any] = {}
    if benchmark is not None:
        if reference is not None or lq is not None or crop_border is not None:
            raise UserError("--benchmark says reference, LQ and crop border itself; leave those options out")
        named = find_set(benchmark)
        matches = named.match(restored)
        crop_border, told = named.protocol.crop_border_px, named.told(matches)
        metrics = metrics or named.protocol.metrics
    else:
        matches = match_samples(restored, reference, lq)
    ways = Ways(
        metrics=[name.strip() for name in (metrics or DEFAULT_METRICS).split(",")],
        weights=weights,
        device=torch.device(resolve_device(device)),
        crop_border_px=crop_border or 0,
        tiles=read_tiles(tiles) if tiles else None,
    )
    earlier = _earlier(against, matches, ways)
    evaluation = _measure(matches, ways)
    report = {**told, **judged(evaluation.report(), against, earlier)}
    if per_image is not None:
        from supir_infer.per_image import write_per_image

        write_per_image(evaluation, per_image)
    _finish(evaluation, report, as_json)


def _check_per_image(path: Path) -> None:
    from supir_infer.per_image import SUFFIXES

    if path.suffix not in SUFFIXES:
        raise UserError(f"--per-image {path} must end in .csv or .parquet")
    require_writable_file(path, "--per-image")


def _earlier(against: Path | None, matches: Matches, ways: Ways) -> dict[str, Any] | None:
    """The earlier report: read, or measured where a run is named."""
    from supir_infer.comparison import read_report
    from supir_infer.listing import is_picture

    if against is None:
        return None
    if not against.is_dir() and not (against.is_file() and is_picture(against)):
        return read_report(against)
    return _measure(matches.with_restored(against), ways).report()


def _measure(matches: Matches, ways: Ways) -> Evaluation:
    from supir_infer.evaluate import evaluate as measure

    with Progress(len(matches.samples), "evaluate", "images") as progress:
        return measure(matches, ways, progress.advance)


def _finish(evaluation: Evaluation, report: dict[str, Any], as_json: bool) -> None:
    from supir_infer.eval_table import table

    incomplete = len(evaluation.failed) + sum(len(names) for names in evaluation.matches.missing.values())
    if not as_json:
        sys.stdout.write(table(report))
        report = {key: value for key, value in report.items() if key not in (*IN_TABLE, *IN_TABLE_TOO)}
    finish(report, as_json, incomplete)


main = entry(by_first_word(app, {"vote": vote_app}, "supir-eval"))
