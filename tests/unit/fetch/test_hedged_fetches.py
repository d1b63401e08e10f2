# SPDX-License-Identifier: Apache-2.0
"""A second GET for what a reader waits for: whoever brings a block first wins, and all is even."""

from __future__ import annotations

import pytest

from backlotfs.byterange import ByteRange
from tests.fakes.records import source_version
from tests.unit.fetch.gated_transfers import LATE_S, V1, GatedStore, ahead, begin, check, stopped


def test_the_hedge_is_faster() -> None:
    """The reader has its bytes from it; the first GET is stopped when it asks for room."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 10)
    gated.look(LATE_S)
    hedge = gated.next_get()
    assert hedge.wanted == ByteRange(0, 10)
    assert gated.hedges.booked == [(V1.embed_code, 10)]
    hedge.land()
    check(demand)
    hedge.finish()
    assert gated.hedges.won == [True]
    first.land()  # its room was given before: what it brings is let go
    first.finish()
    gated.check_at_rest()


def test_the_first_is_faster_after_all() -> None:
    """What the hedge brings is let go."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 10)
    gated.look(LATE_S)
    hedge = gated.next_get()
    first.land()
    check(demand)
    first.finish()
    hedge.land()
    hedge.finish()
    assert gated.hedges.won == [False]
    gated.check_at_rest()


def test_the_loser_is_stopped() -> None:
    """A GET whose every block has come from elsewhere goes no further."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 60)
    gated.look(LATE_S)
    hedge = gated.next_get()
    for _ in range(3):
        hedge.land()
    check(demand)
    hedge.finish()
    stopped(first)
    gated.check_at_rest()


@pytest.mark.parametrize("faster", [True, False])
def test_each_brings_a_part(faster: bool) -> None:
    """A demand may be given its blocks by both."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 60)
    gated.look(LATE_S)
    hedge = gated.next_get()
    (first if faster else hedge).land()  # block 0
    (hedge if faster else first).land()  # again block 0
    (hedge if faster else first).land()  # blocks 1 to 4
    (first if faster else hedge).land()  # again
    (first if faster else hedge).land()  # block 5
    check(demand)
    (first if faster else hedge).finish()
    (hedge if faster else first).land()  # again: it had been given room
    (hedge if faster else first).finish()
    gated.check_at_rest()


def test_a_hedge_that_begins_too_late_is_not_made() -> None:
    """It asks for room before it asks the host."""
    gated = GatedStore()
    demands = [gated.store.demand(V1, ByteRange(0, 10))]
    first = gated.next_get()
    # Transfers of other blocks take every place in the lane.
    demands += [gated.store.demand(V1, ByteRange(at, at + 10)) for at in range(10, 190, 10)]
    gated.store.demand(source_version(size=195, etag='"v2"'), ByteRange(0, 10))
    gated.wait_begun()
    others = gated.begun()
    gated.look(LATE_S)
    first.land()
    first.finish()
    for get in others:
        get.land()
        get.finish()
    gated.wait_begun()
    for get in gated.begun():
        get.land()
        get.finish()
    for demand in demands:
        check(demand)
    assert not any(gated.hedges.won)
    gated.check_at_rest()


@pytest.mark.parametrize("passed_s", [0.0, LATE_S - 0.01])
def test_not_before_it_is_late(passed_s: float) -> None:
    """Most GETs are just a little slower than others."""
    gated = GatedStore()
    _, first = begin(gated, 0, 10)
    gated.look(passed_s)
    assert gated.hedges.booked == []
    first.land()
    first.finish()
    gated.check_at_rest()


def test_silence_counts_from_the_last_block() -> None:
    """A large GET that moves is not late, however long it takes."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 60)
    for _ in range(3):
        gated.look(LATE_S / 2)
        first.land()
    assert gated.hedges.booked == []
    check(demand)
    first.finish()
    gated.check_at_rest()


def test_read_ahead_is_not_hedged() -> None:
    """Until a reader waits: then for that reader's blocks only."""
    gated = GatedStore()
    first = ahead(gated, 0, 100)
    gated.look(10.0)
    assert gated.hedges.booked == []
    demand = gated.store.demand(V1, ByteRange(35, 55))
    gated.look()
    hedge = gated.next_get()
    assert hedge.wanted == ByteRange(30, 60)
    hedge.land()
    hedge.land()
    check(demand)
    hedge.finish()
    assert gated.store.prefetch_bytes == 70
    for _ in range(4):
        first.land()
    first.finish()
    gated.check_at_rest()


def test_nobody_waits_any_more() -> None:
    """A reader that was killed is no reason to ask twice."""
    gated = GatedStore()
    demand, first = begin(gated, 0, 10)
    demand.abandon()
    gated.look(LATE_S)
    assert gated.hedges.booked == []
    first.land()
    first.finish()
    gated.check_at_rest()


def test_where_it_is_not_allowed() -> None:
    """It is asked for again at each look."""
    gated = GatedStore()
    _, first = begin(gated, 0, 10)
    gated.hedges.allowed = False
    gated.look(LATE_S)
    assert gated.none_begun()
    gated.hedges.allowed = True
    gated.look()
    hedge = gated.next_get()
    hedge.land()
    hedge.finish()
    first.land()
    first.finish()
    gated.check_at_rest()


def test_one_hedge_at_a_time_then_all_the_rest() -> None:
    """A GET that stays silent after its first hedge is replaced by one for all that is missing."""
    gated = GatedStore()
    first = ahead(gated, 0, 100)
    early = gated.store.demand(V1, ByteRange(0, 10))
    gated.look(LATE_S)
    hedge = gated.next_get()
    assert hedge.wanted == ByteRange(0, 10)
    gated.look(LATE_S)
    assert len(gated.hedges.booked) == 1
    hedge.land()
    hedge.finish()
    check(early)
    later = gated.store.demand(V1, ByteRange(10, 20))
    gated.look()
    second = gated.next_get()
    assert second.wanted == ByteRange(10, 100)
    for _ in range(3):
        second.land()
    second.finish()
    check(later)
    stopped(first)
    gated.check_at_rest()


def test_the_watchs_thread() -> None:
    """It comes with the first transfer, sleeps when there is none, and wakes for the next."""
    gated = GatedStore(watched=False)
    gated.hedges.late_s = 0.0
    for start in (0, 50):
        demand, first = begin(gated, start, start + 10)
        hedge = gated.next_get()
        hedge.land()
        check(demand)
        hedge.finish()
        first.land()
        first.finish()
        while not gated.watch._asleep:
            pass
    gated.check_at_rest()
