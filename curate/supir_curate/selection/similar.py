"""Near duplicates by embedding: crops, mirrored and recoloured copies that a perceptual hash misses.

Place in the flow: `select` hands in the embeddings of all pictures that passed the rules and that no hash dropped. The
law is `dedup`'s: pictures are taken from best to worst; one whose cosine with a kept one reaches the limit is dropped
and names it. The result depends on the set of pictures alone, chains of gradual change do not merge distinct pictures,
and a dropped picture's twin is always kept.

Pictures come in blocks, each compared with those that earlier blocks kept and then within itself; so a crowd of copies
costs its size, not its square. Up to `EXACT_ROWS` pictures all are compared. Beyond that each stands in the cells of
its `CELLS_EACH` nearest centres, and only pictures of a common cell are compared: about
N x sqrt(N) x D multiplications for the cells and as many within them, and a small share of pairs at the limit is missed
(docs/curate/selection.md has the figures). Centres are pictures of the set, spread over the ranks: there is nothing
random.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

EXACT_ROWS = 20_000
CELLS_EACH = 4
FIRST_BLOCK, LARGEST_BLOCK = 1024, 32_768  # rows; small at first, so that crowds find their leader early
CHUNK_ROWS = 4096  # of a product: bounds the memory

Features = NDArray[np.float16]
Places = NDArray[np.int64]


def similar_twins(features: Features, min_cosine: float) -> Places:
    """Returns for each picture the number of the kept picture that it repeats, -1 for a kept one.

    Args:
        features: (N, D) float16, length 1 each, best picture first; may be a memory map. NaN rows repeat nothing.
        min_cosine: from which pictures are the same, above 0 to 1.
    """
    kept_by = np.full(len(features), -1, dtype=np.int64)
    cells = _cells(features)
    members: list[list[Places]] = [[] for _ in range(int(cells.max(initial=0)) + 1)]
    for begin, end in _blocks(len(features)):
        block = np.asarray(features[begin:end], dtype=np.float32)
        of_cell = _by_cell(cells[begin:end])
        leader = np.full(end - begin, len(features), dtype=np.int64)
        for cell, inside in of_cell:
            for kept in members[cell]:
                found = _first_near(block[inside], features, kept, min_cosine)
                leader[inside] = np.minimum(leader[inside], found)
        _settle_block(block, of_cell, leader, min_cosine, begin, len(features))
        kept_by[begin:end] = np.where(leader < len(features), leader, -1)
        for cell, inside in of_cell:
            kept = begin + inside[kept_by[begin + inside] == -1]
            if len(kept):
                members[cell].append(kept)
    return kept_by


def near_any(features: Features, others: Features, min_cosine: float) -> Places:
    """Returns for each picture the first of the others that it repeats, -1 for none.

    Args:
        features: (N, D) float16 of length 1 each.
        others: (E, D) likewise.
        min_cosine: from which pictures are the same.
    """
    found = np.full(len(features), -1, dtype=np.int64)
    places = np.arange(len(others))
    for begin in range(0, len(features), CHUNK_ROWS):
        chunk = np.asarray(features[begin : begin + CHUNK_ROWS], dtype=np.float32)
        first = _first_near(chunk, others, places, min_cosine)
        found[begin : begin + len(chunk)] = np.where(first < len(others), first, -1)
    return found


def _blocks(count: int) -> Iterator[tuple[int, int]]:
    """Yields (begin, end) over all rows, each block twice the one before it up to the largest."""
    edges, size = [0], FIRST_BLOCK
    while edges[-1] < count:
        edges.append(min(count, edges[-1] + size))
        size = min(2 * size, LARGEST_BLOCK)
    yield from pairwise(edges)


def _first_near(rows: NDArray[np.float32], features: Features, places: Places, min_cosine: float) -> Places:
    """Returns for each row the first of the places (ascending) that it is near to; one past the last without any."""
    first = np.full(len(rows), len(features), dtype=np.int64)
    for begin in range(0, len(places), CHUNK_ROWS):
        chunk = places[begin : begin + CHUNK_ROWS]
        near = rows @ np.asarray(features[chunk], dtype=np.float32).T >= min_cosine
        first = np.minimum(first, np.where(near.any(axis=1), chunk[near.argmax(axis=1)], len(features)))
    return first


def _settle_block(
    block: NDArray[np.float32],
    of_cell: list[tuple[int, Places]],
    leader: Places,
    min_cosine: float,
    begin: int,
    nobody: int,
) -> None:
    """Decides within a block, best first, among those that no earlier block leads; writes into `leader`."""
    pairs = []
    for _, inside in of_cell:
        free = inside[leader[inside] == nobody]
        for start in range(0, len(free), CHUNK_ROWS):
            chunk = free[start : start + CHUNK_ROWS]
            left, right = np.nonzero(block[chunk] @ block[free[start:]].T >= min_cosine)
            ordered = right > left  # `inside` ascends, so the better one is the left one
            pairs.append(np.stack([free[start:][right[ordered]], chunk[left[ordered]]], axis=1))
    if not pairs:
        return
    # By the worse one first: whether a better one is kept is settled before anybody asks.
    for worse, better in np.unique(np.concatenate(pairs), axis=0):
        if leader[worse] == nobody and leader[better] == nobody:
            leader[worse] = begin + better


def _cells(features: Features) -> NDArray[np.int32]:
    """Returns the cells that each picture stands in, (N, CELLS_EACH); one cell for all where all are compared."""
    count = len(features)
    if count <= EXACT_ROWS:
        return np.zeros((count, 1), dtype=np.int32)
    num_cells = math.isqrt(count)
    spread = np.linspace(0, count - 1, num_cells).astype(np.int64)
    centres = np.nan_to_num(np.asarray(features[spread], dtype=np.float32))
    # What all pictures have in common says nothing about where one belongs.
    common = centres.mean(axis=0)
    centres -= common
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-6)
    cells = np.empty((count, CELLS_EACH), dtype=np.int32)
    for begin in range(0, count, CHUNK_ROWS):
        chunk = np.nan_to_num(np.asarray(features[begin : begin + CHUNK_ROWS], dtype=np.float32)) - common
        nearest = np.argpartition(-(chunk @ centres.T), CELLS_EACH - 1, axis=1)[:, :CELLS_EACH]
        cells[begin : begin + len(chunk)] = nearest
    return cells


def _by_cell(cells: NDArray[np.int32]) -> list[tuple[int, Places]]:
    """Returns each cell that a block touches with the block's rows in it, ascending."""
    flat = cells.reshape(-1)
    order = np.argsort(flat, kind="stable")
    rows = order // cells.shape[1]
    edges = np.flatnonzero(np.diff(flat[order], prepend=-1))
    return [
        (int(flat[order[start]]), rows[start:stop]) for start, stop in pairwise([*edges.tolist(), len(order)])
    ]
