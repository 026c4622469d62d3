"""Groups of options: the command line knows none, the command gets each whole."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from supir_console import ungrouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="Px.")] = 3
    height_px: Annotated[int | None, typer.Option("--height")] = None
    margins: list[int] = field(default_factory=list)


def draw(
    *,
    name: Annotated[str, typer.Argument()],
    size: Size,
    colour: Annotated[str, typer.Option(help="Of the line.")] = "red",
) -> None:
    """Draws it."""
    typer.echo(f"{name} {size} {colour}")


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer(add_completion=False)
    app.command()(ungrouped(draw))
    ended = CliRunner().invoke(app, list(arguments))
    return ended.exit_code, ended.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Size(width=3, height_px=None, margins=[]) red"),
        (["--height", "2", "--colour", "blue"], "Size(width=3, height_px=2, margins=[]) blue"),
        (
            ["--margins", "1", "--width", "9", "--margins", "2"],
            "Size(width=9, height_px=None, margins=[1, 2]) red",
        ),
    ],
)
def test_a_command_gets_its_group_whole(arguments: list[str], told: str):
    assert run("box", *arguments) == (0, f"box {told}\n")


def test_options_stand_in_their_order_and_are_checked_as_any():
    names = list(inspect.signature(ungrouped(draw)).parameters)
    assert names == ["name", "width", "height_px", "margins", "colour"]
    code, said = run("box", "--width", "0")
    assert code == 2
    assert "greater than or equal to 1" in said
    code, said = run("--help")
    assert code == 0
    assert "Draws it." in said
    assert "--size" not in said
