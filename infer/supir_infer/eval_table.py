"""The report of `supir-eval` as text: averages, what is not in them, changes, alarms, what the figures mean.

Place in the flow: `eval_cli` prints it where no JSON is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from supir_console import counted, one_line

STATISTICS = {"means": "", "medians": "median", "lower_quartiles": "25 %", "upper_quartiles": "75 %"}
NAMED = 5  # identical pairs and others that a line names; the JSON names all
NUM_MOVED = 3
ARROWS = {"higher": "↑", "lower": "↓"}
SEAM_RATIO = 1.1  # above, the worst borders are named


def table(report: Mapping[str, Any]) -> str:
    """Returns the whole text, lines ended by newlines."""
    lines = [
        *_averages(report),
        *_identical(report),
        *_seams(report["seams"]),
        *_comparison(report),
        *(f"ALARM {words}" for words in report["alarms"]),
        *_identities(report["metrics"]),
    ]
    return "\n".join(map(one_line, lines)) + "\n"


def _averages(report: Mapping[str, Any]) -> list[str]:
    names = [identity["metric"] for identity in report["metrics"]]
    rows = [["", *_heads(report["metrics"])]]
    for key, title in STATISTICS.items():
        for row, figures in report[key].items():
            rows.append([f"{row} {title}".rstrip(), *(_number(figures[name]) for name in names)])
    for end, title in enumerate(("mean at least", "mean at most")):
        for row, intervals in report["intervals"].items():
            ends = [intervals[name] and intervals[name][end] for name in names]
            rows.append([f"{row} {title}", *map(_number, ends)])
    return _aligned(rows)


def _identical(report: Mapping[str, Any]) -> list[str]:
    return [
        f"{len(names)} of {counted(report['num_images'], f'{row} picture')} equal to the reference pixel for pixel,"
        f" in no average: {_named(names)}"
        for row, names in report["identical"].items()
    ]


def _seams(seams: Mapping[str, Any]) -> list[str]:
    if not seams["num_tiled"]:
        return []
    told = (
        f"{counted(seams['num_tiled'], 'picture')} in tiles: jump at tile borders over beside them"
        f" {seams['mean_ratio']:.3f}"
    )
    worst = [
        f"{one['name']} {one['ratio']:.3f} ({one['line']})"
        for one in seams["worst"]
        if one["ratio"] > SEAM_RATIO
    ]
    return [f"{told}; worst {', '.join(worst)}" if worst else told]


def _comparison(report: Mapping[str, Any]) -> list[str]:
    lines = []
    if "comparison" in report:
        comparison = report["comparison"]
        apart = [
            f"{reason.replace('_', ' ')} {_named(names)}" for reason, names in comparison["apart"].items()
        ]
        told = f"against {report['against']}: {counted(comparison['num_compared'], 'picture')}"
        lines.append("; ".join([told, *(f"apart: {words}" for words in apart)]))
        lines += [f"not measured there: {reason}" for reason in report.get("failed_before", {}).values()]
        lines += _changes("restored", comparison["rows"].get("restored", {}), report["metrics"])
    return lines


def _changes(
    title: str, changes: Mapping[str, Mapping[str, Any]], identities: Sequence[Mapping[str, Any]]
) -> list[str]:
    rows = [[title, "before", "after", "change", "95 % of it", "p (Holm)", "better/worse/equal"]]
    moved = []
    for identity, head in zip(identities, _heads(identities), strict=True):
        one = changes.get(identity["metric"])
        if one is None:
            continue
        interval = "-" if one["interval"] is None else "{:+.4g} to {:+.4g}".format(*one["interval"])
        counts = f"{one['num_better']}/{one['num_worse']}/{one['num_equal']}"
        change = f"{one['after'] - one['before']:+.4g}"
        p = "-" if one["p_holm"] is None else f"{one['p_holm']:.2g}"
        rows.append([head, _number(one["before"]), _number(one["after"]), change, interval, p, counts])
        names = [f"{name} {after - before:+.4g}" for name, before, after in one["moved_most"][:NUM_MOVED]]
        if names:
            moved.append(f"moved most in {identity['metric']}: {', '.join(names)}")
    return [*_aligned(rows), *moved]


def _identities(identities: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = []
    for identity in identities:
        weights = ", ".join(f"{file} sha256:{digest[:12]}" for file, digest in identity["weights"]) or "none"
        parts = (identity["implementation"], f"weights {weights}", identity["colour_space"])
        lines.append(f"{identity['metric']}: {'; '.join(parts)}")
    return lines


def _heads(identities: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"{identity['metric']} {ARROWS[identity['better']]}" for identity in identities]


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
