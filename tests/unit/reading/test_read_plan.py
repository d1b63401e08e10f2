"""What to fetch ahead, rule by rule."""

from __future__ import annotations

from itertools import pairwise

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.reading.read_plan import (
    CURSORS,
    FIRST_WINDOW_BYTES,
    MAX_REQUEST_BYTES,
    MIN_REQUEST_BYTES,
    NEAR_BYTES,
    ReadPlan,
    ReadPlanner,
)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
READ = 128 * KIB
CAP = 64 * MIB


def planner(size: int = 10 * GIB, cap: int = CAP) -> ReadPlanner:
    """For a large file, unless a test needs its end."""
    return ReadPlanner(size, max_window_bytes=cap, block_bytes=READ)


def read_on(plan: ReadPlanner, start: int, count: int) -> list[ReadPlan]:
    """``count`` reads one after another from ``start``."""
    return [
        plan.observe(ByteRange(at, at + READ)) for at in range(start, start + count * READ, READ)
    ]


def ahead(plans: list[ReadPlan]) -> list[ByteRange]:
    """What was asked for, without the empty plans."""
    return [plan.ahead for plan in plans if plan.ahead.length]


def test_the_first_read_of_a_file_fetches_little_more() -> None:
    """Byte 0 is most likely read on from: one small window, right behind the read."""
    first = planner().observe(ByteRange(0, READ))
    assert first.ahead.start == READ
    assert 0 < first.ahead.length <= FIRST_WINDOW_BYTES
    assert first.request_bytes == MIN_REQUEST_BYTES


def test_sequential_reading_grows_to_the_cap() -> None:
    """Windows double, requests grow with them, and both stop at their limits."""
    plan = planner()
    plans = read_on(plan, 0, 2000)
    windows = [found.ahead.stop - at * READ for at, found in enumerate(plans) if found.ahead.length]
    assert max(windows) > CAP - 2 * MAX_REQUEST_BYTES
    assert max(windows) <= CAP + READ
    requests = [found.request_bytes for found in plans if found.ahead.length]
    assert requests == sorted(requests)
    assert (requests[0], requests[-1]) == (MIN_REQUEST_BYTES, MAX_REQUEST_BYTES)


def test_plans_of_one_stream_are_seamless() -> None:
    """Each begins where the last ended: nothing twice, nothing left out."""
    found = ahead(read_on(planner(), 0, 500))
    assert found[0].start == READ
    assert all(one.stop == two.start for one, two in pairwise(found))


def test_a_read_elsewhere_gets_nothing_until_it_goes_on() -> None:
    """A single read in the middle pays for itself alone; a second one makes it a stream."""
    plan = planner()
    first, second, *_ = read_on(plan, GIB, 3)
    assert not first.ahead.length
    assert second.ahead.start >= GIB + 2 * READ
    assert second.ahead.length


def test_random_reads_get_nothing() -> None:
    """However many there are."""
    plan = planner()
    places = [(at * 7_919 % 1000) * 10 * MIB + GIB for at in range(200)]
    assert not ahead([plan.observe(ByteRange(at, at + READ)) for at in places])


def test_a_small_gap_is_still_the_stream() -> None:
    """A player that skips an atom of its container keeps its window."""
    plan = planner()
    read_on(plan, 0, 50)
    assert ahead(read_on(plan, 50 * READ + NEAR_BYTES // 2, 60))


def test_a_far_seek_starts_anew() -> None:
    """The grown window stays behind: the new place starts from nothing."""
    plan = planner()
    read_on(plan, 0, 500)
    first, second = read_on(plan, 5 * GIB, 2)
    assert not first.ahead.length
    assert second.ahead.length <= FIRST_WINDOW_BYTES


def test_interleaved_streams_keep_their_windows() -> None:
    """Sound and picture read in turn are both sequential, as many as there are cursors."""
    plan = planner()
    starts = [number * GIB for number in range(CURSORS)]
    found: dict[int, list[ByteRange]] = {start: [] for start in starts}
    for step in range(200):
        for start in starts:
            found[start] += ahead(read_on(plan, start + step * READ, 1))
    for start, ranges in found.items():
        assert ranges[-1].stop > start + 200 * READ + 8 * MIB
        assert all(one.stop == two.start for one, two in pairwise(ranges))


def test_one_stream_too_many() -> None:
    """The least recently used is forgotten: with more streams than cursors, nobody profits."""
    plan = planner()
    starts = [(number + 1) * GIB for number in range(CURSORS + 1)]
    plans = [read_on(plan, start + step * READ, 1)[0] for step in range(20) for start in starts]
    assert not ahead(plans)


def test_reads_out_of_order_are_one_stream() -> None:
    """The kernel sends its own read-ahead in parallel: neighbours overtake each other."""
    plan = planner()
    order = [at + swap for at in range(0, 400, 2) for swap in (1, 0)]
    found = ahead([plan.observe(ByteRange(at * READ, (at + 1) * READ)) for at in order])
    assert found[-1].stop > 400 * READ + 8 * MIB
    assert all(one.stop == two.start for one, two in pairwise(found))


def test_the_same_read_again_plans_nothing_new() -> None:
    """Repeating costs nothing."""
    plan = planner()
    read_on(plan, 0, 6)
    assert not ahead([plan.observe(ByteRange(READ, 2 * READ)) for _ in range(20)])


def test_the_end_of_the_file() -> None:
    """Plans reach the last byte, which is no multiple of anything, and then stop."""
    size = 3 * MIB + 17
    plan = planner(size)
    plans = [plan.observe(ByteRange(at, min(at + READ, size))) for at in range(0, size, READ)]
    found = ahead(plans)
    assert found[-1].stop == size
    assert sum(one.length for one in found) == size - READ


@pytest.mark.parametrize("size", [1, READ, READ + 1, FIRST_WINDOW_BYTES])
def test_small_files(size: int) -> None:
    """What the first read leaves is fetched whole, or nothing if nothing is left."""
    found = planner(size).observe(ByteRange(0, min(READ, size)))
    assert found.ahead.length == max(0, size - READ)


def test_a_missed_read_is_planned_anew() -> None:
    """Blocks that were planned and then dropped or evicted are asked for once more."""
    plan = planner()
    read_on(plan, 0, 40)
    again = plan.observe(ByteRange(40 * READ, 41 * READ), missed=True)
    assert again.ahead.start == 41 * READ


def test_no_window_at_all() -> None:
    """A cap of 0 turns read-ahead off."""
    assert not ahead(read_on(planner(cap=0), 0, 100))


def test_a_lowered_cap_holds_at_once() -> None:
    """As other files open, the share of each shrinks, for windows that have grown too."""
    plan = planner()
    read_on(plan, 0, 2000)
    plan.max_window_bytes = 2 * MIB
    at = 2000 * READ
    again = plan.observe(ByteRange(at, at + READ), missed=True)
    assert again.ahead.stop <= at + READ + 2 * MIB
