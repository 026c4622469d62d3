"""A forecast as a table for people: one line a figure, with the ends of its range.

Place in the flow: `dataset_cli` prints it where no JSON was asked for. The law: every figure of the summary stands in
the table or below it, with its unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from supir_console import counted

BYTES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
WIDTH = 34


def forecast_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yields the table of what `outlook` returned."""
    pilot, count = summary["pilot"], summary["candidates"]
    yield (
        f"From a pilot of {pilot['seen']:,} candidates in {counted(pilot['parts'], 'part')}, {pilot['kept']:,} kept;"
        " ranges are 95 % and hold if the pilot is a fair sample of the source."
    )
    yield f"{'':<{WIDTH}}{'expected':>15}{'low':>15}{'high':>15}"
    yield f"{'candidates':<{WIDTH}}{count:>15,}"
    yield _line("kept", summary["kept"], _number)
    if summary["samples"] != summary["kept"]:
        yield _line("  stored, crops counted", summary["samples"], _number)
    if len(summary["roles"]) > 1 or any("quota" in one for one in summary["roles"].values()):
        yield from _role_lines(summary["roles"])
    for reason, lost in summary["reasons"].items():
        yield _line(f"  lost: {reason}", lost, _number)
    yield _line("bytes of all candidates", summary["crawl_bytes"], _bytes)
    yield _line("bytes of shards", summary["shard_bytes"], _bytes)
    yield f"{'bytes of tables':<{WIDTH}}{_bytes(summary['table_bytes']):>15}"
    yield _line("disk to hold it", summary["disk_bytes"], _bytes)
    yield from _hour_lines(summary)
    yield f"{'memory a worker, at most':<{WIDTH}}{_bytes(summary['memory_bytes_a_worker_at_most']):>15}"
    yield _line("memory of select, one process", summary["memory_bytes_of_select"], _bytes)
    for job, hours in summary["gpu_hours"].items():
        yield _line(f"GPU-hours: {job}", hours, _hours)
        yield f"  ({hours['rate']})"
    yield _line(f"hours on {summary['gpus']} GPUs (--gpus)", summary["gpu_wall_hours"], _hours)
    yield from _notes(summary)


def _role_lines(roles: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for role, found in roles.items():
        yield _line(f"  as {role}, before its quota", found["before_quota"], _number)
        if "quota" in found:
            full = found["filled_at_candidates"]
            said = f"full at {full:,} candidates" if full else "never full"
            yield f"    quota {found['quota']:,}: binds: {found['binds']}; {said}"


def _hour_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    hours = summary["core_hours"]
    if hours is None:
        yield "core-hours: unknown: the pilot's log/ and its pictures are gone"
        return
    for step, found in hours.items():
        yield _line(f"core-hours: {step}", found, _hours)
    yield _line(f"hours on {summary['workers']} workers (--workers)", summary["wall_hours"], _hours)
    yield f"  ({summary['seconds_a_megapixel']:g} s a megapixel and core, from {summary['pace_from']})"
    if "fetch_hours_at_least" in summary:
        yield f"{'hours of fetching, at least':<{WIDTH}}{_hours(summary['fetch_hours_at_least']):>15}"
        yield "  (the busiest host's share at fetch.pace; bandwidth and slow servers come on top)"


def _notes(summary: Mapping[str, Any]) -> Iterator[str]:
    law = summary["duplicates"]
    if law["times_beyond"] > 1:
        yield (
            f"Duplicates: the pilot tells their growth to {law['followed_to']:,} passing pictures; this run goes"
            f" {law['times_beyond']:g} times beyond, where their share is held; the low ends let them grow as fast as"
            " inside the pilot. The larger the pilot, the narrower."
        )
    if summary["shard_bytes_from"] != "packed pilot":
        yield f"Bytes of shards are those of {summary['shard_bytes_from']}."
    if "target" in summary:
        needed = summary["candidates_needed"]
        said = ", ".join(
            f"{name.replace('_', ' ')} {'never' if value is None else f'{value:,}'}"
            for name, value in needed.items()
        )
        yield f"Candidates needed for {summary['target']:,} kept: {said}."


def _line(name: str, found: Mapping[str, Any], said: Any) -> str:
    return f"{name:<{WIDTH}}" + "".join(f"{said(found[end]):>15}" for end in ("expected", "low", "high"))


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _hours(value: float) -> str:
    return f"{value:,.0f} h" if value >= 100 else f"{value:.3g} h"


def _bytes(value: float) -> str:
    unit, size = next((one for one in BYTES if value >= one[1]), ("B", 1.0))
    return f"{value / size:,.3g} {unit}" if value < 1000 * size else f"{value / size:,.0f} {unit}"
