"""A process that walks into timeouts is not made to wait for each of them."""

from __future__ import annotations

import pytest

from backlotfs.errors import DeadlineExceeded
from backlotfs.kernel.deadlines import TimeoutCircuit
from tests.unit.api.manual_clock import ManualClock

SCANNER, OTHER = 4711, 4712


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def guard(clock: ManualClock) -> TimeoutCircuit:
    return TimeoutCircuit(clock, strikes=3, forget_s=30.0)


def time_out(guard: TimeoutCircuit, pid: int, times: int) -> None:
    for _ in range(times):
        guard.check(pid)
        guard.timed_out(pid)


def test_the_third_timeout_in_a_row_is_the_last_wait(guard: TimeoutCircuit) -> None:
    """Three waits, then every stat of this process fails at once, with ETIMEDOUT."""
    time_out(guard, SCANNER, 3)
    for _ in range(100):
        with pytest.raises(DeadlineExceeded, match="4711"):
            guard.check(SCANNER)


def test_another_process_still_waits(guard: TimeoutCircuit) -> None:
    """One process's bad luck is its own."""
    time_out(guard, SCANNER, 3)
    guard.check(OTHER)


def test_an_answer_in_between_starts_afresh(guard: TimeoutCircuit) -> None:
    """Timeouts count in a row only."""
    time_out(guard, SCANNER, 2)
    guard.answered(SCANNER)
    time_out(guard, SCANNER, 2)
    guard.check(SCANNER)


def test_it_is_forgotten_after_a_while(guard: TimeoutCircuit, clock: ManualClock) -> None:
    """Half a minute after the last timeout a process may wait again."""
    time_out(guard, SCANNER, 3)
    clock.advance(29.0)
    with pytest.raises(DeadlineExceeded):
        guard.check(SCANNER)
    clock.advance(1.5)
    guard.check(SCANNER)


def test_timeouts_far_apart_are_not_in_a_row(guard: TimeoutCircuit, clock: ManualClock) -> None:
    """A slow minute now and then does not add up."""
    for _ in range(5):
        time_out(guard, SCANNER, 1)
        clock.advance(31.0)
    guard.check(SCANNER)


def test_each_timeout_counts_from_the_last(guard: TimeoutCircuit, clock: ManualClock) -> None:
    """Three waits of 25 s each are still a row."""
    for _ in range(3):
        clock.advance(25.0)
        time_out(guard, SCANNER, 1)
    with pytest.raises(DeadlineExceeded):
        guard.check(SCANNER)


def test_callers_without_an_id_are_never_refused(guard: TimeoutCircuit) -> None:
    """Process 0 is anybody in another process namespace."""
    time_out(guard, 0, 10)
    guard.check(0)


def test_memory_is_bounded(guard: TimeoutCircuit) -> None:
    """However many processes time out, some thousand are remembered, the latest among them."""
    for pid in range(1, 5001):
        time_out(guard, pid, 3)
    assert len(guard._timeouts) <= 1024
    with pytest.raises(DeadlineExceeded):
        guard.check(5000)
    guard.check(1)


def test_an_answer_to_an_unknown_process_is_fine(guard: TimeoutCircuit) -> None:
    """Most processes never time out."""
    guard.answered(SCANNER)
    guard.check(SCANNER)


def test_no_strikes_would_refuse_everybody(clock: ManualClock) -> None:
    """Refused when it is made."""
    with pytest.raises(ValueError, match="strikes"):
        TimeoutCircuit(clock, strikes=0)
