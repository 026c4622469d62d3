"""The `supir-curate` command: a folder of pictures or a list of URLs in, a dataset with a report out.

Place in the flow: the first command of the chain. The law: nothing heavy is imported before a command runs; a finished
step is not done again; exit code 1 when candidates failed, with their list in report/failures.csv.
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
    config_yaml,
    entry,
    finish,
    load_config,
)

if TYPE_CHECKING:
    from supir_curate.config import CurateConfig
    from supir_curate.plan import Plan
    from supir_curate.select import Selection
    from supir_shards import Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Choose texture-rich photos: score once, select by rules, pack shards, report.",
)

Source = Annotated[str, typer.Argument(help="Folder of images, or Parquet file or folder with URLs.")]
Dataset = Annotated[str, typer.Argument(help="Dataset: local path or URL such as s3://bucket/name.")]
Output = Annotated[str, typer.Option("--output", "-o", help="Dataset to make or continue.")]
Branch = Annotated[
    str, typer.Option("--output", "-o", help="New dataset with this selection; DATASET stays.")
]
Workers = Annotated[int, typer.Option(min=0, help="Processes that score or pack; 0 takes every core.")]
Fetchers = Annotated[int, typer.Option(min=1, help="Fetching processes; they share the pace.")]
AllowPrivate = Annotated[
    bool,
    typer.Option(
        "--allow-private", help="Let URLs lead to private addresses and any port. Own servers only."
    ),
]
KeepSpool = Annotated[bool, typer.Option("--keep-spool", help="Keep the fetched bytes after packing.")]


@app.command()
def run(
    source: Source,
    output: Output,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    workers: Workers = 0,
    fetchers: Fetchers = 1,
    allow_private: AllowPrivate = False,
    keep_spool: KeepSpool = False,
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score, select, pack and report: the whole way from SOURCE to a dataset."""
    settings = _settings(config, overrides, print_config)
    if dry_run:
        _finish_dry_run(source, settings, workers, as_json)
        return
    from supir_curate import pipeline
    from supir_curate.cluster import Cluster, Resources
    from supir_curate.plan import absolute
    from supir_curate.report import FAILURES, REPORT, is_reported, write_report
    from supir_curate.select import select as select_all
    from supir_shards import Store

    store = Store(absolute(output))
    with Cluster(Resources(workers, fetchers)) as cluster:
        plan = pipeline.score(store, source, settings, cluster, allow_private=allow_private)
        selection = select_all(store, plan, settings.select)
        manifest = pipeline.pack(store, plan, settings, cluster)
    if not is_reported(store):
        write_report(store, plan, settings)
    if not keep_spool:
        pipeline.drop_spool(store, plan)
    totals = manifest.totals
    sizes = {"samples": totals.num_samples, "image_bytes": totals.image_bytes}
    places = {"report": f"{store.url}/{REPORT}", "failures": f"{store.url}/{FAILURES}"}
    _finish(store, selection, as_json, **sizes, **places)


@app.command()
def score(
    source: Source,
    output: Output,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    workers: Workers = 0,
    fetchers: Fetchers = 1,
    allow_private: AllowPrivate = False,
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch and measure every candidate into the ledger; nothing is decided yet."""
    settings = _settings(config, overrides, print_config)
    if dry_run:
        _finish_dry_run(source, settings, workers, as_json)
        return
    from supir_curate import pipeline
    from supir_curate.cluster import Cluster, Resources
    from supir_curate.plan import absolute
    from supir_curate.report import write_failures
    from supir_curate.survey import failures
    from supir_shards import Store

    store = Store(absolute(output))
    with Cluster(Resources(workers, fetchers)) as cluster:
        plan = pipeline.score(store, source, settings, cluster, allow_private=allow_private)
    failed = sum(1 for _ in failures(store, plan))
    listed = f"{store.url}/{write_failures(store, plan)}"
    summary = {"dataset": store.url, "seen": plan.num_candidates, "failed": failed, "failures": listed}
    finish(summary, as_json, failed)


@app.command()
def select(
    dataset: Dataset,
    output: Branch = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Decide about every measured candidate by rules and duplicates; no picture is read."""
    settings = _settings(config, overrides, print_config)
    from supir_curate.plan import absolute, load_plan
    from supir_curate.select import branch
    from supir_curate.select import select as select_all
    from supir_shards import Store

    store = Store(absolute(dataset))
    if output:
        store, old = Store(absolute(output)), store
        plan = branch(old, store)
    else:
        plan = load_plan(store)
    _finish(store, select_all(store, plan, settings.select), as_json)


@app.command()
def pack(
    dataset: Dataset,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    workers: Workers = 0,
    keep_spool: KeepSpool = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the selected pictures as shards."""
    settings = _settings(config, overrides, print_config)
    from supir_curate import pipeline
    from supir_curate.cluster import Cluster, Resources

    store, plan, selection = _selected(dataset)
    with Cluster(Resources(workers)) as cluster:
        manifest = pipeline.pack(store, plan, settings, cluster)
    if not keep_spool:
        pipeline.drop_spool(store, plan)
    totals = manifest.totals
    _finish(store, selection, as_json, samples=totals.num_samples, image_bytes=totals.image_bytes)


@app.command()
def report(
    dataset: Dataset,
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    as_json: JsonOption = False,
) -> None:
    """Write report/index.html: funnel, histograms with their limits, examples, duplicates, failures."""
    settings = _settings(config, overrides, print_config=False)
    from supir_curate.report import write_report

    store, plan, selection = _selected(dataset)
    _finish(store, selection, as_json, report=f"{store.url}/{write_report(store, plan, settings)}")


@app.command()
def verify(dataset: Dataset, as_json: JsonOption = False) -> None:
    """Read every file of a finished dataset and compare it with its manifest."""
    from supir_shards import verify as find_problems

    problems = find_problems(dataset)
    lines = [f"{problem.kind}: {problem.path}: {problem.detail}" for problem in problems]
    if not as_json:
        sys.stderr.writelines(line + "\n" for line in lines)
    summary: dict[str, Any] = {"dataset": dataset, "problems": lines if as_json else len(lines)}
    finish(summary, as_json, failed=len(problems))


def _settings(config: Path | None, overrides: list[str], print_config: bool) -> CurateConfig:
    from supir_curate.config import CurateConfig

    settings = load_config(CurateConfig, config, overrides)
    if print_config:
        sys.stdout.write(config_yaml(settings))
        raise typer.Exit
    return settings


def _finish_dry_run(source: str, settings: CurateConfig, workers: int, as_json: bool) -> None:
    from supir_curate.cost import estimate

    finish(estimate(source, settings, workers), as_json)


def _selected(dataset: str) -> tuple[Store, Plan, Selection]:
    from supir_curate.plan import absolute, load_plan
    from supir_curate.select import load_selection
    from supir_shards import Store

    store = Store(absolute(dataset))
    return store, load_plan(store), load_selection(store)


def _finish(store: Store, selection: Selection, as_json: bool, **more: Any) -> None:
    counts = selection.model_dump(exclude={"select_hash"})
    finish({"dataset": store.url, **counts, **more}, as_json, failed=selection.failed)


main = entry(app)
