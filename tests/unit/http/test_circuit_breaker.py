# SPDX-License-Identifier: Apache-2.0
"""A dead host is let rest, and found again."""

from __future__ import annotations

import logging

import pytest

from backlotfs.errors import CircuitOpen
from backlotfs.http.backoff import RetryPolicy
from backlotfs.http.circuit_breaker import LIMIT, RETRY_INTERVAL_S, Breakers
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import in_threads, join_all

HOST = "origin.example:443"
WHY = "source host origin.example: it refuses the connection"


def opened(clock: ManualClock) -> Breakers:
    """Breakers of which that of `HOST` has just opened."""
    breakers = Breakers(clock)
    for _ in range(LIMIT):
        breakers.check(HOST)
        breakers.failed(HOST, WHY)
    return breakers


def is_asked(breakers: Breakers, host: str = HOST) -> bool:
    """Whether a connection may be tried now."""
    try:
        breakers.check(host)
    except CircuitOpen:
        return False
    return True


def test_one_read_alone_opens_nothing() -> None:
    """Its own backoff is enough; the others are not to suffer from it."""
    assert RetryPolicy().max_attempts < LIMIT


def test_a_host_rests_after_so_many_failures_in_a_row() -> None:
    """Not before; and it is said why, and for how long."""
    clock = ManualClock()
    breakers = Breakers(clock)
    for _ in range(LIMIT - 1):
        breakers.failed(HOST, WHY)
    assert is_asked(breakers)
    breakers.failed(HOST, WHY)
    clock.advance(0.25 * RETRY_INTERVAL_S)
    with pytest.raises(CircuitOpen, match=f"^{WHY}; it is asked again in 0.8 s$") as caught:
        breakers.check(HOST)
    assert caught.value.retry_after_s == pytest.approx(0.75 * RETRY_INTERVAL_S)


def test_others_are_asked_meanwhile() -> None:
    """A breaker is of one host."""
    assert is_asked(opened(ManualClock()), "elsewhere.example:443")


def test_one_caller_a_rest_is_let_through() -> None:
    """Whoever comes first; he may fail, or never say what came of it."""
    clock = ManualClock()
    breakers = opened(clock)
    for outcome in (breakers.failed, lambda _host, _why: None, breakers.failed):
        clock.advance(RETRY_INTERVAL_S)
        assert [is_asked(breakers) for _ in range(3)] == [True, False, False]
        outcome(HOST, WHY)
        assert not is_asked(breakers)


def test_the_first_connection_closes_it(caplog: pytest.LogCaptureFixture) -> None:
    """For all, at once, and from zero; the log has one line for each turn."""
    caplog.set_level(logging.INFO)
    clock = ManualClock()
    breakers = opened(clock)
    clock.advance(RETRY_INTERVAL_S)
    breakers.check(HOST)
    breakers.reached(HOST)
    assert all(is_asked(breakers) for _ in range(100))
    breakers.failed(HOST, WHY)
    assert is_asked(breakers)
    assert [record.getMessage() for record in caplog.records] == [
        f"{WHY}; trying {HOST} again every 1 s",
        f"{HOST} can be reached again",
    ]


def test_of_many_at_once_one_is_let_through() -> None:
    """Threads that wake in the same moment."""
    clock = ManualClock()
    breakers = opened(clock)
    clock.advance(RETRY_INTERVAL_S)
    asked: list[bool] = []
    join_all(in_threads(16, lambda _number: asked.append(is_asked(breakers))))
    assert sum(asked) == 1


def test_hosts_that_rest_are_counted() -> None:
    """Those out of reach, until one is reached again; a single failure is not one."""
    breakers = opened(ManualClock())
    breakers.failed("other.example:443", WHY)
    assert breakers.count_open() == 1
    breakers.reached(HOST)
    assert breakers.count_open() == 0
