# SPDX-License-Identifier: Apache-2.0
"""What to fetch ahead of one stream, rule by rule."""

from __future__ import annotations

from itertools import pairwise

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.prefetch.planner import RUNS_REMEMBERED, UNKNOWN_HOST, PlanLimits
from tests.unit.prefetch.plans import CAP, GIB, KIB, MIB, READ, ahead, planner, read_on, total

LIMITS = PlanLimits()


def test_the_first_read_of_a_file_fetches_little_more() -> None:
    """Byte 0 is most likely read on from: one small window, right behind the read."""
    first = planner().observe(ByteRange(0, READ)).requests
    assert first[0].start == READ
    assert first[-1].stop <= READ + LIMITS.first_window_bytes
    assert all(request.length <= LIMITS.min_request_bytes for request in first)


def test_sequential_reading_grows_to_the_cap() -> None:
    """Windows and requests grow up to their limits, within three round trips."""
    plan = planner()
    plans = read_on(plan, 0, 2000)
    windows = [one.requests[-1].stop - at * READ for at, one in enumerate(plans) if one.requests]
    assert CAP - UNKNOWN_HOST.request_bytes < max(windows) <= CAP + READ
    lengths = [request.length for request in ahead(plans)]
    assert max(lengths) == lengths[-1] == UNKNOWN_HOST.request_bytes
    assert max(windows[: 8 * MIB // READ]) > 50 * MIB


def test_a_read_elsewhere_gets_nothing_until_it_goes_on() -> None:
    """A single read in the middle pays for itself alone; a second one makes it a stream."""
    first, second, *_ = read_on(planner(), GIB, 3)
    assert not first.requests
    assert second.requests[0].start == GIB + 2 * READ


@pytest.mark.parametrize("length", [4 * KIB, 64 * KIB, READ])
def test_random_reads_get_nothing(length: int) -> None:
    """However many there are, and however near to others."""
    plan = planner()
    places = [(at * 7_919 % 1000) * 3 * MIB + GIB for at in range(300)]
    assert not ahead([plan.observe(ByteRange(at, at + length)) for at in places])


def test_random_stretches_are_fetched_whole_and_no_further() -> None:
    """Once a few runs were about as long, the next is expected to be: at once, and no more."""
    plan = planner()
    for turn in range(RUNS_REMEMBERED):
        read_on(plan, (2 * turn + 1) * GIB, 8)
    first, *others = read_on(plan, 20 * GIB, 8)
    assert total([first]) == 7 * READ
    assert not ahead(others)


def test_a_small_gap_is_still_the_stream() -> None:
    """A player that skips an atom of its container keeps its window."""
    plan = planner()
    read_on(plan, 0, 50)
    start = ahead(read_on(plan, 50 * READ + 300 * KIB, 60))[0].start
    assert start > 100 * READ


def test_a_skip_within_the_window_keeps_what_is_in_flight() -> None:
    """What was planned beyond the skip stays wanted, and is not planned again."""
    plan = planner()
    planned = ahead(read_on(plan, 0, 400))[-1].stop
    found = ahead(read_on(plan, 400 * READ + 10 * MIB, 100))
    assert found[0].start == planned
    assert plan.wanted(ByteRange(planned - MIB, planned))
    assert not plan.wanted(ByteRange(400 * READ, 400 * READ + MIB))


def test_hopping_about_in_a_window_ends_it() -> None:
    """A stream that turned into random reads is no stream."""
    plan = planner()
    read_on(plan, 0, 400)
    at = 400 * READ
    for hop in range(8):
        at += (20 - 2 * hop) * MIB
        plan.observe(ByteRange(at, at + 4 * KIB))
    at += 3 * MIB
    assert not plan.observe(ByteRange(at, at + 4 * KIB), missed=True).requests


def test_reads_out_of_order_are_one_stream() -> None:
    """The kernel sends its own read-ahead in parallel: neighbours overtake each other."""
    plan = planner()
    order = [at + swap for at in range(0, 400, 2) for swap in (1, 0)]
    found = ahead([plan.observe(ByteRange(at * READ, (at + 1) * READ)) for at in order])
    assert found[-1].stop > 400 * READ + CAP - 8 * MIB
    assert all(one.stop == two.start for one, two in pairwise(found))


def test_the_same_read_again_plans_nothing_new() -> None:
    """Repeating costs nothing, and neither does reading backwards."""
    plan = planner()
    read_on(plan, GIB, 6)
    assert not ahead([plan.observe(ByteRange(GIB, GIB + READ)) for _ in range(20)])
    backwards = range(GIB - READ, GIB - MIB, -READ)
    assert not ahead([plan.observe(ByteRange(at, at + READ)) for at in backwards])


def test_a_learned_stride_leaves_out_what_is_skipped() -> None:
    """Read 4 MiB, skip 1 MiB: after two skips only what will be read is fetched, and all of it."""
    plan = planner()
    period, run = 5 * MIB, 4 * MIB
    requests: list[ByteRange] = []
    for turn in range(40):
        requests += ahead(read_on(plan, turn * period, run // READ))
    late = [one for one in requests if one.start > 24 * period]
    assert all(one.start % period < run and (one.stop - 1) % period < run for one in late)
    assert sum(one.length for one in late) >= 15 * run
    assert max(one.length for one in late) == run


def test_the_end_of_the_file() -> None:
    """Plans reach the last byte, which is no multiple of anything, and then stop."""
    size = 3 * MIB + 17
    plan = planner(size)
    plans = [plan.observe(ByteRange(at, min(at + READ, size))) for at in range(0, size, READ)]
    assert ahead(plans)[-1].stop == size
    assert total(plans) == size - READ
    assert plan.read_through


@pytest.mark.parametrize("size", [1, READ, READ + 1, LIMITS.first_window_bytes])
def test_small_files(size: int) -> None:
    """What the first read leaves is fetched whole, or nothing if nothing is left."""
    found = planner(size).observe(ByteRange(0, min(READ, size)))
    assert total([found]) == max(0, size - READ)


def test_a_missed_read_is_planned_anew() -> None:
    """Blocks that were planned and then dropped or evicted are asked for once more."""
    plan = planner()
    read_on(plan, 0, 40)
    again = plan.observe(ByteRange(40 * READ, 41 * READ), missed=True)
    assert again.requests[0].start == 41 * READ
