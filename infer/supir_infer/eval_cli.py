"""`supir-eval RESTORED [--reference HQ] [--lq LQ]`: measures pictures and says what the numbers mean.

Place in the flow: the command line of `evaluate`. Exit codes: 0 all measured, 1 some pictures lacked a
partner or could not be measured (they are named), 2 wrong usage or input.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supir_console import JsonOption, Progress, UserError, entry, finish, one_line, require_writable_file

if TYPE_CHECKING:
    from supir_infer.evaluate import Averages, Evaluation

DEFAULT_METRICS = "psnr,psnr_y,ssim,ssim_y,lpips,niqe"
STATISTICS = {"means": "", "medians": "median", "lower_quartiles": "25 %", "upper_quartiles": "75 %"}
NAMED = 5  # identical pairs that the table names; the summary below it names all

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def evaluate(
    restored: Annotated[Path, typer.Argument(help="A restored picture, or a folder of them.")],
    reference: Annotated[
        Path | None, typer.Option(help="The clean picture or folder; names must match.")
    ] = None,
    lq: Annotated[Path | None, typer.Option(help="The degraded input; adds a row for bicubic.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Of psnr psnr_y ssim ssim_y lpips niqe, and musiq with the extra [iqa].")
    ] = DEFAULT_METRICS,
    weights: Annotated[Path | None, typer.Option(help="Folder with weight files for niqe and musiq.")] = None,
    crop_border: Annotated[int, typer.Option(min=0, help="Px taken off each side before measuring.")] = 0,
    against: Annotated[Path | None, typer.Option(help="Earlier --json report: print the change.")] = None,
    per_image: Annotated[Path | None, typer.Option(help=".csv or .parquet with one row a picture.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measures RESTORED; every number comes with what computed it, on which weights and pixels."""
    if per_image is not None and per_image.suffix not in (".csv", ".parquet"):
        raise UserError(f"--per-image {per_image} must end in .csv or .parquet")
    if per_image is not None:
        require_writable_file(per_image, "--per-image")
    import torch

    from supir_infer.evaluate import compare, read_report
    from supir_infer.evaluate import evaluate as measure
    from supir_infer.model_source import resolve_device

    earlier = None if against is None else read_report(against)
    with Progress(None, "evaluate", "images") as progress:
        evaluation = measure(
            restored,
            reference,
            lq,
            metrics=[name.strip() for name in metrics.split(",")],
            weights=weights,
            device=torch.device(resolve_device(device)),
            crop_border_px=crop_border,
            on_image=progress.advance,
        )
    report = evaluation.report()
    if earlier is not None:
        report["change"] = compare(report, earlier, str(against))
    if per_image is not None:
        _write_per_image(evaluation, per_image)
    incomplete = len(evaluation.failed) + sum(len(names) for names in evaluation.matches.missing.values())
    if not as_json:
        sys.stdout.write(table(report))
        for key in (*STATISTICS, "metrics", "change"):
            report.pop(key, None)
    finish(report, as_json, incomplete)


def table(report: dict[str, Any]) -> str:
    """Returns means, medians and quartiles as a text table, what is not in them, and one line of identity a metric."""
    identities = report["metrics"]
    names = [identity["metric"] for identity in identities]
    arrows = {"higher": "↑", "lower": "↓"}
    head = [f"{identity['metric']} {arrows[identity['better']]}" for identity in identities]
    rows = [["", *head]]
    for title, figures in [*_statistics(report), *_changes(report)]:
        rows.append([title, *("-" if figures[name] is None else f"{figures[name]:.4f}" for name in names)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    for row, identical in report["identical"].items():
        more = ", …" if len(identical) > NAMED else ""
        lines.append(
            f"{len(identical)} of {report['num_images']} {row} pictures are their reference pixel for pixel and in no"
            f" average: {', '.join(identical[:NAMED])}{more}"
        )
    for identity in identities:
        weights = ", ".join(f"{file} sha256:{digest[:12]}" for file, digest in identity["weights"]) or "none"
        parts = (identity["implementation"], f"weights {weights}", identity["colour_space"])
        lines.append(f"{identity['metric']}: {'; '.join(parts)}")
    return "\n".join(lines) + "\n"


def _statistics(report: dict[str, Any]) -> list[tuple[str, Averages]]:
    return [
        (f"{row} {title}".rstrip(), figures)
        for key, title in STATISTICS.items()
        for row, figures in report[key].items()
    ]


def _changes(report: dict[str, Any]) -> list[tuple[str, Averages]]:
    return [(f"change of {row}", figures) for row, figures in report.get("change", {}).items()]


def _write_per_image(evaluation: Evaluation, path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "name": one_line(name),
            "row": row,
            "identical": name in evaluation.identical.get(row, ()),
            **figures,
        }
        for name, by_row in evaluation.figures.items()
        for row, figures in by_row.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    columns = ["name", "row", "identical", *(metric.identity.metric for metric in evaluation.metrics)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


main = entry(app)
