"""Commands on finished datasets, of the same `supir-curate`.

Place in the flow: `cli` adds them to its app. The law is `cli`'s: nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from supir_console import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    UserError,
    finish,
)
from supir_curate.arguments import (
    Dataset,
    Workers,
    cluster_of,
    existing_dataset,
    new_dataset,
    settings_from,
)

if TYPE_CHECKING:
    from supir_curate.config import CurateConfig
    from supir_curate.sources.plan import Plan
    from supir_shards import Store

Urls = Annotated[list[str], typer.Option("--url", help="URL, or path below the source folder. Repeatable.")]
Hashes = Annotated[
    list[str], typer.Option("--sha256", help="SHA-256 of original or stored bytes, in hex. Repeatable.")
]
Keys = Annotated[list[str], typer.Option("--key", help="Key of a picture or sample. Repeatable.")]
Second = Annotated[str, typer.Argument(help="Dataset to compare with.", show_default=False)]
ChangedList = Annotated[
    Path | None, typer.Option("--output", "-o", help="List of changed samples: .csv or .parquet.")
]
Reference = Annotated[
    str, typer.Option("--reference", help="Trusted pictures: a source as for run, or a scored dataset.")
]
RulesFile = Annotated[
    Path | None, typer.Option("--output", "-o", help="YAML file for --config of run or select.")
]
Kept = Annotated[
    str, typer.Option("--dataset", help="Keep the reference's scores as this dataset, to go on from.")
]
Share = Annotated[float, typer.Option("--quantile", help="Share of the reference that each limit may drop.")]
Candidates = Annotated[
    int, typer.Option("--candidates", min=0, help="Candidates of the full run; 0: as many as --target needs.")
]
Target = Annotated[int, typer.Option("--target", min=0, help="Kept pictures that are wanted.")]
Rates = Annotated[
    list[str],
    typer.Option(
        "--rate",
        help="Pictures a second of one GPU: captions=18.8, negatives=0.5, or a scorer's name. Repeatable. Captions have"
        " an assumed rate, which the answer tells.",
    ),
]
Gpus = Annotated[int, typer.Option("--gpus", min=1, help="GPUs that work at a time.")]
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
    from supir_curate.takedown.proof import prove_removed
    from supir_curate.takedown.purge import purge
    from supir_curate.takedown.removal import find, read_targets
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


def calibrate(
    reference: Reference = "",
    output: RulesFile = None,
    quantile: Share = 0.05,
    dataset: Kept = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006
    workers: Workers = 0,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Set every rule's limit to a quantile of trusted pictures, such as FFHQ, and write the rules as YAML."""
    settings = settings_from(config, overrides, print_config)
    if not reference:
        raise UserError("--reference is missing; type: supir-curate calibrate --reference DIR -o rules.yaml")
    if not 0 <= quantile < 1:
        raise UserError(f"--quantile {quantile:g} is not 0 to below 1; 0.05 is usual")
    if output and output.exists():
        raise UserError(f"-o {output} is there already; give another file, or delete it")
    if output and not output.absolute().parent.is_dir():
        raise UserError(f"-o {output}: there is no folder {output.parent}; make it first")
    from tempfile import TemporaryDirectory

    from supir_curate.selection.calibrate import as_rows, rules_yaml, table_lines
    from supir_curate.selection.calibrate import calibrate as calibrated

    with TemporaryDirectory(prefix="supir-calibrate-") as folder:
        store, plan = _scored(reference, dataset or folder, settings, workers)
        found = calibrated(store, plan, settings.select.rules, quantile)
    if output:
        output.write_text(rules_yaml(found, reference, quantile), encoding="utf-8")
    summary: dict[str, Any] = {"reference": reference, "measured": found.measured, "quantile": quantile}
    summary |= {"fail_old": found.fail_old, "fail_new": found.fail_new, "rules_file": output and str(output)}
    if as_json:
        summary["rules"] = as_rows(found)
    else:
        sys.stderr.writelines(line + "\n" for line in table_lines(found))
    finish(summary, as_json)


def _scored(reference: str, place: str, settings: CurateConfig, workers: int) -> tuple[Store, Plan]:
    """Returns the scored dataset of a reference: itself, if it is one, or what is scored now at a place."""
    from supir_curate import pipeline
    from supir_curate.sources.plan import PLAN, load_plan
    from supir_shards import Store, absolute_url

    store = Store(absolute_url(reference))
    if store.exists(PLAN):
        return store, load_plan(store)
    store = new_dataset(place)
    with cluster_of(workers) as cluster:
        return store, pipeline.score(store, reference, settings, cluster, allow_private=False)


def forecast(
    dataset: Dataset = "",
    candidates: Candidates = 0,
    target: Target = 0,
    workers: Workers = 0,
    gpus: Gpus = 1,
    rate: Rates = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Say from a pilot what a run over many more candidates will give and take, with ranges."""
    store = existing_dataset("forecast", dataset)
    if not candidates and not target:
        raise UserError(
            "--candidates N or --target N is missing: how many are there, or how many are wanted?"
        )
    from supir_curate.forecasting.outlook import outlook
    from supir_curate.forecasting.words import forecast_lines

    summary = outlook(store, candidates, target, workers, rate, gpus)
    if as_json:
        return finish(summary, as_json)
    sys.stderr.writelines(line + "\n" for line in forecast_lines(summary))
    return None
