"""The answer of `supir-curate forecast`: survivors, bytes and hours in one summary.

Place in the flow: `dataset_cli` prints it. The law: hours are those of cores and GPUs like the ones that were measured
or named; where nothing was, there is None and no guess.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from supir_console import UserError
from supir_curate.config import CurateConfig
from supir_curate.forecasting.forecast import Forecast, Range, rates_from, ratio_of
from supir_curate.forecasting.pilot import Pace, Pilot, measured_pace, read_pilot, recorded_pace, table_bytes
from supir_curate.selection.select import load_selection
from supir_curate.sources.plan import load_plan
from supir_shards import Store, load_manifest
from supir_shards.layout import MANIFEST

CAPTIONS = "captions"


def outlook(store: Store, candidates: int, target: int, workers: int, rates: Sequence[str]) -> dict[str, Any]:
    """Returns what a full run will give and take.

    Args:
        store: the pilot's dataset, with its selection.
        candidates: of the full run; 0 for as many as the target needs.
        target: kept pictures that are wanted; 0 for none named.
        workers: processes that score and pack at a time; 0 for this machine's cores.
        rates: pictures a second of one GPU, "NAME=RATE".

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
    figures = Forecast(pilot)
    needed = figures.needed(target) if target else None
    count = candidates or int((needed or {}).get("expected") or 0)
    if not count:
        raise UserError(
            f"no number of candidates gives {target} kept ones at the pilot's rate; name --candidates"
        )
    kept = figures.kept(count)
    recorded = recorded_pace(store, pilot)
    pace = recorded or measured_pace(store, plan, config)
    cores = workers or os.cpu_count() or 1
    summary: dict[str, Any] = {
        "pilot": {"seen": selection.seen, "kept": selection.kept, "parts": plan.num_parts},
        "candidates": count,
        "kept": kept.rounded(),
        "reasons": figures.reasons(count),
        "duplicates": figures.law(count),
        **_bytes(store, pilot, count, kept),
        **_hours(pilot, pace, count, kept, cores),
    }
    if pilot.largest_host:
        share = pilot.largest_host / selection.seen
        summary["fetch_hours_at_least"] = _hours_of(share * count * config.fetch.pace.per_host_delay_s)
    if gpu_rates:
        summary["gpu_hours"] = {
            name: _gpu_hours(name, rate, pilot, count, kept) for name, rate in gpu_rates.items()
        }
    if target:
        summary |= {"target": target, "candidates_needed": needed}
    return summary


def _bytes(store: Store, pilot: Pilot, count: int, kept: Range) -> dict[str, Any]:
    seen, num_kept = int(pilot.seen.sum()), int(pilot.kept.sum())
    packed = load_manifest(store).totals.shard_bytes if store.exists(MANIFEST) else None
    stored = (packed or int(pilot.kept_bytes.sum())) / num_kept
    return {
        "crawl_bytes": ratio_of(pilot.crawled_bytes, pilot.seen).times(count).rounded(),
        "shard_bytes": kept.times(stored).rounded(),
        "shard_bytes_from": "packed pilot" if packed else "originals, not packed yet",
        "table_bytes": int(table_bytes(store) / seen * count),
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


def _gpu_hours(name: str, rate: float, pilot: Pilot, count: int, kept: Range) -> dict[str, float]:
    """Returns the hours of one GPU: captions are made of what is kept, scores of what passes the rules."""
    if name == CAPTIONS:
        return kept.times(1 / rate / 3600).rounded(2)
    return ratio_of(pilot.passing, pilot.seen).times(count / rate / 3600).rounded(2)


def _ends(one: Range) -> tuple[float, float, float]:
    return one.expected, one.low, one.high


def _hours_of(seconds: float) -> float:
    return round(seconds / 3600, 3)
