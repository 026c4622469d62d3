"""Claim: near duplicates by embedding are found among a million pictures on one core, few of them missed.

Peer: the same law by all pairs, as NumPy's (BLAS's) product of each block with every better row: the exact result. It
is timed whole up to 60 000 rows and beyond that on a sample of blocks and multiplied, which is said. Rows are
synthetic: directions drawn evenly, a fifth of them copies of others at cosines drawn evenly from 0.88 to 0.99. Real
photos lie in crowds, where cells are fuller and copies nearer. Both sides use one core; the ratio is of processor time.
Run: python benchmarks/curate_similar.py [ROWS] [NUMBERS]     (1 000 000 rows of 1280 need 2.6 GB of disk)
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads its BLAS

import sys
import tempfile
import time
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from supir_curate.selection import similar
from supir_curate.selection.similar import Features, similar_twins

MIN_COSINE = 0.86
SHARE_OF_COPIES = 0.2
STEP = 50_000
BLOCK = 2048
WHOLE_ROWS = 60_000  # the peer's, beyond which it is extrapolated
SAMPLED_BLOCKS = 4


def main() -> None:
    """Prints both sides' seconds of processor, their ratio, and the share of copies found."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    width = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    with tempfile.TemporaryFile() as file:
        file.truncate(rows * width * 2)
        features: Features = np.memmap(file, dtype=np.float16, mode="r+", shape=(rows, width))
        copy_of = _fill(features)
        began = time.process_time()
        twin = similar_twins(features, MIN_COSINE)
        ours = time.process_time() - began
        theirs, is_whole = _all_pairs_seconds(features)
    copies = np.flatnonzero(copy_of >= 0)
    found = (twin[copies] >= 0) | (twin[copy_of[copies]] >= 0)
    kind = "compares all pairs too" if rows <= similar.EXACT_ROWS else f"{similar.CELLS_EACH} cells a picture"
    print(f"{rows} rows of {width} numbers, {len(copies)} copies at cosines of 0.88 to 0.99")
    print(
        f"  similar_twins ({kind}): {ours:.1f} s of processor, {rows / ours:,.0f} rows/s,"
        f" x{theirs / ours:.1f} of the peer"
    )
    print(f"  all pairs by NumPy: {theirs:.1f} s{'' if is_whole else ', extrapolated'}")
    print(f"  copies found: {100 * found.mean():.2f} %; dropped: {(twin >= 0).sum()}")


def _fill(features: Features) -> NDArray[np.int64]:
    """Writes the rows in drawn order; returns of which row each is a copy, -1 for none."""
    draw = np.random.default_rng(0)
    rows, width = features.shape
    num_own = round(rows * (1 - SHARE_OF_COPIES))
    place, copy_of = draw.permutation(rows), np.full(rows, -1, dtype=np.int64)
    edges = [*range(0, num_own, STEP), *range(num_own, rows, STEP), rows]
    for begin, end in pairwise(edges):
        fresh = _unit(draw.standard_normal((end - begin, width), dtype=np.float32))
        if begin >= num_own:  # all that can be copied is written
            originals = place[draw.integers(0, num_own, end - begin)]
            cosine = draw.uniform(0.88, 0.99, (end - begin, 1)).astype(np.float32)
            own = np.asarray(features[originals], dtype=np.float32)
            fresh = _unit(own * cosine + fresh * np.sqrt(1 - cosine**2))
            copy_of[place[begin:end]] = originals
        features[place[begin:end]] = fresh
    return copy_of


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _all_pairs_seconds(features: Features) -> tuple[float, bool]:
    """Returns the processor time of all products of a block with the rows before its end, and whether all were made."""
    starts = list(range(0, len(features), BLOCK))
    chosen = starts
    if len(features) > WHOLE_ROWS:
        chosen = starts[:: max(1, len(starts) // SAMPLED_BLOCKS)][:SAMPLED_BLOCKS]
    done = pairs = 0.0
    for start in chosen:
        block = np.asarray(features[start : start + BLOCK], dtype=np.float32)
        began = time.process_time()
        for begin in range(0, start + len(block), BLOCK):
            better = np.asarray(features[begin : begin + BLOCK], dtype=np.float32)
            np.nonzero(block @ better.T >= MIN_COSINE)
        done += time.process_time() - began
        pairs += len(block) * (start + len(block))
    every = sum(BLOCK * (start + BLOCK) for start in starts)
    return done * every / pairs, len(chosen) == len(starts)


if __name__ == "__main__":
    main()
