# SPDX-License-Identifier: Apache-2.0
"""One call at a time per key."""

from __future__ import annotations

import threading

import pytest

from backlotfs.concurrency.single_flight import SingleFlight
from backlotfs.errors import SourceGone
from tests.fakes.workers import PATIENCE_S, STUCK_S, in_threads, join_all

pytestmark = pytest.mark.timeout(STUCK_S)


def test_calls_again_once_landed() -> None:
    """Nothing is remembered: a later caller starts a call of its own."""
    flights: SingleFlight[str, int] = SingleFlight()
    answers = iter([1, 2])
    assert [flights.run("a", lambda: next(answers)) for _ in range(2)] == [1, 2]


def test_an_error_is_shared_and_then_forgotten() -> None:
    """Who waits gets the error; the next caller tries anew."""
    flights: SingleFlight[str, int] = SingleFlight()
    flight, ours = flights.join("a")
    assert ours
    same, also_ours = flights.join("a")
    assert same is flight
    assert not also_ours

    def fail() -> int:
        raise SourceGone("gone")

    flights.fly("a", fail)
    assert isinstance(flight.exception(0), SourceGone)
    assert flights.run("a", lambda: 5) == 5


def test_keys_do_not_wait_for_each_other() -> None:
    """A call for one key runs while another's is under way."""
    flights: SingleFlight[str, int] = SingleFlight()
    flights.join("slow")
    assert flights.run("fast", lambda: 1, timeout_s=0) == 1
    with pytest.raises(TimeoutError):
        flights.run("slow", lambda: 2, timeout_s=0)


def test_many_callers_one_call() -> None:
    """32 threads that ask while it runs share one call."""
    flights: SingleFlight[str, int] = SingleFlight()
    gate, entered = threading.Event(), threading.Event()
    calls: list[int] = []
    results: list[int] = []

    def call() -> int:
        calls.append(1)
        entered.set()
        assert gate.wait(PATIENCE_S)
        return 42

    leader = in_threads(1, lambda _: results.append(flights.run("a", call)))
    assert entered.wait(PATIENCE_S)
    joined = [flights.join("a") for _ in range(31)]
    assert not any(ours for _, ours in joined)
    gate.set()
    join_all(leader)
    assert [flight.result(PATIENCE_S) for flight, _ in joined] == [42] * 31
    assert (calls, results) == ([1], [42])
