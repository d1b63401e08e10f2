# SPDX-License-Identifier: Apache-2.0
"""Whatever goes on, a dead host is asked rarely, and one that is back is found soon."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.errors import CircuitOpen
from backlotfs.http.circuit_breaker import LIMIT, RETRY_INTERVAL_S, Breakers
from tests.fakes.clocks import ManualClock

HOST = "h:443"
#: Seconds until the next caller comes, and whether the host is there then.
STEPS = st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=80)
#: A step is as short as the clock is exact.
_EXACT_S = 1e-6


def ask(breakers: Breakers, up: bool) -> float | None:
    """One caller; None: the host was asked, else what he was told to wait."""
    try:
        breakers.check(HOST)
    except CircuitOpen as resting:
        return resting.retry_after_s
    if up:
        breakers.reached(HOST)
    else:
        breakers.failed(HOST, "refused")
    return None


@given(gaps=st.lists(st.floats(0.0, 3.0), max_size=120))
def test_a_dead_host_is_asked_once_a_rest(gaps: list[float]) -> None:
    """Beyond the failures that open it: any two attempts are a rest apart, whoever comes when."""
    clock = ManualClock()
    breakers = Breakers(clock)
    asked_s: list[float] = []
    for gap in gaps:
        clock.advance(gap)
        if ask(breakers, up=False) is None:
            asked_s.append(clock.monotonic())
    late = asked_s[LIMIT - 1 :]
    assert all(b - a >= RETRY_INTERVAL_S - _EXACT_S for a, b in pairwise(late))
    assert len(asked_s) <= LIMIT + sum(gaps) / RETRY_INTERVAL_S + 1


@given(steps=STEPS)
def test_a_host_that_is_back_is_found_within_a_rest(steps: list[tuple[float, bool]]) -> None:
    """Whoever waits as long as he is told is let through, and with him everybody."""
    clock = ManualClock()
    breakers = Breakers(clock)
    for gap, up in steps:
        clock.advance(gap)
        ask(breakers, up)
    wait_s = ask(breakers, up=True)
    if wait_s is not None:
        assert 0 < wait_s <= RETRY_INTERVAL_S
        clock.advance(wait_s + _EXACT_S)
        assert ask(breakers, up=True) is None
    assert all(ask(breakers, up=True) is None for _ in range(3))


@given(steps=STEPS)
def test_a_host_that_answers_between_is_never_refused(steps: list[tuple[float, bool]]) -> None:
    """Failures count only in a row."""
    clock = ManualClock()
    breakers = Breakers(clock)
    in_a_row = 0
    for gap, up in steps:
        clock.advance(gap)
        told = ask(breakers, up)
        if in_a_row < LIMIT:
            assert told is None
        if told is None:
            in_a_row = 0 if up else in_a_row + 1
