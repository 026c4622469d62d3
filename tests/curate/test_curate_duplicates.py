"""Near duplicates: exact within the distance, and independent of the order in which pictures came."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supir_curate.selection.dedup import near_pairs, twins
from supir_curate.selection.survivors import Survivors
from supir_curate.verdict import Reason


def brute_force(hashes, distance):
    """The same law, written plainly: best first, each against all that were kept."""
    kept, result = [], []
    for number, value in enumerate(hashes):
        near = [other for other in kept if (int(value) ^ int(hashes[other])).bit_count() <= distance]
        result.append(near[0] if near else -1)
        if not near:
            kept.append(number)
    return result


@st.composite
def clustered_hashes(draw):
    """Hashes in clouds of a few flipped bits, so that many pairs lie around the distance."""
    centres = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=7)
    hashes = []
    for _ in range(draw(st.integers(0, 40))):
        value = draw(st.sampled_from(centres))
        for bit in draw(flips):
            value ^= 1 << bit
        hashes.append(value)
    return np.array(hashes, dtype=np.uint64)


@settings(max_examples=150, deadline=None)
@given(clustered_hashes(), st.integers(0, 11))
def test_every_twin_is_found_and_every_twin_is_kept(hashes, distance):
    assert twins(hashes, distance).tolist() == brute_force(hashes, distance)


def ledger(rows):
    schema = pa.schema(
        [("key", pa.string()), ("source_row", pa.int64()), ("phash", pa.uint64())]
        + [
            (name, pa.float64())
            for name in ("score.effective_ratio", "score.short_side_px", "width", "height")
        ]
    )
    names = ("key", "source_row", "phash", "score.effective_ratio", "score.short_side_px", "width", "height")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema)


def add(survivors, part, rows):
    survivors.add(part, ledger(rows), np.zeros(len(rows), dtype=np.int8))


@settings(max_examples=60, deadline=None)
@given(clustered_hashes(), st.randoms(use_true_random=False))
def test_the_same_pictures_survive_in_any_order(hashes, random):
    rows = [(f"{number:032x}", 1.0, 500.0 + number % 5, 800, 600) for number in range(len(hashes))]
    pictures = [(key, 0, int(value), *rest) for (key, *rest), value in zip(rows, hashes, strict=True)]

    def dropped(order):
        survivors = Survivors()
        half = len(order) // 2
        placed = [(key, row, *rest) for row, (key, _, *rest) in enumerate(order)]
        add(survivors, 0, placed[:half])
        add(survivors, 1, placed[half:])
        excluded = survivors.excluded(4)
        found = [one for part in (0, 1) for one in excluded.of_part(part)]
        return {order[one.row][0]: one.detail for one in found}

    shuffled = list(pictures)
    random.shuffle(shuffled)
    assert dropped(pictures) == dropped(shuffled)


def test_the_picture_with_the_most_effective_pixels_stays():
    survivors = Survivors()
    enlarged = ("a" * 32, 0, 0b1111, 0.5, 2000.0, 3000, 2000)
    native = ("b" * 32, 1, 0b0111, 1.0, 1500.0, 2250, 1500)
    add(survivors, 0, [enlarged, native])
    assert survivors.excluded(4).of_part(0) == [(0, Reason.NEAR_DUPLICATE, "b" * 32)]


def test_equal_bytes_keep_their_first_place():
    survivors = Survivors()
    row = ("c" * 32, 3, 9, 1.0, 600.0, 800, 600)
    add(survivors, 0, [row])
    add(survivors, 2, [("c" * 32, 1, *row[2:])])
    excluded = survivors.excluded(None)
    assert [rows.tolist() for rows in excluded.repeated(3)] == [[3], [], []]
    excluded.name_repeated(0, np.array([3]), pa.array(["https://one.example/c.jpg"]))
    assert [excluded.of_part(part) for part in (0, 1)] == [[], []]
    assert excluded.of_part(2) == [(1, Reason.EXACT_DUPLICATE, "https://one.example/c.jpg")]


def test_a_chain_of_small_changes_does_not_merge_its_ends():
    chain = np.array([0b0, 0b11, 0b1111, 0b111111], dtype=np.uint64)
    assert twins(chain, 2).tolist() == [-1, 0, -1, 2]


def test_of_equal_bytes_the_one_with_a_role_stays_wherever_it_stands():
    row = ("c" * 32, 0, 9, 1.0, 600.0, 800, 600)
    for roles in ([0, 1], [1, 0]):  # photo, face
        survivors = Survivors()
        survivors.add(0, ledger([row, ("c" * 32, 1, *row[2:])]), np.array(roles, dtype=np.int8))
        excluded = survivors.excluded(4)
        excluded.name_repeated(0, excluded.repeated(1)[0], pa.array(["face.jpg"]))
        assert [(one.row, one.detail) for one in excluded.of_part(0)] == [(roles.index(0), "face.jpg")]


@pytest.mark.parametrize("count", [0, 1])
def test_few_pictures_have_no_twins(count):
    assert twins(np.zeros(count, dtype=np.uint64), 4).tolist() == [-1] * count


@settings(max_examples=100, deadline=None)
@given(clustered_hashes(), st.integers(0, 11))
def test_every_near_pair_is_found_once(hashes, distance):
    distinct = np.unique(hashes)
    found = [tuple(pair) for pairs in near_pairs(distinct, distance) for pair in pairs.tolist()]
    codes = [int(value) for value in distinct]
    expected = [
        (one, other)
        for one, other in combinations(range(len(codes)), 2)
        if (codes[one] ^ codes[other]).bit_count() <= distance
    ]
    assert sorted(found) == expected
