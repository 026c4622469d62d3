"""`supir-train export RUN`: the model of a checkpoint that a run keeps, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from supir_console import JsonOption, UserError, finish

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def export_command(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    step: Annotated[
        int | None, typer.Option(min=0, help="Step of the checkpoint; without it, the newest.")
    ] = None,
    best: Annotated[bool, typer.Option("--best", help="The best one by the run's validation.best.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="New folder for the model; without it RUN/model.")
    ] = None,
    official: Annotated[
        Path | None,
        typer.Option(help="New .safetensors file in the layout of the authors' SUPIR files (SDXL only)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model of a checkpoint that RUN keeps: the newest, the best, or the one of a step."""
    if best and step is not None:
        raise UserError(f"--best and --step {step} name two checkpoints; give one of them")
    from supir_train.export import export

    exported = export(run, step=step, best=best, output=output, official=official)
    summary = {
        "step": exported.step,
        "model": str(exported.model),
        "official": str(exported.official) if exported.official else None,
        **exported.figures,
    }
    finish(summary, as_json)
