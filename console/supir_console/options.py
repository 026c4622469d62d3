"""The command-line options that mean the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Override a config key, e.g. --set a.b=3. Repeatable."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file; keys left out keep their defaults.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one machine-readable summary on stdout.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, then stop.")]
PrintConfigOption = Annotated[
    bool, typer.Option("--print-config", help="Write the resolved config with its comments, then stop.")
]
