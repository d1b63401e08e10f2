# SPDX-License-Identifier: Apache-2.0
"""Planners that outlive handles, and how what is being read shares the memory."""

from __future__ import annotations

import gc

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.prefetch.planner import IDLE_S, UNKNOWN_HOST, window_target
from backlotfs.prefetch.registry import (
    CLOSE_GRACE_S,
    MAX_WINDOW_BYTES,
    MIN_WINDOW_BYTES,
    SHARES_EVERY_S,
    SOURCES_KEPT,
    Prefetcher,
    PrefetcherRegistry,
)
from backlotfs.source.bandwidth import HostStats
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
READ = 128 * KIB
BUDGET = 96 * MIB


class Plans(PrefetcherRegistry):
    """With a clock to be moved, and a line to be set."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.clock = ManualClock()
        self.line: HostStats | None = None
        self.asked = 0
        super().__init__(
            self.clock, window_budget_bytes=budget, block_bytes=READ // 2, stats_of=self._line
        )

    def _line(self, embed_code: str) -> HostStats | None:
        self.asked += bool(embed_code)
        return self.line


def source(number: int = 0, size: int = 10 * GIB) -> SourceVersion:
    """One of many."""
    return source_version(f"E{number}", size)


def read_on(plan: Prefetcher, count: int, start: int = 0, reader: int = 1) -> list[ByteRange]:
    """``count`` reads one after another; the requests ahead of them."""
    return [
        request
        for at in range(start, start + count * READ, READ)
        for request in plan.observe(
            ByteRange(at, at + READ), missed=False, late=True, reader=reader
        ).requests
    ]


def test_closed_and_opened_again_keeps_the_window() -> None:
    """As players do: the next read goes on as if nothing had been."""
    plans = Plans()
    first = plans.opened(source())
    planned = read_on(first, 300)[-1].stop
    first.closed()
    again = plans.opened(source())
    found = read_on(again, 40, 300 * READ, reader=2)
    assert found[0].start == planned


def test_versions_are_apart() -> None:
    """Another version of a source begins anew."""
    plans = Plans()
    assert plans.opened(source()) is plans.opened(source())
    assert plans.opened(source()) is not plans.opened(source_version("E0", 10 * GIB, etag='"v2"'))


def test_as_many_as_are_kept() -> None:
    """Beyond that the oldest closed one is forgotten; one that is open never."""
    plans = Plans()
    opened = plans.opened(source(0))
    read_on(plans.opened(source(1)), 300)
    plans.clock.advance(IDLE_S)
    for number in range(SOURCES_KEPT):
        plan = plans.opened(source(number + 2))
        read_on(plan, 1)
        plan.closed()
    del plan
    gc.collect()
    assert plans.opened(source(0)) is opened
    assert not read_on(plans.opened(source(1)), 1, 300 * READ)


def test_what_is_read_shares_the_budget() -> None:
    """Equally if all want much; from the next look on."""
    plans = Plans()
    streams = [plans.opened(source(number)) for number in range(4)]
    for plan in streams:
        read_on(plan, 300)
    plans.clock.advance(SHARES_EVERY_S)
    read_on(streams[0], 1, 300 * READ)
    assert plans.shares.cap_bytes == BUDGET // 4


@pytest.mark.parametrize(("readers", "parts"), [(1, 8), (8, 8), (16, 4), (32, 2), (64, 1)])
def test_many_readers_make_large_requests(readers: int, parts: int) -> None:
    """Together they fill the line; each window has the fewer requests, the more there are."""
    plans = Plans(readers * 2 * MIB)
    streams = [plans.opened(source(number)) for number in range(readers)]
    for plan in streams:
        read_on(plan, 300)
    plans.clock.advance(SHARES_EVERY_S)
    read_on(streams[0], 1, 300 * READ)
    assert plans.shares.cap_bytes == 2 * MIB
    for plan in streams:
        plan.observe(ByteRange(301 * READ, 302 * READ), missed=True, late=True, reader=1)
        read_on(plan, 32, 302 * READ)
    later = [request for plan in streams for request in read_on(plan, 64, 334 * READ)]
    assert {request.length for request in later} == {2 * MIB // parts}


def test_open_files_that_nobody_reads_hold_nothing() -> None:
    """500 of them leave a reader its whole window; so do readers that stopped, and closed ones."""
    plans = Plans()
    idle = [plans.opened(source(number)) for number in range(500)]
    closed = [plans.opened(source(1000 + number)) for number in range(8)]
    for plan in [*idle[:100], *closed]:
        read_on(plan, 300)
    plans.clock.advance(SHARES_EVERY_S)
    read_on(idle[200], 1)
    assert plans.shares.cap_bytes == MIN_WINDOW_BYTES
    for plan in closed:
        plan.closed()
    plans.clock.advance(IDLE_S)
    read_on(idle[200], 2)
    assert plans.shares.cap_bytes == MAX_WINDOW_BYTES


def test_who_needs_little_leaves_the_rest() -> None:
    """Slow players beside a copy: the copy gets what they leave."""
    plans = Plans()
    copy = plans.opened(source(99))
    players = [plans.opened(source(number)) for number in range(8)]
    for step in range(60):
        plans.clock.advance(0.05)
        for plan in players:
            at = step * READ
            plan.observe(ByteRange(at, at + READ), missed=False, late=step < 2, reader=3)
        read_on(copy, 8, step * 8 * READ)
    needs = [window for plan in players for window in plan.windows(plans.clock.monotonic())]
    assert len(needs) == 8
    assert plans.shares.cap_bytes >= min(BUDGET - sum(needs), UNKNOWN_HOST.window_bytes)


@pytest.mark.parametrize(
    ("budget", "cap"), [(0, MIN_WINDOW_BYTES), (BUDGET, MAX_WINDOW_BYTES), (8 * MIB, 8 * MIB)]
)
def test_within_limits(budget: int, cap: int) -> None:
    """However much or little memory there is."""
    plans = Plans(budget)
    read_on(plans.opened(source()), 1)
    assert plans.shares.cap_bytes == cap


def test_the_line_is_looked_at_now_and_then() -> None:
    """Not at each read; what it says bounds the windows from the next look on."""
    plans = Plans()
    plan = plans.opened(source())
    read_on(plan, 400)
    assert plans.asked == 1
    plans.line = HostStats(0.0003, 400e6, 300e6)
    plans.clock.advance(SHARES_EVERY_S)
    read_on(plan, 300, 400 * READ)
    assert plans.asked == 2
    assert plan.windows(plans.clock.monotonic()) == [window_target(plans.line).window_bytes]


def test_what_a_closed_file_had_on_its_way() -> None:
    """Is wanted for a moment, for whoever opens it again at once."""
    plans = Plans()
    plan = plans.opened(source())
    ahead = read_on(plan, 50)[-1]
    assert plan.wanted(ahead)
    plan.closed()
    assert plan.wanted(ahead)
    plans.clock.advance(CLOSE_GRACE_S)
    assert not plan.wanted(ahead)


def test_what_is_expected_bounds_the_first_window() -> None:
    """A file that is probably read completely is fetched at once; of a head, no more than that."""
    plans = Plans()
    size = 20 * MIB
    for number, (expected, planned) in enumerate(
        [(size, size - READ), (READ, 0), (4 * READ, 3 * READ), (0, 0)]
    ):
        plan = plans.opened(source(number, size), expected)
        assert sum(request.length for request in read_on(plan, 1)) == planned
    assert 0 < sum(one.length for one in read_on(plans.opened(source(9, size)), 1)) < MIB


def test_an_index_is_expected() -> None:
    """And wanted while the file is open."""
    plans = Plans()
    plan = plans.opened(source())
    index = ByteRange(9 * GIB, 9 * GIB + MIB)
    assert plan.hint(index).requests == (index,)
    assert plan.wanted(index)
