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
    UserError,
    config_yaml,
    entry,
    finish,
    load_config,
)

if TYPE_CHECKING:
    from supir_curate.cluster import Cluster
    from supir_curate.config import CurateConfig
    from supir_curate.plan import Plan
    from supir_curate.select import Selection
    from supir_shards import Manifest, Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Choose texture-rich photos: score once, select by rules, pack shards, report.",
)

# Arguments may be left out so that --print-config works alone; every command asks for them after it.
Source = Annotated[
    str, typer.Argument(help="Folder of images, or Parquet file or folder with URLs.", show_default=False)
]
Dataset = Annotated[
    str, typer.Argument(help="Dataset: local path or URL such as s3://bucket/name.", show_default=False)
]
Output = Annotated[
    str, typer.Option("--output", "-o", help="Dataset to make or continue.", show_default=False)
]
Branch = Annotated[
    str,
    typer.Option(
        "--output", "-o", help="New dataset with this selection; DATASET stays.", show_default=False
    ),
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
    source: Source = "",
    output: Output = "",
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
    store = _begun("run", source, output)
    if dry_run:
        return _finish_dry_run(source, settings, workers, as_json)
    from supir_curate import pipeline
    from supir_curate.report import is_reported, write_report
    from supir_curate.select import select as select_all

    with _cluster(workers, fetchers) as cluster:
        plan = pipeline.score(store, source, settings, cluster, allow_private=allow_private)
        selection = select_all(store, plan, settings.select)
        manifest = pipeline.pack(store, plan, settings, cluster)
    if not is_reported(store):
        write_report(store, plan, settings)
    if not keep_spool:
        pipeline.drop_spool(store, plan)
    return _finish_packed(store, selection, manifest, as_json)


@app.command()
def score(
    source: Source = "",
    output: Output = "",
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
    store = _begun("score", source, output)
    if dry_run:
        return _finish_dry_run(source, settings, workers, as_json)
    from supir_curate import pipeline
    from supir_curate.failures import failed_candidates, write_failures

    with _cluster(workers, fetchers) as cluster:
        plan = pipeline.score(store, source, settings, cluster, allow_private=allow_private)
    failed = sum(1 for _ in failed_candidates(store, plan))
    listed = f"{store.url}/{write_failures(store, plan)}"
    summary = {"dataset": store.url, "seen": plan.num_candidates, "failed": failed, "failures": listed}
    return finish(summary, as_json, failed)


@app.command()
def select(
    dataset: Dataset = "",
    output: Branch = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Decide about every measured candidate by rules and duplicates; no picture is read."""
    settings = _settings(config, overrides, print_config)
    store = _existing("select", dataset)
    from supir_curate.plan import load_plan
    from supir_curate.select import branch
    from supir_curate.select import select as select_all

    plan = load_plan(store)
    rules = settings.with_recorded(store.url, plan.scoring).select
    if output:
        old, store = store, _new(output)
        plan = branch(old, store)
    _finish(store, select_all(store, plan, rules), as_json)


@app.command()
def pack(
    dataset: Dataset = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    workers: Workers = 0,
    keep_spool: KeepSpool = False,
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the selected pictures as shards."""
    settings = _settings(config, overrides, print_config)
    store = _existing("pack", dataset)
    from supir_curate import pipeline

    plan, selection, settings = _selected(store, settings)
    if dry_run:
        from supir_curate.cost import packing_cost

        return finish(packing_cost(store, plan, pipeline.unpacked_parts(store, plan)), as_json)
    with _cluster(workers) as cluster:
        manifest = pipeline.pack(store, plan, settings, cluster)
    if not keep_spool:
        pipeline.drop_spool(store, plan)
    return _finish_packed(store, selection, manifest, as_json)


@app.command()
def report(
    dataset: Dataset = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write report/index.html: funnel, histograms with their limits, examples, duplicates, failures."""
    settings = _settings(config, overrides, print_config)
    store = _existing("report", dataset)
    from supir_curate.report import write_report

    plan, selection, settings = _selected(store, settings)
    _finish(store, selection, as_json, report=f"{store.url}/{write_report(store, plan, settings)}")


@app.command()
def verify(dataset: Dataset = "", as_json: JsonOption = False) -> None:
    """Read every file of a finished dataset and compare it with its manifest."""
    from supir_shards import verify as find_problems

    store = _existing("verify", dataset)
    problems = find_problems(store)
    lines = [f"{problem.kind}: {problem.path}: {problem.detail}" for problem in problems]
    summary: dict[str, Any] = {"dataset": store.url, "num_problems": len(lines)}
    if as_json:
        summary["problems"] = lines
    else:
        sys.stderr.writelines(line + "\n" for line in lines)
    finish(summary, as_json, failed=len(lines))


def _settings(config: Path | None, overrides: list[str], print_config: bool) -> CurateConfig:
    from supir_curate.config import CurateConfig

    settings = load_config(CurateConfig, config, overrides)
    if print_config:
        sys.stdout.write(config_yaml(settings))
        raise typer.Exit
    return settings


def _begun(command: str, source: str, output: str) -> Store:
    if not source or not output:
        missing = "-o DATASET" if source else "SOURCE"
        raise UserError(f"{missing} is missing; type: supir-curate {command} SOURCE -o DATASET")
    return _new(output)


def _new(output: str) -> Store:
    from supir_shards import Store, absolute_url

    place = absolute_url(output)
    if "://" not in place and Path(place).exists() and not Path(place).is_dir():
        raise UserError(f"-o {output} is a file; give a new folder, or the dataset to continue")
    return Store(place)


def _existing(command: str, dataset: str) -> Store:
    from supir_shards import Store, absolute_url

    if not dataset:
        raise UserError(f"DATASET is missing; type: supir-curate {command} DATASET")
    return Store(absolute_url(dataset))


def _cluster(workers: int, fetchers: int = 1) -> Cluster:
    from supir_curate.cluster import Cluster, Resources

    return Cluster(Resources(workers, fetchers))


def _selected(store: Store, settings: CurateConfig) -> tuple[Plan, Selection, CurateConfig]:
    """Returns what earlier steps left, and the config with what they recorded."""
    from supir_curate.plan import load_plan
    from supir_curate.select import load_selection

    plan, selection = load_plan(store), load_selection(store)
    return plan, selection, settings.with_recorded(store.url, plan.scoring, selection.config)


def _finish_dry_run(source: str, settings: CurateConfig, workers: int, as_json: bool) -> None:
    from supir_curate.cost import estimate

    finish(estimate(source, settings, workers), as_json)


def _finish_packed(store: Store, selection: Selection, manifest: Manifest, as_json: bool) -> None:
    from supir_curate.failures import FAILURES, changed_pictures
    from supir_curate.report import REPORT

    changed = sum(1 for _ in changed_pictures(store))
    totals = manifest.totals
    figures = {"changed": changed, "samples": totals.num_samples, "image_bytes": totals.image_bytes}
    places = {"failures": f"{store.url}/{FAILURES}"}
    if store.exists(REPORT):
        places["report"] = f"{store.url}/{REPORT}"
    _finish(store, selection, as_json, num_changed=changed, **figures, **places)


def _finish(store: Store, selection: Selection, as_json: bool, num_changed: int = 0, **more: Any) -> None:
    counts = selection.model_dump(exclude={"select_hash", "config"})
    finish({"dataset": store.url, **counts, **more}, as_json, failed=selection.failed + num_changed)


main = entry(app)
