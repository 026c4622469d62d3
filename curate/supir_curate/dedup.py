"""Near duplicates: which pictures show the same as a better one, whatever order they came in.

Place in the flow: `select` hands in the perceptual hashes of all pictures that passed the rules. The law: pictures are
taken from best to worst; one that differs in few bits from a picture already kept is dropped and names it. The
result depends on the set of pictures alone, chains of gradual change do not merge distinct pictures, and a dropped
picture's twin is always kept.

Exact within the distance: two hashes that differ in d bits agree up to d // 4 bits in one of four 16-bit bands
(pigeonhole), so each band is searched within that radius. Cost grows with the square of the size of a band's group:
about 305 a million pictures per 2^16 values; at 20 million and 3 bits this is 2·10^10 comparisons of 8 bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

NUM_BANDS = 4
BAND_BITS = 16
CHUNK_PAIRS = 4_000_000  # compared at once: bounds the memory at about 100 MB


def twins(hashes: NDArray[np.uint64], max_distance: int) -> NDArray[np.int64]:
    """Returns for each picture the number of the kept picture that it duplicates, -1 for a kept one.

    Args:
        hashes: (N,) uint64 perceptual hashes, best picture first.
        max_distance: bits in which duplicates may differ, 0 to 11.
    """
    # Pictures with one hash stand or fall with the best of them, so only distinct hashes are compared.
    distinct, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    near: dict[int, list[int]] = defaultdict(list)
    for left, right in _near_pairs(distinct, max_distance):
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            near[one].append(other)
            near[other].append(one)
    kept_by = np.full(len(distinct), -1, dtype=np.int64)
    decided = np.zeros(len(distinct), dtype=bool)
    for number in np.argsort(first).tolist():
        better = [first[other] for other in near[number] if decided[other] and kept_by[other] == -1]
        kept_by[number] = min(better, default=-1)
        decided[number] = True
    best_of_group = first[group]
    own = np.where(best_of_group == np.arange(len(hashes)), -1, best_of_group)
    return np.asarray(np.where(kept_by[group] >= 0, kept_by[group], own), dtype=np.int64)


def _near_pairs(
    hashes: NDArray[np.uint64], max_distance: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields every pair within the distance, as arrays of places; a pair may come more than once."""
    for band in range(NUM_BANDS):
        code = ((hashes >> np.uint64(BAND_BITS * band)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(code, kind="stable")
        ordered = code[order]
        for mask in _masks(max_distance // NUM_BANDS):
            start = np.searchsorted(ordered, code ^ mask, side="left")
            stop = np.searchsorted(ordered, code ^ mask, side="right")
            for left, place in _expanded(start, stop):
                right = order[place]
                distance = np.bitwise_count(hashes[left] ^ hashes[right])
                chosen = (left < right) & (distance <= max_distance)
                yield left[chosen], right[chosen]


def _masks(radius: int) -> list[int]:
    """Returns all 16-bit numbers with at most `radius` bits set."""
    return [
        sum(1 << bit for bit in bits)
        for size in range(radius + 1)
        for bits in combinations(range(BAND_BITS), size)
    ]


def _expanded(
    start: NDArray[np.intp], stop: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields (i, j) for every j in start[i] to stop[i], in chunks of bounded size."""
    count = stop - start
    ends = np.cumsum(count)
    begin = 0
    while begin < len(count):
        base = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, base + CHUNK_PAIRS, side="right")))
        left = np.repeat(np.arange(begin, end), count[begin:end])
        within = np.arange(len(left)) - np.repeat(ends[begin:end] - count[begin:end] - base, count[begin:end])
        yield left, np.repeat(start[begin:end], count[begin:end]) + within
        begin = end
