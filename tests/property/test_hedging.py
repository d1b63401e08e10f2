"""Hedges stay within their bounds, whatever happens, and come when they should."""

from __future__ import annotations

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
    PATIENCE,
    SHARE,
    WINDOW_S,
    Hedger,
)
from backlotfs.fetch.link_estimate import LinkEstimate
from backlotfs.source.timed_get import GetRecord, Outcome

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


def taught(*latencies_s: float, flowing_s: float = 0.1) -> Hedger:
    """A hedger of a line on which these latencies were seen."""
    estimate = LinkEstimate()
    for latency_s in latencies_s:
        estimate.observe(get(latency_s, seconds=latency_s + flowing_s))
    return Hedger(estimate)


def test_patient_while_nothing_is_known() -> None:
    """A slow line must not look like a stalled one before it was seen."""
    assert taught().delay_s(BLOCK) == BLIND_S
    assert taught(*[0.03] * (ENOUGH_SAMPLES - 1)).delay_s(BLOCK) == BLIND_S


def test_never_below_the_floor() -> None:
    """A fast line's tail is not worth a second request."""
    assert taught(*[0.0003] * ENOUGH_SAMPLES).delay_s(BLOCK) == FLOOR_S


def test_the_delay_follows_the_tail() -> None:
    """One in ten takes half a second: then half a second is not late."""
    hedger = taught(*[0.03] * 45, *[0.5] * 5)
    expected = PATIENCE * (0.5 + BLOCK / (60 * MB))
    assert hedger.delay_s(BLOCK) == pytest.approx(expected)


def test_large_blocks_take_their_time() -> None:
    """What is large arrives later, and is not late for it."""
    hedger = taught(*[0.03] * 50, flowing_s=1.0)  # 6 MB/s
    assert hedger.delay_s(12 * MB) == pytest.approx(PATIENCE * 2.03)


def test_so_many_at_once() -> None:
    """A third has to wait until one of the two is over."""
    hedger = taught()
    for _ in range(100):
        hedger.record(get(), 1.0)
    for _ in range(AT_ONCE):
        assert hedger.begin("E", BLOCK, 1.0)
    assert not hedger.may_hedge("E", BLOCK, 1.0)
    assert not hedger.begin("E", BLOCK, 1.0)
    assert hedger.may_hedge("another", BLOCK, 1.0)
    hedger.end("E", won=True)
    assert hedger.begin("E", BLOCK, 1.0)
    hedger.end("E", won=False)
    hedger.end("E", won=False)
    assert (hedger.made, hedger.won) == (AT_ONCE + 1, 1)


def test_the_first_stall_can_be_hedged() -> None:
    """The allowance is there before anything else was fetched, and is there again later."""
    hedger = taught()
    for source in "abc"[:ALLOWED_HEDGES]:
        assert hedger.begin(source, BLOCK, 1.0)
    assert not hedger.begin("x", BLOCK, 1.0)
    assert hedger.begin("x", BLOCK, 1.0 + 2 * WINDOW_S)


def test_a_refusal_now_and_then_does_not_end_hedging() -> None:
    """Under one in twenty a host is well; above, it is asked for too much, until that is past."""
    hedger = taught(*[0.03] * ENOUGH_SAMPLES)
    for _ in range(60):
        hedger.record(get(), 1.0)
    for _ in range(3):
        hedger.record(get(size=0, outcome=Outcome.OVERLOADED), 1.0)
    assert hedger.may_hedge("E", BLOCK, 1.0)
    hedger.record(get(size=0, outcome=Outcome.OVERLOADED), 1.0)
    assert not hedger.may_hedge("E", BLOCK, 1.0)
    assert hedger.may_hedge("E", BLOCK, 1.0 + 2 * WINDOW_S)


def test_a_large_hedge_needs_bytes() -> None:
    """4 MiB are not fetched twice before 60 MB were fetched once."""
    hedger = taught()
    hedger.record(get(size=6 * MB), 1.0)
    assert not hedger.may_hedge("E", 4 * 1024 * 1024, 1.0)
    for _ in range(12):
        hedger.record(get(size=6 * MB), 1.0)
    assert hedger.may_hedge("E", 4 * 1024 * 1024, 1.0)


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
    hedger = taught()
    now_s, under_way = 1000.0, 0
    hedges: list[tuple[float, int]] = []
    gets: list[tuple[float, int]] = []
    for passed_s, kind, size in steps:
        now_s += passed_s
        if kind == "get":
            hedger.record(get(size=size), now_s)
            gets.append((now_s, size))
        elif kind == "hedge":
            allowed = hedger.may_hedge("E", size, now_s)
            assert hedger.begin("E", size, now_s) == allowed
            if allowed:
                under_way += 1
                hedges.append((now_s, size))
        elif under_way:
            hedger.end("E", won=False)
            under_way -= 1
        assert under_way <= AT_ONCE
        mine = [size for at_s, size in hedges if at_s > now_s - WINDOW_S]
        all_of_it = [size for at_s, size in gets if at_s > now_s - 2 * WINDOW_S]
        assert len(mine) <= 2 * ALLOWED_HEDGES + SHARE * len(all_of_it)
        assert sum(mine) <= 2 * ALLOWED_BYTES + SHARE * sum(all_of_it)
