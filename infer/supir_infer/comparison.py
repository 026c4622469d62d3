"""Two runs over the same pictures: how much each metric changed, whether by chance, and which pictures moved most.

Place in the flow: `supir-eval --against` hands over its report and an earlier one; a report's two rows are compared
too.
The law it keeps: only what measured the same is compared: the same metrics with the same identity, over pictures
with the same reference and LQ files. Pictures that only one run has, or that are their reference in one of them,
are named apart.
Source: F. Wilcoxon, "Individual Comparisons by Ranking Methods", 1945; S. Holm, "A Simple Sequentially Rejective
Multiple Test Procedure", 1979.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from supir_console import UserError
from supir_infer.averages import Interval, mean_intervals

NUM_MOVED = 5
EQUAL = 1e-9  # a smaller change is rounding


class Picture(BaseModel):
    """Of a report: one picture."""

    reference_sha256: str | None
    lq_sha256: str | None
    identical: list[str]
    figures: dict[str, dict[str, float]]


class Report(BaseModel):
    """Of a report of `supir-eval --json`: what a comparison reads."""

    crop_border_px: int
    resize_policy: str
    alpha_policy: str
    metrics: list[dict[str, Any]]
    pictures: dict[str, Picture]

    def identities(self) -> dict[str, dict[str, Any]]:
        """Returns each metric's identity by its name."""
        return {str(identity["metric"]): identity for identity in self.metrics if "metric" in identity}


@dataclass(frozen=True, slots=True)
class PairedChange:
    """How a metric changed over the same pictures.

    Args:
        before: mean of the earlier figures.
        after: mean of the later ones.
        interval: 95 % bootstrap interval of the mean change, None of fewer than two pictures.
        p_value: of Wilcoxon's signed-rank test, two-sided; None where no picture changed.
        p_holm: the same after Holm's correction for the number of metrics.
        num_better: pictures.
        num_worse: pictures.
        num_equal: pictures.
        moved_most: name, figure before and after of those that changed most, the most first.
    """

    before: float
    after: float
    interval: Interval | None
    p_value: float | None
    p_holm: float | None
    num_better: int
    num_worse: int
    num_equal: int
    moved_most: list[tuple[str, float, float]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The paired changes by row and metric, the pictures they are over, and those left out by reason."""

    rows: dict[str, dict[str, PairedChange]]
    names: list[str]
    apart: dict[str, list[str]]

    def as_json(self) -> dict[str, Any]:
        """Returns it, ready for JSON."""
        rows = {row: {metric: asdict(one) for metric, one in by.items()} for row, by in self.rows.items()}
        return {"num_compared": len(self.names), "apart": self.apart, "rows": rows}


def read_report(path: Path) -> dict[str, Any]:
    """Returns an earlier report of `supir-eval --json`.

    Raises:
        UserError: the file is none.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _no_report(path, error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise _no_report(path, str(error)) from error
    if not isinstance(report, dict):
        raise _no_report(path, f"it holds a {type(report).__name__}")
    _parsed(report, path)
    return report


def compare(later: Mapping[str, Any], earlier: Mapping[str, Any], earlier_path: Path) -> Comparison:
    """Returns how the later report's figures differ from the earlier one's.

    Raises:
        UserError: the two measure different things, or no picture in common; the first difference is named.
    """
    now = _parsed(json.loads(json.dumps(later)), earlier_path)  # tuples become lists, as in the file
    before = _parsed(json.loads(json.dumps(earlier)), earlier_path)
    for key in ("crop_border_px", "resize_policy", "alpha_policy"):
        if getattr(now, key) != getattr(before, key):
            raise _refused(earlier_path, f"{key} is {getattr(before, key)}, now {getattr(now, key)}")
    metrics = _shared_metrics(now, before, earlier_path)
    names, apart = _shared_pictures(now, before, earlier_path)
    for name in names:
        for row in (before.pictures[name].figures or {"restored": {}}).values():
            if missing := [metric["metric"] for metric in metrics if metric["metric"] not in row]:
                raise _no_report(earlier_path, f"the figures of {name} have no {missing[0]}")
    shared_rows = set.intersection(
        *(set(report.pictures[name].figures) for report in (now, before) for name in names)
    )
    rows = {
        row: paired_changes(
            {name: before.pictures[name].figures[row] for name in names},
            {name: now.pictures[name].figures[row] for name in names},
            metrics,
        )
        for row in sorted(shared_rows, reverse=True)  # restored, then bicubic
    }
    return Comparison(rows, names, apart)


def paired_changes(
    before: Mapping[str, Mapping[str, float]],
    after: Mapping[str, Mapping[str, float]],
    metrics: Sequence[Mapping[str, Any]],
) -> dict[str, PairedChange]:
    """Returns the change of each metric, by its name.

    Args:
        before: figures by picture and metric.
        after: the same of the same pictures.
        metrics: identities, of which `metric` and `better` are read.
    """
    names = list(before)
    changes = {
        identity["metric"]: [
            after[name][identity["metric"]] - before[name][identity["metric"]] for name in names
        ]
        for identity in metrics
    }
    p_values = {metric: _wilcoxon(values) for metric, values in changes.items()}
    corrected = holm(p_values)
    intervals = dict(zip(changes, mean_intervals(list(changes.values())), strict=True))
    found = {}
    for identity in metrics:
        metric, sign = identity["metric"], 1 if identity["better"] == "higher" else -1
        gains = sign * np.array(changes[metric])
        moved = sorted(
            (name for name in names if abs(after[name][metric] - before[name][metric]) > EQUAL),
            key=lambda name: -abs(after[name][metric] - before[name][metric]),
        )[:NUM_MOVED]
        found[metric] = PairedChange(
            before=float(np.mean([before[name][metric] for name in names])),
            after=float(np.mean([after[name][metric] for name in names])),
            interval=intervals[metric],
            p_value=p_values[metric],
            p_holm=corrected[metric],
            num_better=int((gains > EQUAL).sum()),
            num_worse=int((gains < -EQUAL).sum()),
            num_equal=int((abs(gains) <= EQUAL).sum()),
            moved_most=[(name, before[name][metric], after[name][metric]) for name in moved],
        )
    return found


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Returns p-values corrected for their number by Holm's step-down rule; None stays None and is not counted."""
    known = {name: value for name, value in p_values.items() if value is not None}
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for rank, name in enumerate(sorted(known, key=lambda name: known[name])):
        highest = max(highest, min(1.0, (len(known) - rank) * known[name]))
        corrected[name] = highest
    return corrected


def _wilcoxon(changes: Sequence[float]) -> float | None:
    from scipy.stats import wilcoxon

    moved = [change for change in changes if abs(change) > EQUAL]
    return float(wilcoxon(moved).pvalue) if moved else None


def _shared_metrics(now: Report, before: Report, path: Path) -> list[dict[str, Any]]:
    """The metrics of both; one that is in both under another identity is refused."""
    ours, theirs = now.identities(), before.identities()
    shared = [metric for metric in ours if metric in theirs]
    for metric in shared:
        for key in ours[metric] | theirs[metric]:
            if ours[metric].get(key) != theirs[metric].get(key):
                raise _refused(
                    path, f"{key} of {metric} is {theirs[metric].get(key)}, now {ours[metric].get(key)}"
                )
    if not shared:
        raise _refused(path, f"it has {', '.join(theirs) or 'no metric'}, now there is {', '.join(ours)}")
    return [ours[metric] for metric in shared]


def _shared_pictures(now: Report, before: Report, path: Path) -> tuple[list[str], dict[str, list[str]]]:
    shared = [name for name in now.pictures if name in before.pictures]
    for name in shared:
        for role in ("reference", "lq"):
            one, other = (getattr(report.pictures[name], f"{role}_sha256") for report in (before, now))
            if (one and other) and one != other:
                raise _refused(path, f"the {role} of {name} was another file")
    identical = [name for name in shared if now.pictures[name].identical or before.pictures[name].identical]
    apart = {
        "only_before": [name for name in before.pictures if name not in now.pictures],
        "only_now": [name for name in now.pictures if name not in before.pictures],
        "identical": identical,
    }
    names = [name for name in shared if name not in set(identical)]
    if not names:
        raise _refused(path, "no picture is in both and differs from its reference in both")
    return names, {reason: found for reason, found in apart.items() if found}


def _parsed(report: dict[str, Any], path: Path) -> Report:
    try:
        return Report.model_validate(report)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _no_report(path, f"{place}: {first['msg']}") from error


def _no_report(path: Path, reason: str | None) -> UserError:
    return UserError(f"{path} is no report of this version's supir-eval --json: {reason}")


def _refused(path: Path, reason: str) -> UserError:
    return UserError(f"{path} cannot be compared: {reason}")
