"""What a pilot run found, part by part: counts, bytes, hosts, groups of duplicates, and the pace of this machine.

Place in the flow: `forecast` extrapolates it. The law: every figure is read from the dataset's tables or measured now
on a few of its pictures; what cannot be had is None.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from supir_console import UserError
from supir_curate.config import CurateConfig
from supir_curate.fetching.address import host_of
from supir_curate.ledger import numbers, read_scores
from supir_curate.measure import measure
from supir_curate.packing.pack import make_samples
from supir_curate.pictures.picture import decode
from supir_curate.reporting.throughput import throughput
from supir_curate.selection.select import KEPT, selection_path
from supir_curate.sources.originals import Original, read_originals
from supir_curate.sources.plan import Plan
from supir_curate.verdict import Reason
from supir_images import BadImage
from supir_shards import DatasetError, Role, Store

SAMPLE = 6  # pictures measured for the pace
TABLES = ("ledger", "candidates", "selection", "index", "scores", "captions")
AFTER_RULES = ("", Reason.EXACT_DUPLICATE, Reason.NEAR_DUPLICATE, Reason.OVER_QUOTA)
Counts = NDArray[np.int64]


@dataclass(slots=True)
class Pilot:
    """What was found. Arrays are (P,), one number a part.

    Args:
        seen: candidates.
        kept: those kept.
        passing: those that pass the rules, duplicates among them.
        reasons: reason to counts.
        crawled_bytes: of all candidates whose bytes were had.
        kept_bytes: originals of the kept.
        pixels: of all measured.
        group_sizes: pictures in each group of two and more that show the same.
        largest_host: candidates of the commonest host; 0 for sources that are files.
        roles: role to counts of those that pass the rules, duplicates among them.
    """

    seen: Counts
    kept: Counts
    passing: Counts
    reasons: dict[str, Counts]
    crawled_bytes: Counts
    kept_bytes: Counts
    pixels: Counts
    group_sizes: list[int]
    largest_host: int
    roles: dict[str, Counts] = field(default_factory=dict)


@dataclass(slots=True)
class _Reading:
    """The same while the parts are read."""

    rows: list[dict[str, int]] = field(default_factory=list)
    reasons: list[Counter[str]] = field(default_factory=list)
    roles: list[Counter[str]] = field(default_factory=list)
    twin_of: dict[str, str] = field(default_factory=dict)
    passed: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)


def read_pilot(store: Store, plan: Plan) -> Pilot:
    """Returns what a pilot found.

    Args:
        store: its dataset, with its selection.
        plan: its plan.
    """
    reading = _Reading()
    for part in plan.parts():
        _read_part(store, plan, part, reading)
    groups: Counter[str] = Counter()
    for key, count in reading.passed.items():
        groups[reading.twin_of.get(key, key)] += count
    names = sorted(set().union(*reading.reasons) - {""})
    roles = sorted(set().union(*reading.roles))
    column = {name: np.array([row[name] for row in reading.rows], dtype=np.int64) for name in reading.rows[0]}
    return Pilot(
        **column,
        reasons={name: np.array([counts[name] for counts in reading.reasons]) for name in names},
        group_sizes=sorted(size for size in groups.values() if size > 1),
        largest_host=max(reading.hosts.values(), default=0),
        roles={name: np.array([counts[name] for counts in reading.roles]) for name in roles},
    )


def table_bytes(store: Store) -> int:
    """Returns the bytes of everything but pictures."""
    return sum(store.size(path) for folder in TABLES for path in store.list(folder))


@dataclass(frozen=True, slots=True)
class Pace:
    """Processor seconds of one core, None where no picture could be measured.

    Args:
        score_s_a_megapixel: reading, decoding and every probe.
        pack_s_a_picture: of a kept picture.
        pictures: how many were measured; 0 where the run's own notes were read.
    """

    score_s_a_megapixel: float | None
    pack_s_a_picture: float | None
    pictures: int


def recorded_pace(store: Store, pilot: Pilot) -> Pace | None:
    """Returns the pace of the pilot's own run, from its notes in log/; None if a part or step left none."""
    seconds = {
        step.step: step.worker_hours * 3600 * step.cpu_share
        for step in throughput(store)
        if step.parts == len(pilot.seen)
    }
    if not {"score", "pack"} <= seconds.keys():
        return None
    score = seconds["score"] / max(1e-6, int(pilot.pixels.sum()) / 1e6)
    return Pace(score, seconds["pack"] / int(pilot.kept.sum()), 0)


def measured_pace(store: Store, plan: Plan, config: CurateConfig) -> Pace:
    """Returns the pace on a few kept pictures from all over the pilot.

    Args:
        store: its dataset.
        plan: its plan.
        config: as it was recorded.
    """
    scoring = packing = 0.0
    megapixels, pictures = 0.0, 0
    for original, row, role in _sample(store, plan, config):
        began = time.process_time()
        try:
            picture = decode(original.data, config.probe.max_pixels, config.probe.working_side_px)
            measure(picture, config.probe.working_side_px)
            scored = time.process_time()
            make_samples(original, row, role, config.pack)
        except (BadImage, OSError):
            continue  # the file changed since
        packing += time.process_time() - scored
        scoring += scored - began
        megapixels += row["width"] * row["height"] / 1e6
        pictures += 1
    if not pictures:
        return Pace(None, None, 0)
    return Pace(scoring / megapixels, packing / pictures, pictures)


def _read_part(store: Store, plan: Plan, part: str, reading: _Reading) -> None:
    is_web = plan.piece_of(part).kind == "urls"
    ledger = read_scores(store, part, ["bytes", "width", "height", *(["url"] if is_web else [])])
    chosen = store.read_table(selection_path(part), ["key", "reason", "state", "detail", "role"])
    reasons = chosen.column("reason").to_pylist()
    kept = np.asarray(chosen.column("state").to_numpy() == KEPT)
    sizes = np.nan_to_num(numbers(ledger, "bytes"))
    for key, reason, detail in zip(
        chosen.column("key").to_pylist(), reasons, chosen.column("detail").to_pylist(), strict=True
    ):
        if reason in AFTER_RULES:
            reading.passed[key] += 1
        if reason == Reason.NEAR_DUPLICATE:
            reading.twin_of[key] = detail
    counts = Counter(reasons)
    reading.reasons.append(counts)
    roles = chosen.column("role").to_pylist()
    reading.roles.append(
        Counter(role for role, reason in zip(roles, reasons, strict=True) if reason in AFTER_RULES)
    )
    reading.rows.append(
        {
            "seen": len(reasons),
            "kept": int(kept.sum()),
            "passing": sum(counts[reason] for reason in AFTER_RULES),
            "crawled_bytes": int(sizes.sum()),
            "kept_bytes": int(sizes[kept].sum()),
            "pixels": int(np.nan_to_num(numbers(ledger, "width") * numbers(ledger, "height")).sum()),
        }
    )
    if is_web:
        reading.hosts.update(host_of(url) for url in ledger.column("url").to_pylist())


def _sample(
    store: Store, plan: Plan, config: CurateConfig
) -> Iterator[tuple[Original, dict[str, Any], Role]]:
    """Yields the first kept picture of parts from all over the dataset, as far as their bytes are still there."""
    parts = [part for part in plan.parts() if plan.piece_of(part).kind != "dataset"]
    for part in parts[:: max(1, len(parts) // SAMPLE)][:SAMPLE]:
        chosen = store.read_table(selection_path(part), ["source_row", "state", "role"]).to_pylist()
        first = next((row for row in chosen if row["state"] == KEPT), None)
        if first is None:
            continue
        row = next(
            row for row in read_scores(store, part).to_pylist() if row["source_row"] == first["source_row"]
        )
        try:
            found = read_originals(
                store, plan, part, {first["source_row"]}.__contains__, config.fetch.policy.max_bytes
            )
            original = next(iter(found))
        except (UserError, DatasetError, OSError):
            continue  # the spool or the source is gone
        if original.reason is None:
            yield original, row, Role(first["role"])
