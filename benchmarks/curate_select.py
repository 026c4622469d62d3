"""Claim: one million candidates are selected anew in seconds: rules, a quantile, a top share, all duplicates.

Peer: a plain pandas query over the same Parquet files (pyarrow's threaded reader, the same rules and limits, exact
duplicates), which writes one table; it does not look for near duplicates, writes no reasons and no part files.
The ledger is synthetic: 1000 parts of 1000 rows with every score. Each side runs in a process of its own, in turns;
peak memory is VmHWM. DuckDB, the other usual tool, is not installed here.
Run: python benchmarks/curate_select.py [ROWS]
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PART_ROWS = 1000
ROUNDS = 3
SHARE_OF_TWINS = 0.1
SHARE_FAILING = 0.05  # of each rule
QUANTILE, TOP = 0.05, 0.8


def main() -> None:
    """Prints seconds, rate, peak memory and ratio of both sides."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        _write_dataset(folder, rows)
        print(
            f"{rows} candidates in {-(-rows // PART_ROWS)} parts, made in {time.perf_counter() - began:.0f} s"
        )
        runs: dict[str, list[dict[str, Any]]] = {"supir-curate select": [], "pandas, no near duplicates": []}
        for _ in range(ROUNDS):
            for name, side in zip(runs, ("ours", "theirs"), strict=True):
                words = [sys.executable, __file__, side, folder]
                done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
                runs[name].append(json.loads(done.stdout))
        _show(runs, rows)


def _show(runs: dict[str, list[dict[str, Any]]], rows: int) -> None:
    medians = {name: statistics.median(run["seconds"] for run in done) for name, done in runs.items()}
    cpu = {name: statistics.median(run["cpu_seconds"] for run in done) for name, done in runs.items()}
    peer = "pandas, no near duplicates"
    for name, done in runs.items():
        spread = max(run["seconds"] for run in done) - min(run["seconds"] for run in done)
        print(
            f"  {name:<28}{medians[name]:7.2f} s (range {spread:.2f}), {cpu[name]:.2f} s of processor,"
            f" {rows / medians[name]:,.0f} rows/s, x{cpu[peer] / cpu[name]:.2f} of the peer by processor time,"
            f" x{medians[peer] / medians[name]:.2f} by the clock, peak {max(run['peak_mb'] for run in done):.0f} MB"
        )
    ours, theirs = runs.values()
    print(
        f"  passed the rules, without exact copies: {theirs[0]['passed']} (peer), {ours[0]['passed']} (ours)"
    )
    print("  " + json.dumps({"kept": ours[0]["kept"], "steps_s": ours[0]["steps"]}))


def _write_dataset(folder: str, rows: int) -> None:
    import pyarrow as pa

    from supir_curate.config import CurateConfig
    from supir_curate.config.rules import DEFAULT_RULES
    from supir_curate.scores import SCORES
    from supir_curate.sources.plan import Plan, save_plan
    from supir_shards import Store, ledger_path, ledger_schema, part_name

    store, rng = Store(folder), np.random.default_rng(0)
    num_parts = -(-rows // PART_ROWS)
    schema = ledger_schema([score.name for score in SCORES])
    hashes = rng.integers(0, 2**64, rows, dtype=np.uint64)
    twins = rng.random(rows) < SHARE_OF_TWINS
    flipped = np.uint64(1) << rng.integers(0, 64, rows, dtype=np.uint64)
    hashes[twins] = hashes[rng.integers(0, rows, twins.sum())] ^ flipped[twins]
    for number in range(num_parts):
        here = slice(number * PART_ROWS, min(rows, (number + 1) * PART_ROWS))
        count = here.stop - here.start
        sha256 = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(here.start, here.stop)]
        columns: dict[str, Any] = {name: pa.nulls(count, schema.field(name).type) for name in schema.names}
        columns |= {
            "key": [text[:32] for text in sha256],
            "sha256": sha256,
            "url": [f"https://host-{row % 997}.example/picture/{row}.jpg" for row in range(count)],
            "source_row": np.arange(count),
            "status": np.where(rng.random(count) < 0.03, "failed", "ok"),
            "reason": ["http_error"] * count,
            "detail": [""] * count,
            "width": np.full(count, 2000, np.int32),
            "height": np.full(count, 1500, np.int32),
            "phash": hashes[here],
        }
        for score in SCORES:
            columns[f"score.{score.name}"] = rng.uniform(score.low, score.high, count)
        for rule in DEFAULT_RULES.values():
            columns[f"score.{rule.score}"] = _around(float(rule.limit), rule.keep, rng, count)  # type: ignore[arg-type]
        store.write_table(ledger_path(part_name(number)), pa.table(columns, schema=schema))
    config = CurateConfig().scoring()
    save_plan(store, Plan(kind="urls", source="x", scoring=config, num_candidates=rows, num_parts=num_parts))


def _around(limit: float, keep: str, rng: np.random.Generator, count: int) -> Any:
    """Returns values of which `SHARE_FAILING` lie on the wrong side of a limit."""
    distance = rng.exponential(max(1.0, limit), count)
    fails = rng.random(count) < SHARE_FAILING
    return limit + np.where((keep == ">=") ^ fails, distance, -distance)


def _config() -> Any:
    from supir_console import load_config
    from supir_curate.config import CurateConfig

    overrides = [
        f"select.rules.blurred.limit={{quantile: {QUANTILE}}}",
        f"select.rules.noisy.limit={{top: {TOP}}}",
    ]
    return load_config(CurateConfig, None, overrides).select


def ours(folder: str) -> dict[str, Any]:
    """Selects with the command's own function; the earlier selection is removed, so that nothing is skipped."""
    from supir_curate.selection.select import select
    from supir_curate.selection.survivors import Survivors
    from supir_curate.sources.plan import load_plan
    from supir_shards import Store

    store, steps = Store(folder), {}
    store.delete("selection.json")
    whole = Survivors.excluded

    def timed(self: Survivors, *words: Any) -> Any:
        began = time.perf_counter()
        found = whole(self, *words)
        steps["duplicates"] = round(time.perf_counter() - began, 2)
        return found

    Survivors.excluded = timed  # type: ignore[method-assign]
    selection = select(store, load_plan(store), _config())
    near = selection.reasons.get("near_duplicate", 0)
    return {"passed": selection.kept + near, "kept": selection.kept, "steps": steps}


def theirs(folder: str) -> dict[str, Any]:
    """The same limits as one pandas query."""
    import pyarrow.dataset as dataset

    config = _config()
    rules = list(config.rules.values())
    scores = dict.fromkeys(rule.score for rule in rules)
    names = ["key", "status", *(f"score.{name}" for name in scores)]
    frame = dataset.dataset(f"{folder}/ledger").to_table(columns=names).to_pandas()
    passes = frame["status"] == "ok"
    for rule in rules:
        if isinstance(rule.limit, float):
            values = frame[f"score.{rule.score}"]
            passes &= ~(values < rule.limit if rule.keep == ">=" else values > rule.limit)
    population = frame[passes]
    sharp = np.sort(population["score.laplacian_variance"])[int(QUANTILE * len(population))]
    clean = np.sort(population["score.noise_sigma"])[-int(-TOP * len(population) // 1) - 1]
    chosen = population[
        (population["score.laplacian_variance"] >= sharp) & (population["score.noise_sigma"] <= clean)
    ].drop_duplicates("key")
    chosen[["key"]].to_parquet(f"{folder}/theirs.parquet")
    return {"passed": len(chosen)}


def _peak_mb() -> float:
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    if len(sys.argv) > 2:
        start, processor = time.perf_counter(), time.process_time()
        result = {"ours": ours, "theirs": theirs}[sys.argv[1]](sys.argv[2])
        result |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - processor}
        print(json.dumps(result | {"peak_mb": _peak_mb()}))
    else:
        main()
