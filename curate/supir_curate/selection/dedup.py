"""Near duplicates: which pictures show the same as a better one, whatever order they came in.

Place in the flow: `select` hands in the perceptual hashes of all pictures that passed the rules. The law: pictures are
taken from best to worst; one that differs in few bits from a picture already kept is dropped and names it. The
result depends on the set of pictures alone, chains of gradual change do not merge distinct pictures, and a dropped
picture's twin is always kept.

Exact within the distance d: if 64 bits are cut into d + k bands, two hashes that differ in d bits agree in at least k
bands whole (pigeonhole). So for every choice of k bands the hashes are sorted by those bands' bits, and only neighbours
with equal bits are compared: with d = 4 and k = 2 that is 15 sorts by 21 bits, and N² / 280 000 comparisons of random
hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

HASH_BITS = 64
CHUNK_PAIRS = 1_000_000  # compared at once: bounds the memory at about 60 MB

Places = NDArray[np.intp]


def twins(hashes: NDArray[np.uint64], max_distance: int) -> NDArray[np.int64]:
    """Returns for each picture the number of the kept picture that it duplicates, -1 for a kept one.

    Args:
        hashes: (N,) uint64 perceptual hashes, best picture first.
        max_distance: bits in which duplicates may differ, 0 to 11.
    """
    # Pictures with one hash stand or fall with the best of them, so only distinct hashes are compared, best first.
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    best = np.sort(first)
    twin_of_rank = _twin_ranks(hashes[best], max_distance)
    of_group = twin_of_rank[rank[group]]
    own = best[rank[group]]
    own = np.where(own == np.arange(len(hashes)), -1, own)
    return np.asarray(np.where(of_group >= 0, best[of_group], own), dtype=np.int64)


def _twin_ranks(hashes: NDArray[np.uint64], max_distance: int) -> NDArray[np.int64]:
    """Returns the same as `twins` for hashes that are all distinct."""
    kept_by = np.full(len(hashes), -1, dtype=np.int64)
    pairs = [np.empty((0, 2), dtype=np.intp), *near_pairs(hashes, max_distance)]
    better, worse = np.concatenate(pairs).T
    order = np.lexsort([better, worse])
    # By the worse one first: whether a better one is kept is settled before anybody asks.
    for left, right in zip(better[order], worse[order], strict=True):
        if kept_by[left] == -1 and kept_by[right] == -1:
            kept_by[right] = left
    return kept_by


def near_pairs(hashes: NDArray[np.uint64], max_distance: int) -> Iterator[NDArray[np.intp]]:
    """Yields every pair within the distance once, as rows (smaller place, larger place)."""
    masks = _masks(max_distance)
    for number, mask in enumerate(masks):
        masked = hashes & mask
        order = np.argsort(masked)
        ordered, masked = hashes[order], masked[order]
        is_last = np.append(masked[1:] != masked[:-1], np.ones(min(1, len(masked)), dtype=bool))
        ends = np.flatnonzero(is_last)
        num_after = np.repeat(ends, np.diff(ends, prepend=-1)) - np.arange(len(order))
        for left, right in _expanded(num_after):
            differing = ordered[left] ^ ordered[right]
            near = np.flatnonzero(np.bitwise_count(differing) <= max_distance)
            for earlier in masks[:number]:
                near = near[differing[near] & earlier != 0]
            pairs = np.stack([order[left[near]], order[right[near]]], axis=1)
            yield np.sort(pairs, axis=1)


def _masks(max_distance: int) -> list[np.uint64]:
    """Returns the masks of every choice of bands: two hashes within the distance agree under at least one of them."""
    # More bands to agree in make fewer comparisons and more sorts; past 4 bits two bands leave too many.
    num_agreeing = 2 if max_distance <= 4 else 3
    num_bands = max_distance + num_agreeing
    edges = [HASH_BITS * band // num_bands for band in range(num_bands + 1)]
    bands = [(1 << stop) - (1 << start) for start, stop in pairwise(edges)]
    return [np.uint64(sum(chosen)) for chosen in combinations(bands, num_agreeing)]


def _expanded(num_after: Places) -> Iterator[tuple[Places, Places]]:
    """Yields (i, j) for every j in i + 1 to i + num_after[i], in chunks of bounded size."""
    ends = np.cumsum(num_after)
    begin = 0
    while begin < len(num_after):
        base = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, base + CHUNK_PAIRS, side="right")))
        count = num_after[begin:end]
        left = np.repeat(np.arange(begin, end), count)
        within = np.arange(len(left)) - np.repeat(ends[begin:end] - count - base, count)
        yield left, left + 1 + within
        begin = end
