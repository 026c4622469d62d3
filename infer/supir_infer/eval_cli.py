"""`supir-eval RESTORED [--reference HQ] [--lq LQ]`: measures pictures and says what the numbers mean.

Place in the flow: the command line of `evaluate`; `supir-eval vote` is handed on to `vote_cli`. Exit codes: 0 all
measured, 1 some pictures lacked a partner or could not be measured (they are named), 2 wrong usage or input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supir_console import (
    JsonOption,
    Progress,
    UserError,
    by_first_word,
    entry,
    finish,
    require_writable_file,
    ungrouped,
)
from supir_infer.eval_options import MeasureOptions, PartnerOptions
from supir_infer.vote_cli import app as vote_app

if TYPE_CHECKING:
    from supir_infer.evaluate import Ways
    from supir_infer.evaluation import Evaluation
    from supir_infer.matching import Matches

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
@ungrouped
def evaluate(
    *,
    restored: Annotated[Path, typer.Argument(help="A restored picture, or a folder of them.")],
    partners: PartnerOptions,
    measure: MeasureOptions,
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
    from supir_infer.judgement import judged
    from supir_infer.matching import match_samples

    named = partners.named_set(measure.crop_border)
    matches = named.match(restored) if named else match_samples(restored, partners.reference, partners.lq)
    ways = measure.ways(device, named)
    earlier = _earlier(against, matches, ways)
    evaluation = _measure(matches, ways)
    told = named.told(matches) if named else {}
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
