"""Candidates are fetched together and come out in source order, but none waits in memory for a slow one."""

from __future__ import annotations

import asyncio

import pytest

from supir_curate.fetching.held import Held, Share
from supir_curate.fetching.in_order import in_order
from supir_curate.sources.candidate import Candidate
from supir_curate.sources.originals import Original

SIZE = 1000
CANDIDATES = [Candidate(f"http://a.example/{number}") for number in range(9)]


def fetching(delays_s, shares=None):
    """Fetches a picture of SIZE bytes after the delay of its row, and holds it."""

    async def fetch(row, candidate, share):
        assert share.take(SIZE, lambda: None)
        if shares is not None:
            shares.append(share)
        await asyncio.sleep(delays_s.get(row, 0))
        return Original(row=row, url=candidate.url, data=bytes([row]) * SIZE)

    return fetch


async def rows_of(batches):
    return [[one.row for one in batch] async for batch in batches]


def test_what_ends_in_any_order_comes_in_source_order():
    held = Held(100 * SIZE)
    delays_s = {0: 0.05, 1: 0.02, 5: 0.03}
    batches = asyncio.run(rows_of(in_order(CANDIDATES, fetching(delays_s), held, 4)))
    assert [row for batch in batches for row in batch] == list(range(9))
    assert held.free == 100 * SIZE


def test_where_much_is_held_a_slow_one_is_written_late_and_the_others_are_not_held():
    held = Held(12 * SIZE)
    free = []

    async def watched():
        async for batch in in_order(CANDIDATES, fetching({0: 0.3}), held, 9):
            yield batch
            free.append(held.free)

    batches = asyncio.run(rows_of(watched()))
    assert batches == [[1, 2, 3, 4, 5, 6, 7, 8], [0]]
    assert held.free == 12 * SIZE


def test_a_part_that_is_given_up_holds_nothing():
    """Room for the other parts: of those that ended, that wait for their turn, and that are under way."""
    held, shares = Held(100 * SIZE), []

    async def give_up():
        batches = in_order(CANDIDATES, fetching({3: 30}, shares), held, 9)
        first = asyncio.create_task(anext(batches))
        await asyncio.sleep(0.05)
        assert held.free == 91 * SIZE
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.sleep(0)

    asyncio.run(give_up())
    assert (held.free, len(shares)) == (100 * SIZE, 9)


def test_above_the_cap_one_transfer_goes_on_and_the_others_wait_for_room():
    held, went_on = Held(2 * SIZE), []
    first, second, third = (Share(held) for _ in range(3))

    def going_on(share):
        return lambda: went_on.append((share, share.take(SIZE, lambda: None)))

    assert first.take(SIZE, going_on(first))
    assert second.take(SIZE, going_on(second))
    assert second.take(3 * SIZE, going_on(second))
    assert not third.take(SIZE, going_on(third))
    assert not first.take(SIZE, going_on(first))
    assert second.take(SIZE, going_on(second))
    second.keep(5 * SIZE)
    assert (held.free, went_on) == (-4 * SIZE, [])  # its bytes are not written yet
    second.keep(0)
    assert (held.free, went_on) == (-SIZE, [(third, True), (first, True)])
