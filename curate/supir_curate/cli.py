"""The `supir-curate` command: a folder of pictures or a list of URLs in, a dataset with a report out.

Place in the flow: the first command of the chain. The law: nothing heavy is imported before a command runs; a finished
step is not done again; exit code 1 when candidates failed, with their list in report/failures.csv.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from supir_console import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    PrintConfigOption,
    SetOption,
    entry,
    finish,
)
from supir_curate import assess_cli, dataset_cli
from supir_curate.arguments import (
    AllowPrivate,
    Branch,
    Dataset,
    Extend,
    Fetchers,
    KeepSpool,
    Output,
    RetryFailed,
    Sources,
    Workers,
    begun_dataset,
    cluster_of,
    existing_dataset,
    new_dataset,
    settings_from,
)

if TYPE_CHECKING:
    from supir_curate.config import CurateConfig
    from supir_curate.selection.select import Selection
    from supir_curate.sources.left_out import Counts
    from supir_curate.sources.plan import Plan
    from supir_shards import Manifest, Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Choose texture-rich photos: score once, select by rules, pack shards, report.",
)


@app.command()
def run(
    sources: Sources = [],  # noqa: B006
    output: Output = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    workers: Workers = 0,
    fetchers: Fetchers = 1,
    allow_private: AllowPrivate = False,
    keep_spool: KeepSpool = False,
    retry_failed: RetryFailed = False,
    extend: Extend = False,
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score, select, pack and report: the whole way from SOURCE, or several, to a dataset."""
    settings = settings_from(config, overrides, print_config)
    store = begun_dataset("run", sources, output)
    if dry_run:
        return _finish_dry_run(store, sources, settings, workers, (extend, retry_failed), as_json)
    from supir_curate import pipeline
    from supir_curate.assess import assess_if_wanted, scorers_ready
    from supir_curate.reporting.report import is_reported, write_report
    from supir_curate.reruns import Wishes, next_step, scored
    from supir_curate.selection.select import require_foreseen
    from supir_curate.selection.select import select as select_all

    require_foreseen(store, settings)
    with scorers_ready(store, settings, workers), cluster_of(workers, fetchers) as cluster:
        wishes = Wishes(extend, retry_failed)
        plan, rerun = scored(store, sources, settings, cluster, wishes, allow_private=allow_private)
        unanswered = assess_if_wanted(store, plan, settings, workers)
        selection = select_all(store, plan, settings.select)
        manifest = pipeline.pack(store, plan, settings, cluster)
    if not is_reported(store):
        write_report(store, plan, settings)
    if not (keep_spool or settings.fetch.keep_spool):
        pipeline.drop_spool(store, plan)
    return _finish_packed(
        store, plan, selection, manifest, as_json, unanswered, next_step(store, plan, rerun)
    )


@app.command()
def score(
    sources: Sources = [],  # noqa: B006
    output: Output = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    workers: Workers = 0,
    fetchers: Fetchers = 1,
    allow_private: AllowPrivate = False,
    retry_failed: RetryFailed = False,
    extend: Extend = False,
    dry_run: DryRunOption = False,
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch and measure every candidate into the ledger; nothing is decided yet."""
    settings = settings_from(config, overrides, print_config)
    store = begun_dataset("score", sources, output)
    if dry_run:
        return _finish_dry_run(store, sources, settings, workers, (extend, retry_failed), as_json)
    from supir_curate.failures import failed_candidates, write_failures
    from supir_curate.reruns import Wishes, next_step, scored

    with cluster_of(workers, fetchers) as cluster:
        wishes = Wishes(extend, retry_failed)
        plan, rerun = scored(store, sources, settings, cluster, wishes, allow_private=allow_private)
    failed = sum(1 for _ in failed_candidates(store, plan))
    listed = f"{store.url}/{write_failures(store, plan)}"
    summary = {"dataset": store.url, "seen": plan.num_candidates, "failed": failed, "failures": listed}
    told = next_step(store, plan, rerun) | _left_out(plan.left_out, as_json)
    return finish(summary | told, as_json, failed)


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
    settings = settings_from(config, overrides, print_config)
    store = existing_dataset("select", dataset)
    from supir_curate.selection.select import branch, rules_of_packed
    from supir_curate.selection.select import select as select_all
    from supir_curate.sources.plan import load_plan

    plan = load_plan(store)
    rules = settings.with_recorded(store.url, plan.scoring).select
    if output:
        old, store = store, new_dataset(output)
        plan = branch(old, store)
    else:
        rules = rules_of_packed(store, rules)
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
    settings = settings_from(config, overrides, print_config)
    store = existing_dataset("pack", dataset)
    from supir_curate import pipeline

    plan, selection, settings = _selected(store, settings)
    if dry_run:
        from supir_curate.forecasting.cost import packing_cost

        return finish(packing_cost(store, plan, pipeline.unpacked_parts(store, plan), settings.pack), as_json)
    with cluster_of(workers) as cluster:
        manifest = pipeline.pack(store, plan, settings, cluster)
    if not (keep_spool or settings.fetch.keep_spool):
        pipeline.drop_spool(store, plan)
    return _finish_packed(store, plan, selection, manifest, as_json)


@app.command()
def report(
    dataset: Dataset = "",
    config: ConfigOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    print_config: PrintConfigOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write report/index.html: funnel, histograms with their limits, examples, duplicates, failures."""
    settings = settings_from(config, overrides, print_config)
    store = existing_dataset("report", dataset)
    from supir_curate.reporting.report import write_report

    plan, selection, settings = _selected(store, settings)
    _finish(store, selection, as_json, report=f"{store.url}/{write_report(store, plan, settings)}")


def _selected(store: Store, settings: CurateConfig) -> tuple[Plan, Selection, CurateConfig]:
    """Returns what earlier steps left, and the config with what they recorded."""
    from supir_curate.selection.select import require_selected
    from supir_curate.sources.plan import load_plan

    plan = load_plan(store)
    selection = require_selected(store, plan)
    return plan, selection, settings.with_recorded(store.url, plan.scoring, selection.config)


def _finish_dry_run(
    store: Store,
    sources: list[str],
    settings: CurateConfig,
    workers: int,
    wishes: tuple[bool, bool],
    as_json: bool,
) -> None:
    from supir_curate.forecasting.cost import estimate
    from supir_curate.reruns import Wishes, foreseen
    from supir_curate.sources.plan import PLAN

    with cluster_of(workers) as cluster:
        if any(wishes) and store.exists(PLAN):
            return finish(foreseen(store, sources, settings, cluster, Wishes(*wishes)), as_json)
        figures = estimate(sources, settings, workers, cluster.spread)
    left_out = _left_out(figures.pop("left_out"), as_json)
    return finish(figures | left_out, as_json, failed=figures["unreadable"])


def _left_out(counts: Counts, as_json: bool) -> dict[str, Any]:
    """Returns what a source holds besides its candidates: counts for machines, a line a heading for people."""
    from supir_curate.sources.left_out import in_words

    return {"left_out": counts} if as_json else in_words(counts)


def _finish_packed(
    store: Store,
    plan: Plan,
    selection: Selection,
    manifest: Manifest,
    as_json: bool,
    unanswered: int = 0,
    rerun: dict[str, Any] | None = None,
) -> None:
    from supir_curate.failures import FAILURES, changed_pictures
    from supir_curate.packing.carry import captions_left_out
    from supir_curate.reporting.report import REPORT
    from supir_curate.sources.plan import load_plan

    changed = sum(1 for _ in changed_pictures(store))
    totals = manifest.totals
    figures = {"changed": changed, "samples": totals.num_samples, "image_bytes": totals.image_bytes}
    places: dict[str, Any] = {"failures": f"{store.url}/{FAILURES}"}
    if left_out := captions_left_out(load_plan(store)):
        places["captions_left_out"] = left_out
    if store.exists(REPORT):
        places["report"] = f"{store.url}/{REPORT}"
    told = figures | places | (rerun or {}) | _left_out(plan.left_out, as_json)
    _finish(store, selection, as_json, num_changed=changed + unanswered, **told)


def _finish(store: Store, selection: Selection, as_json: bool, num_changed: int = 0, **more: Any) -> None:
    counts = selection.model_dump(exclude={"select_hash", "config", "thresholds", "parts"})
    finish({"dataset": store.url, **counts, **more}, as_json, failed=selection.failed + num_changed)


app.command()(assess_cli.assess)
app.command()(dataset_cli.verify)
app.command()(dataset_cli.remove)
app.command()(dataset_cli.diff)
app.command()(dataset_cli.calibrate)
app.command()(dataset_cli.forecast)

main = entry(app)
