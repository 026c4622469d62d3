"""`supir-caption report` and `supir-caption compare`: pages about captions that are stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from supir_console import JsonOption, UserError, finish, require_writable_file

if TYPE_CHECKING:
    from supir_shards import Dataset

report_app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
compare_app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

OutputOption = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="HTML file to write; below DATASET/report/captions/ if left out."),
]
ExamplesOption = Annotated[int, typer.Option(min=1, max=200, help="Captions that are shown of each group.")]
PartsOption = Annotated[
    int, typer.Option(min=1, help="Parts that are read at most, evenly spread over the dataset.")
]


@report_app.command()
def report_command(
    dataset: Annotated[str, typer.Argument(help="Captioned dataset, or its folder DATASET/captions/NAME.")],
    name: Annotated[
        str | None, typer.Argument(help="Captioner; may be left out where there is only one.")
    ] = None,
    output: OutputOption = None,
    examples: ExamplesOption = 8,
    max_parts: PartsOption = 200,
    as_json: JsonOption = False,
) -> None:
    """Write one page about a captioner's captions: rates of every check with examples, lengths, openings, failures."""
    from supir_caption.pages.report import report
    from supir_caption.pages.stored import captioners, open_captions, split_place
    from supir_shards import Dataset

    if output is not None:
        require_writable_file(output, "--output")
    if name is None and "/captions/" in dataset:
        dataset, name = split_place(dataset)
    opened = Dataset(dataset)
    if name is None:
        names = captioners(opened)
        if len(names) != 1:
            raise UserError(
                f"{dataset} has captions of {', '.join(names) or 'nobody'}; type: supir-caption report {dataset} NAME"
            )
        name = names[0]
    stored = open_captions(opened, name, max_parts)
    page, summary = report(stored, examples)
    place = _write(opened, page, f"report/captions/{name}/index.html", output)
    finish({"dataset": dataset, **summary, "page": place}, as_json)


@compare_app.command()
def compare_command(
    places: Annotated[
        list[str], typer.Argument(help="DATASET NAME OTHER, or two folders DATASET/captions/NAME.")
    ],
    output: OutputOption = None,
    examples: ExamplesOption = 12,
    max_parts: PartsOption = 200,
    as_json: JsonOption = False,
) -> None:
    """Write one page with two captioners' captions side by side: pictures, checks, lengths, words of one alone."""
    from supir_caption.pages.compare import compare
    from supir_caption.pages.stored import open_both
    from supir_shards import Dataset

    if output is not None:
        require_writable_file(output, "--output")
    dataset, one, other = _compared(places)
    opened = Dataset(dataset)
    page, summary = compare(*open_both(opened, (one, other), max_parts), examples)
    place = _write(opened, page, f"report/captions/{one}-and-{other}.html", output)
    finish({"dataset": dataset, **summary, "page": place}, as_json)


def _compared(places: list[str]) -> tuple[str, str, str]:
    from supir_caption.pages.stored import split_place

    if len(places) == 3:
        dataset, one, other = places
    elif len(places) == 2:
        (dataset, one), (second, other) = map(split_place, places)
        if dataset != second:
            raise UserError(f"{places[0]!r} and {places[1]!r} lie in two datasets; compare captions of one")
    else:
        raise UserError(
            f"{len(places)} arguments; type: supir-caption compare DATASET NAME OTHER, or two folders"
            " DATASET/captions/NAME"
        )
    if one == other:
        raise UserError(f"{one!r} is compared with itself; give two captioners' names")
    return dataset, one, other


def _write(dataset: Dataset, page: bytes, path: str, output: Path | None) -> str:
    """Writes the page; returns where it lies."""
    if output is None:
        dataset.store.write(path, page)
        return f"{dataset.store.url}/{path}"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(page)
    return str(output)
