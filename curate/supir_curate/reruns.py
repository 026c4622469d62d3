"""What a rerun of `score` or `run` does beyond going on: it takes in what is new, and tries again what failed.

Place in the flow: the two commands score through here, and so do their dry runs. The law: nothing is taken in and
nothing tried again unasked; a plain rerun of what is scored says what its source holds beside it, in numbers and with
the words to type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from supir_console import UserError, counted
from supir_curate import pipeline
from supir_curate.cluster import Cluster
from supir_curate.config import CurateConfig
from supir_curate.retry import passing_failures
from supir_curate.selection.select import PACKING
from supir_curate.sources.additions import compare, extend
from supir_curate.sources.plan import PLAN, Plan, load_plan, make_plan
from supir_shards import Store, ledger_path


class Wishes(NamedTuple):
    """What a rerun is asked for beyond going on."""

    extend: bool = False
    retry_failed: bool = False


def scored(
    store: Store,
    sources: str | Sequence[str],
    config: CurateConfig,
    cluster: Cluster,
    wishes: Wishes,
    *,
    allow_private: bool,
) -> tuple[Plan, dict[str, Any]]:
    """Scores what is not scored yet, and what is wished for; returns the plan, and figures for the summary.

    Args:
        store: the dataset.
        sources: one or several, see `sources.list_source`.
        config: the run's config.
        cluster: where the parts are worked on.
        wishes: what is taken in and tried again.
        allow_private: whether URLs may lead to hosts outside the public internet.
    """
    _require_own_bytes(store, wishes)
    was_scored = store.exists(PLAN) and not _unscored(store, load_plan(store))
    figures: dict[str, Any] = {}
    plan = make_plan(store, sources, config, cluster.spread)
    if wishes.extend:
        plan, counts = extend(store, plan, cluster.spread)
        figures |= _at_source(counts) | {"taken_in": counts["new"]}
    elif was_scored:
        compared = _compared(store, plan, cluster)
        figures |= compared if any(compared.values()) else {}
    pipeline.score_parts(store, plan, config, cluster, allow_private=allow_private)
    if wishes.retry_failed:
        plan, retried = pipeline.retry(store, plan, config, cluster, allow_private=allow_private)
        figures |= {"retried": retried.tried, "succeeded": retried.succeeded}
        figures |= {"failed_otherwise": retried.settled}
    return plan, figures


def foreseen(
    store: Store, sources: Sequence[str], config: CurateConfig, cluster: Cluster, wishes: Wishes
) -> dict[str, Any]:
    """Returns what `scored` would take in and try again, for a dataset with a plan; nothing is fetched or written."""
    _require_own_bytes(store, wishes)
    plan = make_plan(store, sources, config, cluster.spread)
    figures: dict[str, Any] = {"dataset": store.url, "parts": plan.num_parts}
    if wishes.extend:
        figures |= _at_source(compare(store, plan, cluster.spread))
        figures["new_parts"] = -(-figures["source_new"] // plan.scoring.source.part_size)
    if wishes.retry_failed:
        if left := _unscored(store, plan):
            raise UserError(
                f"{store.url} has {counted(len(left), 'part')} not scored yet; run the command without it first"
            )
        rows = passing_failures(store, plan)
        figures["to_retry"] = sum(map(len, rows.values()))
        figures["reasons"] = dict(_reasons(store, rows))
    return figures


def next_step(store: Store, plan: Plan, figures: dict[str, Any]) -> dict[str, Any]:
    """Returns figures with what is to be typed, where the source has more, or shards lack what is scored now."""
    told = dict(figures)
    if figures.get("source_new") and "taken_in" not in figures:
        told["to_take_in"] = "the same command with --extend"
    if store.exists(PACKING) and pipeline.unpacked_parts(store, plan):
        told["to_pack"] = f"supir-curate select {store.url} && supir-curate pack {store.url}"
    return told


def _require_own_bytes(store: Store, wishes: Wishes) -> None:
    """Raises UserError where new parts would need fetched bytes in a dataset that reads another one's."""
    if any(wishes) and store.exists(PLAN) and (holder := load_plan(store).spool):
        raise UserError(
            f"{store.url} was selected from {holder}; take in and try again there, then: supir-curate select"
            f" {holder} -o NEW"
        )


def _compared(store: Store, plan: Plan, cluster: Cluster) -> dict[str, Any]:
    """Returns what the source holds beside the plan; one that is gone is no reason not to go on."""
    try:
        return _at_source(compare(store, plan, cluster.spread))
    except (UserError, OSError) as error:
        return {"source_unlisted": str(error)}


def _at_source(counts: dict[str, int]) -> dict[str, Any]:
    return {f"source_{name}": count for name, count in counts.items()}


def _unscored(store: Store, plan: Plan) -> list[str]:
    done = set(store.list("ledger"))
    return [part for part in plan.parts() if ledger_path(part) not in done]


def _reasons(store: Store, rows: dict[str, list[int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for part, chosen in rows.items():
        wanted = set(chosen)
        for row in store.read_table(ledger_path(part), ["source_row", "reason"]).to_pylist():
            counts[row["reason"]] += row["source_row"] in wanted
    return +counts
