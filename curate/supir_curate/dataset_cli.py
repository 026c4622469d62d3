"""Commands on finished datasets, of the same `supir-curate`.

Place in the flow: `cli` adds them to its app. The law is `cli`'s: nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from supir_console import DryRunOption, JsonOption, UserError, finish
from supir_curate.arguments import Dataset, existing_dataset

Urls = Annotated[list[str], typer.Option("--url", help="URL, or path below the source folder. Repeatable.")]
Hashes = Annotated[
    list[str], typer.Option("--sha256", help="SHA-256 of original or stored bytes, in hex. Repeatable.")
]
Keys = Annotated[list[str], typer.Option("--key", help="Key of a picture or sample. Repeatable.")]
Second = Annotated[str, typer.Argument(help="Dataset to compare with.", show_default=False)]
ChangedList = Annotated[
    Path | None, typer.Option("--output", "-o", help="List of changed samples: .csv or .parquet.")
]
Lists = Annotated[list[Path], typer.Option("--list", help="File with one of these a line. Repeatable.")]


def verify(dataset: Dataset = "", as_json: JsonOption = False) -> None:
    """Read every file of a finished dataset and compare it with its manifest."""
    from supir_shards import verify as find_problems

    store = existing_dataset("verify", dataset)
    problems = find_problems(store)
    lines = [f"{problem.kind}: {problem.path}: {problem.detail}" for problem in problems]
    summary: dict[str, Any] = {"dataset": store.url, "num_problems": len(lines)}
    if as_json:
        summary["problems"] = lines
    else:
        sys.stderr.writelines(line + "\n" for line in lines)
    finish(summary, as_json, failed=len(lines))


def remove(
    dataset: Dataset = "",
    url: Urls = [],  # noqa: B006 - typer copies it
    sha256: Hashes = [],  # noqa: B006
    key: Keys = [],  # noqa: B006
    names: Lists = [],  # noqa: B006
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete pictures from every file of a finished dataset for good, and prove it."""
    from supir_curate.proof import prove_removed
    from supir_curate.purge import purge
    from supir_curate.removal import find, read_targets
    from supir_curate.tombstones import add_tombstones
    from supir_shards import load_manifest
    from supir_shards import verify as find_problems

    store = existing_dataset("remove", dataset)
    targets = read_targets(url, sha256, key, names)
    load_manifest(store)
    found = find(store, targets)
    summary: dict[str, Any] = {
        "dataset": store.url,
        "candidates": found.candidates,
        "samples": found.samples,
        "not_found": found.unknown,
        "twins_that_stay": found.twins,
    }
    if dry_run:
        return finish(summary, as_json)
    add_tombstones(store, found.digests)
    purge(store)
    proof = prove_removed(store, found.names)
    problems = [f"{problem.kind}: {problem.path}: {problem.detail}" for problem in find_problems(store)]
    summary |= {
        "files_read": proof.files,
        "bytes_read": proof.bytes,
        "still_standing": list(proof.standing),
        "problems": problems,
    }
    return finish(summary, as_json, failed=len(found.unknown) + len(proof.standing) + len(problems))


def diff(
    dataset: Dataset = "",
    other: Second = "",
    output: ChangedList = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two finished datasets: samples, what became of candidates, captions, config."""
    from supir_curate.compare import changed_rows, compare, is_csv, write_list

    if not other:
        raise UserError("a second dataset is missing; type: supir-curate diff DATASET OTHER")
    a, b = existing_dataset("diff", dataset), existing_dataset("diff", other)
    if output:
        is_csv(output)  # before the datasets are read
    difference = compare(a, b)
    summary = {"a": a.url, "b": b.url, **difference.summary}
    if output:
        summary["listed"] = write_list(output, changed_rows(a, b, difference))
    finish(summary, as_json)
