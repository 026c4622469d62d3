"""One self-contained HTML page about a selection: funnel, histograms with their limits, examples, duplicates, failures.

Place in the flow: after `select`; before the spool goes, so that rejected pictures can be shown. The law: no script, no
link to anything outside the file, no clock: the same selection and the same notes of the run in log/ give the same
bytes. Everything a source said is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supir_curate.config import CurateConfig
from supir_curate.config.rules import Thresholds
from supir_curate.failures import write_failures
from supir_curate.reporting.survey import Best, Survey, survey
from supir_curate.reporting.throughput import StepTime, throughput
from supir_curate.reporting.thumbnails import thumbnails
from supir_curate.scores import Score
from supir_curate.selection.select import Selection, load_selection
from supir_curate.sources.left_out import in_words
from supir_curate.sources.plan import Plan
from supir_curate.verdict import Reason
from supir_shards import Store

REPORT = "report/index.html"
TEMPLATE = "report.html.j2"
TOP_HOSTS = 20
CHART_PX = (300, 90)


def write_report(store: Store, plan: Plan, config: CurateConfig) -> str:
    """Writes the page and the list of failures; returns the page's path below the dataset.

    Args:
        store: the dataset, with its selection.
        plan: its plan.
        config: the config as it was recorded.

    Raises:
        UserError: nothing was selected yet.
    """
    selection = load_selection(store)
    surveyed = survey(store, plan, selection.thresholds)
    shown = _earlier_thumbnails(store, surveyed)
    shown |= thumbnails(store, plan, surveyed.places(), config)
    write_failures(store, plan)
    view = _view(plan, selection, surveyed, shown, throughput(store))
    page = _template().render(**view, is_cut=config.pack.mode == "crops")
    store.write(REPORT, page.encode())
    return REPORT


def is_reported(store: Store) -> bool:
    """Returns whether the report on the present selection is there; after the spool went it cannot be made again."""
    mark = f'<meta name="selection" content="{_mark(load_selection(store))}">'
    return store.exists(REPORT) and mark.encode() in store.read(REPORT)


def _mark(selection: Selection) -> str:
    """Returns what tells a selection from others, and from itself before more was taken in."""
    return f"{selection.select_hash} {selection.parts} {selection.seen} {selection.failed} {selection.kept}"


def _earlier_thumbnails(store: Store, surveyed: Survey) -> dict[tuple[str, int], str]:
    """Returns the pictures that the page there is shows already: their bytes may be gone since, with the spool."""
    page = store.read(REPORT).decode() if store.exists(REPORT) else ""
    by_key = {
        key: uri for uri, key in re.findall(r'<img src="(data:[^"]+)" alt="[^"]*\(([0-9a-f]{32})\)"', page)
    }
    return {one.place: by_key[one.key] for one in surveyed.examples() if one.key in by_key}


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("supir_curate.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)


def _view(
    plan: Plan,
    selection: Selection,
    surveyed: Survey,
    shown: dict[tuple[str, int], str],
    steps: Iterable[StepTime],
) -> dict[str, Any]:
    """Returns what the template shows, ready to print."""
    rules = selection.thresholds

    def pictures(best: Best) -> list[dict[str, str]]:
        return [
            {
                "uri": shown[example.place],
                "title": f"{example.url} ({example.key})",
                "caption": example.caption,
            }
            for example in best.examples()
            if example.place in shown
        ]

    return {
        "source": plan.source,
        "selection": selection,
        "mark": _mark(selection),
        "funnel": _funnel(selection, rules),
        "charts": [_chart(score, surveyed, rules) for score in surveyed.scores],
        "near": [
            {
                "reason": str(reason),
                "rule": _rule_text(rules, reason),
                "kept": pictures(kept),
                "dropped": pictures(dropped),
            }
            for reason, (kept, dropped) in surveyed.near.items()
        ],
        "kept": pictures(surveyed.kept),
        "dropped": [
            {"reason": reason, "count": selection.reasons[reason], "pictures": pictures(best)}
            for reason, best in sorted(surveyed.dropped.items())
        ],
        "clusters": [
            {"size": surveyed.cluster_sizes[key], "pictures": pictures(best)}
            for key, best in surveyed.clusters.items()
        ],
        "steps": list(steps),
        "images": {"score": selection.seen, "pack": selection.kept},
        "hosts": _hosts(surveyed) if plan.has("urls") else [],
        "failures": selection.failed,
        "left_out": in_words(plan.left_out),
    }


def _rule_text(rules: Thresholds, reason: str) -> str:
    rule = rules[reason]
    return f"{rule.score} {rule.keep} {rule.limit:g}" if rule.limit is not None else f"{rule.score}: off"


def _funnel(selection: Selection, rules: Thresholds) -> list[dict[str, Any]]:
    """Returns the steps from seen to kept: what each takes away and what is left after it."""
    others = [reason for reason in Reason if reason in selection.reasons and reason not in rules]
    last = [Reason.EXACT_DUPLICATE, Reason.NEAR_DUPLICATE, Reason.OVER_QUOTA]
    order: list[str] = [*(reason for reason in others if reason not in last), *rules, *last]
    left = selection.seen
    steps = [{"name": "seen", "rule": "", "taken": 0, "left": left, "share": 1.0}]
    for reason in order:
        taken = selection.reasons.get(reason, 0)
        left -= taken
        rule = _rule_text(rules, reason) if reason in rules else ""
        share = left / max(1, selection.seen)
        steps.append({"name": str(reason), "rule": rule, "taken": taken, "left": left, "share": share})
    assert left == selection.kept, f"the funnel ends at {left}, but {selection.kept} were kept"
    return steps


def _chart(score: Score, surveyed: Survey, rules: Thresholds) -> dict[str, Any]:
    limits = [rule.limit for rule in rules.values() if rule.score == score.name and rule.limit is not None]
    width, height = CHART_PX
    span = score.high - score.low
    lines = [min(max((limit - score.low) / span, 0.0), 1.0) * width for limit in limits]
    return {
        "score": score,
        "bars": _bars(surveyed.bins[score.name]),
        "lines": lines,
        "limits": ", ".join(f"{limit:g}" for limit in limits),
        "missing": surveyed.missing[score.name],
        "width": width,
        "height": height,
    }


def _bars(counts: NDArray[np.int64]) -> list[dict[str, float]]:
    """Returns stacked bars, kept below dropped; a bar's height is the square root of its count, so few still show."""
    width, height = CHART_PX
    total = counts.sum(axis=0)
    tallest = max(1.0, float(np.sqrt(total.max())))
    step = width / counts.shape[1]
    bars = []
    for number in range(counts.shape[1]):
        full = float(np.sqrt(total[number])) / tallest * height
        kept = full * float(counts[0, number]) / max(1, int(total[number]))
        bars.append({"x": number * step, "width": step * 0.9, "kept": kept, "dropped": full - kept})
    return bars


def _hosts(surveyed: Survey) -> list[dict[str, Any]]:
    ranked = sorted(surveyed.host_failures.items(), key=lambda item: (-item[1].total(), item[0]))
    return [
        {
            "host": host or "(no host)",
            "count": reasons.total(),
            "reasons": ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())),
        }
        for host, reasons in ranked[:TOP_HOSTS]
    ]
