"""What a run will take, said before it starts: candidates, bytes, hours.

Place in the flow: `--dry-run`. The law: figures are measured where they can be (a few pictures of a folder are scored,
a folder's bytes are counted, hosts are counted) and called assumed where not.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from supir_curate.carry import num_known
from supir_curate.config import CurateConfig
from supir_curate.config.pack import PackConfig
from supir_curate.fetching.address import host_of
from supir_curate.forecasting.assessing import NOT_FETCHED, hours_at_most, scorer_seconds
from supir_curate.ledger import read_scores
from supir_curate.measure import measure
from supir_curate.packing.pack import LAYOUT_COLUMNS, layout_of
from supir_curate.pictures.picture import decode
from supir_curate.selection.select import KEPT, selection_path
from supir_curate.sources import left_out
from supir_curate.sources.candidate import Candidate, Kind, candidates_from
from supir_curate.sources.cutting import ListingTally, nothing_to_read
from supir_curate.sources.folder import Folder
from supir_curate.sources.listing import Spread, here, list_source, source_folder
from supir_curate.sources.originals import Original, read_rows, size_of
from supir_curate.sources.plan import Plan, places_of
from supir_images import BadImage
from supir_shards import DatasetError, Store

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 4  # pictures scored to learn the pace of this machine
ASSUMED_BYTES = 400_000  # of a web photo with a megapixel or more
BYTES_A_PIXEL = 14  # peak of decoding and measuring; 12.4 were measured at 77 megapixels
BASE_BYTES = 400_000_000  # of a worker process with its libraries
ASSUMED_SECONDS = 0.4  # to score a picture on one core
SCORERS = "scorer_seconds_a_picture"


def estimate(
    sources: str | Sequence[str], config: CurateConfig, workers: int, spread: Spread = here
) -> dict[str, Any]:
    """Returns the plan and cost of a run; nothing is fetched or written.

    Args:
        sources: one or several, see `sources.list_source`.
        config: the run's config.
        workers: processes that score at the same time; 0 for every core.
        spread: lists many files.

    Raises:
        UserError: a source does not exist, or holds nothing to look at, or nothing that can be read.
    """
    cores = workers or os.cpu_count() or 1
    told = [_estimate(place, config, cores, spread) for place in places_of(sources)]
    if len(told) == 1:
        return told[0]
    summed = ("candidates", "unreadable", "parts", "score_hours")
    totals: dict[str, Any] = {name: round(sum(one[name] for one in told), 3) for name in summed}
    shared = ("workers", "memory_bytes_a_worker_at_most")
    totals["left_out"] = left_out.summed(one["left_out"] for one in told)
    return {**totals, **{name: told[0][name] for name in shared}, "sources": told}


def _estimate(place: str, config: CurateConfig, cores: int, spread: Spread) -> dict[str, Any]:
    kind, tables = list_source(place, config.source, spread)
    tally = ListingTally()
    counted = Counter[str]()
    tables = _counting(tally.counted(tables), counted)
    tables = (table.filter(table.column("reason").is_null()) for table in tables)
    if kind == "urls":
        figures = _urls(tables, config)
    else:
        candidates = (candidate for table in tables for candidate in candidates_from(table))
        figures = _files(source_folder(place), kind, candidates, config)
    if tally.unread == tally.seen:
        raise nothing_to_read(place, tally)
    count = tally.seen - tally.unread
    if scorers := figures.pop(SCORERS):
        figures |= {SCORERS: scorers, "assess_hours_at_most": hours_at_most(scorers, count, cores)}
    if kind == "dataset":
        figures["scored_already"] = num_known(place, config.probe)
        count -= figures["scored_already"]
    return {
        "source": place,
        "kind": kind,
        "candidates": tally.seen,
        "unreadable": tally.unread,
        "first_unreadable": tally.first_unread,
        "left_out": tally.left_out,
        "parts": counted["parts"] if kind == "dataset" else -(-tally.seen // config.source.part_size),
        **figures,
        "score_hours": round(count * figures["seconds_a_picture"] / cores / 3600, 3),
        "workers": cores,
        "memory_bytes_a_worker_at_most": BASE_BYTES + BYTES_A_PIXEL * config.probe.max_pixels,
    }


def _counting(tables: Iterator[pa.Table], counted: Counter[str]) -> Iterator[pa.Table]:
    for table in tables:
        counted["parts"] += 1
        yield table


def packing_cost(store: Store, plan: Plan, parts: Sequence[str], config: PackConfig) -> dict[str, Any]:
    """Returns what packing will write: parts, photos, samples, and the bytes of the photos' originals.

    Args:
        store: the dataset, with its selection.
        plan: its plan.
        parts: names of the parts that are still to be packed.
        config: how they are packed.
    """
    photos = samples = original_bytes = 0
    columns = ["bytes"] if config.mode == "whole" else ["bytes", *LAYOUT_COLUMNS]
    for part in parts:
        states = store.read_table(selection_path(part), ["state"]).column("state").to_pylist()
        rows = read_scores(store, part, columns).to_pylist()
        kept = [row for state, row in zip(states, rows, strict=True) if state == KEPT]
        photos += len(kept)
        is_whole = config.mode == "whole" or plan.piece_of(part).kind == "dataset"
        samples += len(kept) if is_whole else sum(len(layout_of(row, config).boxes) for row in kept)
        original_bytes += sum(row["bytes"] for row in kept)
    return {
        "dataset": store.url,
        "parts": len(parts),
        "parts_done": plan.num_parts - len(parts),
        "photos": photos,
        "samples": samples,
        "original_bytes": original_bytes,
    }


def _files(
    folder: Folder, kind: Kind, candidates: Iterator[Candidate], config: CurateConfig
) -> dict[str, Any]:
    source_bytes = 0
    file, sample, stride = "", list[Candidate](), 1
    for number, candidate in enumerate(candidates):
        if number % stride == 0:
            sample.append(candidate)
        # How many there are is not known yet: keep every second one, twice as far apart.
        if len(sample) == 2 * SAMPLE:
            sample, stride = sample[::2], 2 * stride
        if kind != "images":
            source_bytes += _bytes(partial(size_of, folder, kind, candidate))
        elif candidate.file != file:
            file = candidate.file
            source_bytes += _bytes(partial(folder.size, file))
    chosen = sample[:: max(1, len(sample) // SAMPLE)][:SAMPLE]
    seconds = [_scoring_seconds(folder, kind, candidate, config) for candidate in chosen]
    originals = (_original(folder, kind, candidate, config) for candidate in chosen)
    return {
        SCORERS: scorer_seconds(originals, config),
        "source_bytes": source_bytes,
        "seconds_a_picture": round(sum(seconds) / max(1, len(seconds)), 3),
        "seconds_measured_on": len(seconds),
    }


def _scoring_seconds(folder: Folder, kind: Kind, candidate: Candidate, config: CurateConfig) -> float:
    started = time.perf_counter()
    try:
        original = _original(folder, kind, candidate, config)
        picture = decode(original.data, config.probe.max_pixels, config.probe.working_side_px)
        measure(picture, config.probe.working_side_px)
    except BadImage:
        pass  # a failed candidate costs its time too
    return time.perf_counter() - started


def _original(folder: Folder, kind: Kind, candidate: Candidate, config: CurateConfig) -> Original:
    (original,) = read_rows(folder, kind, [(0, candidate)], config.source, config.fetch.policy.max_bytes)
    return original


def _bytes(size: Callable[[], int]) -> int:
    try:
        return size()
    except (OSError, DatasetError):
        return 0  # the run will say why it cannot be read


def _urls(tables: Iterator[pa.Table], config: CurateConfig) -> dict[str, Any]:
    hosts: Counter[str] = Counter()
    for table in tables:
        hosts.update(map(host_of, table.column("url").to_pylist()))
    host, most = max(hosts.items(), key=lambda item: item[1], default=("", 0))
    count = hosts.total()
    return {
        SCORERS: dict.fromkeys(config.assess.scorers, NOT_FETCHED),
        "hosts": len(hosts),
        "largest_host": f"{host}: {most} URLs",
        "fetch_hours_at_least": round(most * config.fetch.pace.per_host_delay_s / 3600, 3),
        "spool_bytes_assumed": count * ASSUMED_BYTES,
        "seconds_a_picture": ASSUMED_SECONDS,
        "seconds_measured_on": 0,
    }
