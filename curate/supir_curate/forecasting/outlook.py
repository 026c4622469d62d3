"""The answer of `supir-curate forecast`: survivors, bytes and hours in one summary.

Place in the flow: `dataset_cli` prints it. The law: hours are those of cores and GPUs like the ones that were measured
or named; where nothing was, there is None and no guess. Only captions have a rate that is assumed, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from supir_console import UserError
from supir_curate.config import CurateConfig
from supir_curate.forecasting.cost import BASE_BYTES, BYTES_A_PIXEL
from supir_curate.forecasting.forecast import Forecast, Range, ratio_of
from supir_curate.forecasting.gpu import gpu_hours, rates_from
from supir_curate.forecasting.pilot import Pace, Pilot, measured_pace, read_pilot, recorded_pace, table_bytes
from supir_curate.selection.select import load_selection
from supir_curate.sources.plan import load_plan
from supir_shards import Store, load_manifest
from supir_shards.layout import MANIFEST

SELECT_BYTES = 200_000_000  # of the process with its libraries
BYTES_A_CANDIDATE, BYTES_A_SURVIVOR = 11, 240  # of `select`, with its duplicate search


def outlook(
    store: Store, candidates: int, target: int, workers: int, rates: Sequence[str], gpus: int = 1
) -> dict[str, Any]:
    """Returns what a full run will give and take.

    Args:
        store: the pilot's dataset, with its selection.
        candidates: of the full run; 0 for as many as the target needs.
        target: kept pictures that are wanted; 0 for none named.
        workers: processes that score and pack at a time; 0 for this machine's cores.
        rates: pictures a second of one GPU, "NAME=RATE".
        gpus: that work at a time.

    Raises:
        UserError: nothing was selected, nothing was kept, or a rate is none.
    """
    gpu_rates = rates_from(rates)
    plan, selection = load_plan(store), load_selection(store)
    if not selection.kept:
        raise UserError(
            f"{store.url} kept none of {selection.seen} candidates; a forecast needs some that are kept"
        )
    config = CurateConfig().with_recorded(store.url, plan.scoring, selection.config)
    pilot = read_pilot(store, plan)
    quotas = {str(role): quota.count for role, quota in selection.config.quotas.items()}
    figures = Forecast(pilot, quotas)
    needed = figures.needed(target) if target else {}
    count = candidates or int(needed.get("expected") or 0)
    if not count:
        most = f" (quotas: {quotas})" if quotas else ""
        raise UserError(
            f"no number of candidates gives {target} kept ones at the pilot's rate{most}; name --candidates"
        )
    kept = figures.kept(count)
    pace = recorded_pace(store, pilot) or measured_pace(store, plan, config)
    cores = workers or os.cpu_count() or 1
    passing = ratio_of(pilot.passing, pilot.seen).times(count)
    totals = load_manifest(store).totals if store.exists(MANIFEST) else None
    samples_a_picture = totals.num_samples / selection.kept if totals else 1.0
    summary: dict[str, Any] = {
        "pilot": {"seen": selection.seen, "kept": selection.kept, "parts": plan.num_parts},
        "candidates": count,
        "kept": kept.rounded(),
        "samples": kept.times(samples_a_picture).rounded(),
        "roles": _roles(figures, quotas, count),
        "reasons": figures.reasons(count),
        "duplicates": figures.law(count),
        **_bytes(store, pilot, count, kept, plan.has("urls"), totals.shard_bytes if totals else None),
        **_hours(pilot, pace, count, kept, cores),
        "memory_bytes_a_worker_at_most": BASE_BYTES + BYTES_A_PIXEL * config.probe.max_pixels,
        "memory_bytes_of_select": _memory_of_select(passing, count).rounded(),
        **_gpu_hours(gpu_hours(gpu_rates, kept, passing, samples_a_picture), gpus),
    }
    if pilot.largest_host:
        share = pilot.largest_host / selection.seen
        summary["fetch_hours_at_least"] = _hours_of(share * count * config.fetch.pace.per_host_delay_s)
    if target:
        summary |= {"target": target, "candidates_needed": needed}
    return summary


def _roles(figures: Forecast, quotas: Mapping[str, int], count: int) -> dict[str, dict[str, Any]]:
    """Returns for each role how many are left for it, and what its quota does to them."""
    found: dict[str, dict[str, Any]] = {}
    for role, left in figures.of_roles(count).items():
        found[role] = {"before_quota": left.rounded()}
        if role in quotas:
            quota = quotas[role]
            ends = {"yes": left.low, "as expected": left.expected, "at the high end": left.high}
            binds = next((said for said, end in ends.items() if end >= quota), "no")
            filled = figures.filled_at(role, quota)
            found[role] |= {"quota": quota, "binds": binds, "filled_at_candidates": filled}
    return found


def _bytes(
    store: Store, pilot: Pilot, count: int, kept: Range, is_web: bool, packed: int | None
) -> dict[str, Any]:
    seen, num_kept = int(pilot.seen.sum()), int(pilot.kept.sum())
    stored = (packed or int(pilot.kept_bytes.sum())) / num_kept
    crawl, shards = ratio_of(pilot.crawled_bytes, pilot.seen).times(count), kept.times(stored)
    tables = table_bytes(store) / seen * count
    disk = Range(*np.add(_ends(shards), _ends(crawl) if is_web else 0.0)).plus(tables)
    return {
        "crawl_bytes": crawl.rounded(),
        "shard_bytes": shards.rounded(),
        "shard_bytes_from": "packed pilot" if packed else "originals, not packed yet",
        "table_bytes": int(tables),
        "disk_bytes": disk.rounded(),
    }


def _hours(pilot: Pilot, pace: Pace, count: int, kept: Range, cores: int) -> dict[str, Any]:
    if pace.score_s_a_megapixel is None or pace.pack_s_a_picture is None:
        return {"core_hours": None, "wall_hours": None, "pace_from": None}
    pixels = ratio_of(pilot.pixels, pilot.seen).times(count)
    scoring = pixels.times(pace.score_s_a_megapixel / 1e6 / 3600)
    packing = kept.times(pace.pack_s_a_picture / 3600)
    whole = Range(*np.add(_ends(scoring), _ends(packing)))
    return {
        "core_hours": {"score": scoring.rounded(3), "pack": packing.rounded(3)},
        "workers": cores,
        "wall_hours": whole.times(1 / cores).rounded(3),
        "seconds_a_megapixel": round(pace.score_s_a_megapixel, 4),
        "pace_from": f"{pace.pictures} pictures measured now" if pace.pictures else "the pilot's own run",
    }


def _memory_of_select(passing: Range, count: int) -> Range:
    return passing.times(BYTES_A_SURVIVOR).plus(SELECT_BYTES + BYTES_A_CANDIDATE * count)


def _gpu_hours(of_jobs: Mapping[str, Mapping[str, Any]], gpus: int) -> dict[str, Any]:
    ends = ("expected", "low", "high")
    wall_hours = {end: round(sum(one[end] for one in of_jobs.values()) / gpus, 2) for end in ends}
    return {"gpu_hours": of_jobs, "gpus": gpus, "gpu_wall_hours": wall_hours}


def _ends(one: Range) -> tuple[float, float, float]:
    return one.expected, one.low, one.high


def _hours_of(seconds: float) -> float:
    return round(seconds / 3600, 3)
