"""`supir-train replay RUN`: a step whose loss or gradient was no number, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from supir_console import JsonOption, finish

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def replay_command(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    incident: Annotated[
        int | None, typer.Option(min=1, help="Step of the incident; without it, the newest.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the step of an incident again from the state before it, and print its loss; nothing is written."""
    from supir_train.replay import replay

    finish(replay(run, incident), as_json)
