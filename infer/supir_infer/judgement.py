"""A report beside its own baseline and an earlier report: paired changes, and what is suspicious about them.

Place in the flow: `eval_cli` hands over the reports that it measured or read; `comparison` and `gaming` do the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from supir_infer.comparison import compare, paired_changes
from supir_infer.gaming import alarms, grid_alarm


def judged(
    report: Mapping[str, Any], against: Path | None = None, earlier: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the report with what it says of the LQ enlarged, of an earlier report, and its alarms.

    Args:
        report: of `Evaluation.report`.
        against: where `earlier` is from, for what is said of it.
        earlier: an earlier report.

    Raises:
        UserError: the two cannot be compared.
    """
    pictures = report["pictures"]
    identities = {identity["metric"]: identity for identity in report["metrics"]}
    averaged = [name for name, picture in pictures.items() if not picture["identical"]]
    found = grid_alarm(pictures)
    more: dict[str, Any] = {}
    if averaged and "bicubic" in pictures[averaged[0]]["figures"]:
        before, after = (
            {name: pictures[name]["figures"][row] for name in averaged} for row in ("bicubic", "restored")
        )
        changes = paired_changes(before, after, report["metrics"])
        more["restored_against_bicubic"] = {metric: asdict(one) for metric, one in changes.items()}
        found += _told("against bicubic", alarms(changes, identities, judges_consistency=False))
    if against is not None and earlier is not None:
        comparison = compare(report, earlier, against)
        more |= {"against": str(against), "comparison": comparison.as_json()}
        if earlier.get("failed"):
            more["failed_before"] = earlier["failed"]
        changes = comparison.rows.get("restored", {})
        found += _told(f"against {against}", alarms(changes, identities, judges_consistency=True))
    return {**report, **more, "alarms": found}


def _told(side: str, sentences: Sequence[str]) -> list[str]:
    return [f"{side}: {sentence}" for sentence in sentences]
