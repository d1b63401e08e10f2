# SPDX-License-Identifier: Apache-2.0
"""Hedges stay within their bounds, whatever happens, and come when they should."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.fetch.hedging import (
    ALLOWED_BYTES,
    ALLOWED_HEDGES,
    AT_ONCE,
    BLIND_S,
    ENOUGH_SAMPLES,
    FLOOR_S,
    LATE_FACTOR,
    SHARE,
    HedgePolicy,
)
from backlotfs.fetch.hosts import LOAD_WINDOW_S, HostRegistry
from backlotfs.source.signed_get import GetRecord, Outcome
from tests.fakes.clocks import ManualClock

MB = 1_000_000
BLOCK = 128 * 1024


def get(
    first_byte_s: float = 0.03,
    *,
    seconds: float = 0.13,
    size: int = 6 * MB,
    outcome: Outcome = Outcome.WHOLE,
) -> GetRecord:
    """One GET."""
    return GetRecord("h", "E", False, 0.0, first_byte_s, seconds, size, outcome)


class Taught:
    """A policy for a host on which these latencies were seen, on a clock that stands still."""

    def __init__(self, *latencies_s: float, flowing_s: float = 0.1) -> None:
        self.clock = ManualClock()
        self.hosts = HostRegistry(self.clock)
        self.policy = HedgePolicy(self.hosts, self.clock)
        for latency_s in latencies_s:
            self.get(get(latency_s, seconds=latency_s + flowing_s))

    def get(self, record: GetRecord) -> None:
        """A GET takes place."""
        self.hosts.began(record.embed_code, 0.0)
        self.hosts.ended(record)

    def delay_s(self, length_bytes: int) -> float:
        """As the policy's."""
        return self.policy.delay_s("E", length_bytes)

    def hedge(self, embed_code: str, length_bytes: int) -> bool:
        """Whether a hedge is allowed; it ends at once, without a block."""
        ended = self.policy.begin(embed_code, length_bytes)
        if ended is not None:
            ended(False)
        return ended is not None


def test_patient_while_nothing_is_known() -> None:
    """A slow host must not look like a stalled one before it was seen."""
    assert Taught().delay_s(BLOCK) == BLIND_S
    assert Taught(*[0.03] * (ENOUGH_SAMPLES - 1)).delay_s(BLOCK) == BLIND_S


def test_never_below_the_floor() -> None:
    """A fast host's tail is not worth a second request."""
    assert Taught(*[0.0003] * ENOUGH_SAMPLES).delay_s(BLOCK) == FLOOR_S


def test_the_delay_follows_the_tail() -> None:
    """One in ten takes half a second: then half a second is not late."""
    expected = LATE_FACTOR * (0.5 + BLOCK / (60 * MB))
    assert Taught(*[0.03] * 45, *[0.5] * 5).delay_s(BLOCK) == pytest.approx(expected)


def test_large_blocks_take_their_time() -> None:
    """What is large arrives later, and is not late for it."""
    taught = Taught(*[0.03] * 50, flowing_s=1.0)  # 6 MB/s
    assert taught.delay_s(12 * MB) == pytest.approx(LATE_FACTOR * 2.03)


def test_so_many_at_once() -> None:
    """A third of one source has to wait until one of the two has ended."""
    taught = Taught(*[0.03] * 100)
    begun = [taught.policy.begin("E", BLOCK) for _ in range(AT_ONCE)]
    assert taught.policy.begin("E", BLOCK) is None
    assert taught.hedge("another", BLOCK)
    assert begun[0] is not None
    begun[0](True)
    assert taught.hedge("E", BLOCK)
    totals = taught.hosts.totals()
    assert (totals.hedges, totals.hedges_won) == (AT_ONCE + 2, 1)


def test_the_first_stall_can_be_hedged() -> None:
    """The allowance is there before anything else was fetched, and is there again later."""
    taught = Taught()
    for source in "abc"[:ALLOWED_HEDGES]:
        assert taught.hedge(source, BLOCK)
    assert not taught.hedge("x", BLOCK)
    taught.clock.advance(2 * LOAD_WINDOW_S)
    assert taught.hedge("x", BLOCK)


def test_a_refusal_now_and_then_does_not_end_hedging() -> None:
    """Under one in twenty a host is well; above, it is asked for too much, until that is past."""
    taught = Taught(*[0.03] * 60)
    refused = get(size=0, outcome=Outcome.OVERLOADED)
    for _ in range(3):
        taught.get(refused)
    assert taught.hedge("E", BLOCK)
    taught.get(refused)
    assert not taught.hedge("E", BLOCK)
    taught.clock.advance(2 * LOAD_WINDOW_S)
    assert taught.hedge("E", BLOCK)


def test_a_large_hedge_needs_bytes() -> None:
    """4 MiB are not fetched twice before 60 MB were fetched once."""
    taught = Taught(0.03)
    assert not taught.hedge("E", 4 * 1024 * 1024)
    for _ in range(12):
        taught.get(get(size=6 * MB))
    assert taught.hedge("E", 4 * 1024 * 1024)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.sampled_from(["get", "get", "get", "hedge", "end"]),
            st.integers(1, 8 * MB),
        ),
        max_size=300,
    )
)
def test_the_cost_is_bounded(steps: list[tuple[float, str, int]]) -> None:
    """In every window: hedges and their bytes are a twentieth of all, but for the allowance."""
    taught = Taught()
    under_way: list[Callable[[bool], None]] = []
    hedges: list[tuple[float, int]] = []
    gets: list[tuple[float, int]] = []
    for passed_s, kind, size in steps:
        taught.clock.advance(passed_s)
        now_s = taught.clock.monotonic()
        if kind == "get":
            taught.get(get(size=size))
            gets.append((now_s, size))
        elif kind == "hedge":
            ended = taught.policy.begin("E", size)
            if ended is not None:
                under_way.append(ended)
                hedges.append((now_s, size))
        elif under_way:
            under_way.pop()(False)
        assert len(under_way) <= AT_ONCE
        mine = [size for at_s, size in hedges if at_s > now_s - LOAD_WINDOW_S]
        all_of_it = [size for at_s, size in gets if at_s > now_s - 2 * LOAD_WINDOW_S]
        assert len(mine) <= 2 * ALLOWED_HEDGES + SHARE * len(all_of_it)
        assert sum(mine) <= 2 * ALLOWED_BYTES + SHARE * sum(all_of_it)
