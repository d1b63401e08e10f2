# SPDX-License-Identifier: Apache-2.0
"""Several places and readers, what is wanted still, and what bounds a window."""

from __future__ import annotations

from itertools import pairwise

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.prefetch.planner import (
    CURSORS,
    IDLE_S,
    PARALLEL,
    UNKNOWN_HOST,
    WindowTarget,
)
from tests.unit.prefetch.plans import CAP, GIB, MIB, READ, ahead, planner, read_on, total


def test_random_reads_do_not_evict_a_stream() -> None:
    """A stream among them goes on as before."""
    plan = planner()
    read_on(plan, 0, 400)
    for at in range(3 * CURSORS):
        plan.observe(ByteRange(GIB * (at + 1), GIB * (at + 1) + READ), reader=1)
    assert plan.windows() == [UNKNOWN_HOST.window_bytes]
    assert total(read_on(plan, 400 * READ, 100)) == pytest.approx(100 * READ, abs=4 * MIB)


def test_a_far_seek_starts_anew() -> None:
    """The new place starts from nothing, and what lay ahead of the old one is not wanted."""
    plan = planner()
    planned = ahead(read_on(plan, 0, 500))[-1]
    first = plan.observe(ByteRange(5 * GIB, 5 * GIB + READ))
    assert not first.requests
    assert plan.wanted(planned), "one read elsewhere is no seek: perhaps it looks something up"
    second = plan.observe(ByteRange(5 * GIB + READ, 5 * GIB + 2 * READ))
    assert total([second]) <= 2 * MIB
    assert not plan.wanted(planned)
    assert plan.wanted(second.requests[-1])


def test_a_reader_of_two_places_has_both_wanted() -> None:
    """It comes back to each: only a place that is new to it leaves the others."""
    plan = planner()
    for turn in range(6):
        for base in (0, 3 * GIB):
            plans = read_on(plan, base + turn * 8 * READ, 8)
    old = ahead(plans)[-1]
    read_on(plan, 48 * READ, 8)
    assert plan.wanted(old)
    read_on(plan, 7 * GIB, 8)
    assert not plan.wanted(old)


def test_readers_of_their_own_do_not_doubt_each_other() -> None:
    """Another handle that starts elsewhere says nothing of this one."""
    plan = planner()
    planned = ahead(read_on(plan, 0, 500, reader=1))[-1]
    read_on(plan, 5 * GIB, 10, reader=2)
    assert plan.wanted(planned)


@pytest.mark.parametrize("other", [0, 1], ids=["one reader", "two readers of one stream"])
@pytest.mark.parametrize("late", [1, 2, 3, 8])
def test_reads_that_are_noted_late_are_no_seek(late: int, other: int) -> None:
    """Threads note the reads that they have answered: one that was held up notes it much later.

    Of several programs that read a file, each takes the pages that the others did not ask for yet.
    """
    plan = planner()
    read_on(plan, 0, 250, reader=other)
    read_on(plan, 250 * READ, 250)
    planned = ahead(read_on(plan, (500 + late) * READ, 100))[-1]
    noted = read_on(plan, 500 * READ, late, reader=other)
    assert plan.wanted(planned)
    assert not total(noted), "it is fetched already"
    assert len(plan.windows()) == 1
    assert total(read_on(plan, (600 + late) * READ, 100)) == pytest.approx(100 * READ, abs=4 * MIB)


def test_a_reader_goes_on_in_what_another_one_skipped() -> None:
    """A player jumps ahead within its window, and a second one plays that part: both go on."""
    plan = planner()
    read_on(plan, 0, 500, reader=1)
    read_on(plan, 0, 490, reader=2)
    for step in range(60):
        read_on(plan, (620 + step) * READ, 1, reader=1)
        read_on(plan, (490 + step) * READ, 1, reader=2)
    assert len(plan.windows()) == 2
    assert plan.wanted(ByteRange(550 * READ, 551 * READ))
    assert total(read_on(plan, 550 * READ, 100, reader=2)) == pytest.approx(100 * READ, abs=4 * MIB)


def test_another_reader_of_what_is_not_there_is_no_late_read() -> None:
    """It reads a range that this one has skipped, after its blocks are gone from the cache."""
    plan = planner()
    read_on(plan, 0, 500)
    read_on(plan, 508 * READ, 100)
    plan.observe(ByteRange(500 * READ, 501 * READ), missed=True, reader=1)
    own = plan.observe(ByteRange(501 * READ, 502 * READ), missed=True, reader=1)
    assert own.requests[0].start == 502 * READ


def test_a_seek_back_to_what_was_read_is_no_late_read() -> None:
    """Also beside a gap: what was read is read again, so the reader has gone back."""
    plan = planner()
    read_on(plan, 0, 500)
    planned = ahead(read_on(plan, 502 * READ, 100))[-1]
    read_on(plan, 440 * READ, 8)
    assert not plan.wanted(planned)


def test_what_was_dropped_is_planned_again_on_return() -> None:
    """After a doubt, and after a pause."""
    plan = planner()
    read_on(plan, 0, 400)
    read_on(plan, 5 * GIB, 2)
    back = plan.observe(ByteRange(400 * READ, 401 * READ))
    assert back.requests[0].start == 401 * READ
    later = plan.observe(ByteRange(401 * READ, 402 * READ), now_s=IDLE_S)
    assert later.requests[0].start == 402 * READ


def test_an_idle_place_is_not_wanted() -> None:
    """Nor does it hold any of the memory."""
    plan = planner()
    planned = ahead(read_on(plan, 0, 50))[-1]
    assert plan.wanted(planned, IDLE_S - 0.01)
    assert plan.windows(IDLE_S - 0.01)
    assert not plan.wanted(planned, IDLE_S)
    assert not plan.windows(IDLE_S)


def test_interleaved_streams_keep_their_windows() -> None:
    """As many as there are cursors, each seamless and each up to the cap."""
    plan = planner()
    starts = [number * GIB for number in range(CURSORS)]
    found: dict[int, list[ByteRange]] = {start: [] for start in starts}
    for step in range(200):
        for reader, start in enumerate(starts):
            found[start] += ahead(read_on(plan, start + step * READ, 1, reader))
    for start, ranges in found.items():
        assert ranges[-1].stop > start + 200 * READ + CAP - 8 * MIB
        assert all(one.stop == two.start for one, two in pairwise(ranges))


def test_a_stream_too_many() -> None:
    """The least recently used is forgotten: the others go on."""
    plan = planner()
    starts = [(number + 1) * GIB for number in range(CURSORS + 1)]
    for reader, start in enumerate(starts):
        read_on(plan, start, 8, reader)
    assert len(plan.windows()) == CURSORS


def test_a_trusted_file_is_fetched_from_the_first_read_on() -> None:
    """After a row of files that were read as a whole."""
    plan = planner(20 * MIB)
    plan.expected_bytes = 20 * MIB
    assert total(read_on(plan, 0, 1)) == 20 * MIB - READ


@pytest.mark.parametrize("size", [20_000_000, 5 * MIB + 1, 17 * MIB])
def test_the_rest_of_a_file_is_cut_evenly(size: int) -> None:
    """Over at most 16 connections, and no request is for a short rest."""
    plan = planner(size)
    plan.expected_bytes = size
    requests = ahead(read_on(plan, 0, 1))
    assert requests[0].start == READ
    assert requests[-1].stop == size
    assert all(after.start == before.stop for before, after in pairwise(requests))
    assert len(requests) <= PARALLEL
    assert min(one.length for one in requests) >= 0.9 * max(one.length for one in requests)


def test_no_window_at_all() -> None:
    """A cap of 0 turns read-ahead off."""
    assert not ahead(read_on(planner(cap=0), 0, 100))


def test_a_lowered_cap_holds_at_once() -> None:
    """As others begin to read, the share of each shrinks, for windows that have grown too."""
    plan = planner()
    read_on(plan, 0, 2000)
    plan.max_window_bytes = 2 * MIB
    at = 2000 * READ
    again = plan.observe(ByteRange(at, at + READ), missed=True)
    assert again.requests[-1].stop <= at + READ + 2 * MIB


def test_the_lines_need_bounds_windows_and_requests() -> None:
    """A short line needs neither large windows nor many connections."""
    plan = planner()
    plan.target = WindowTarget(8 * MIB, 2 * MIB)
    requests = ahead(read_on(plan, 0, 1000))
    assert max(one.length for one in requests) == MIB
    assert requests[-1].stop <= 1000 * READ + 8 * MIB


def test_a_reader_that_takes_its_time_gets_less() -> None:
    """2 MB/s that never has to wait: a second of it, not the whole window; hungry: all again."""
    plan = planner()
    for step in range(200):
        at = step * READ
        plan.observe(ByteRange(at, at + READ), late=step < 20, now_s=step * READ / 2e6)
    assert plan.windows(200 * READ / 2e6) == [pytest.approx(1e6, rel=0.1)]
    plan.observe(ByteRange(200 * READ, 201 * READ), late=True, now_s=200 * READ / 2e6)
    assert plan.windows(200 * READ / 2e6) == [UNKNOWN_HOST.window_bytes]


@pytest.mark.parametrize("requests", [1, 2, 8])
def test_a_player_has_bytes_ahead_however_many_files_are_read(requests: int) -> None:
    """Before each read, more than its own bytes was planned."""
    plan = planner()
    plan.window_requests = requests
    plan.max_window_bytes = 2 * MIB
    planned = 0
    for step in range(400):
        at = step * READ
        assert step <= 100 or planned >= at + 2 * READ, step
        done = plan.observe(ByteRange(at, at + READ), late=step < 20, now_s=at / 7e5)
        planned = max([planned, *(one.stop for one in done.requests)])


def test_probing_starts_no_large_windows() -> None:
    """A look at the head, at an index near the end, and at the head again: twice that at most."""
    size = 20 * GIB
    plan = planner(size)
    plans = read_on(plan, 0, 2)
    plans += read_on(plan, size - 3 * MIB, 24)
    plans += read_on(plan, 2 * READ, 2)
    assert total(plans) <= 2 * 28 * READ


def test_an_index_is_expected_once_and_wanted() -> None:
    """In requests of at most 1 MiB, inside the file."""
    plan = planner(4 * GIB)
    tail = ByteRange(4 * GIB - 2 * MIB, 4 * GIB + MIB)
    requests = plan.hint(tail).requests
    assert sum(one.length for one in requests) == 2 * MIB
    assert plan.wanted(requests[-1], 10 * IDLE_S)
    assert not plan.hint(tail).requests
    assert not plan.hint(ByteRange(4 * GIB - MIB, 4 * GIB)).requests
    assert not plan.hint(ByteRange(5 * GIB, 6 * GIB)).requests
