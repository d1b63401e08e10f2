# SPDX-License-Identifier: Apache-2.0
"""How long operations wait, and which processes are refused after many timeouts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from backlotfs.concurrency import interruptible_wait
from backlotfs.config.time_limits import COPY_S, TimeLimits
from backlotfs.errors import DeadlineExceeded, FastFail, Interrupted, SourceGone
from backlotfs.kernel.deadlines import (
    MOST_WAITS,
    OperationDeadlines,
    TimeoutCircuit,
    Wait,
)
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import STUCK_S

pytestmark = pytest.mark.timeout(STUCK_S)


class Caller:
    """A process that stats one file after another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(interruptible_wait, "POLL_S", 0.0)
        self.clock = ManualClock()
        self.pid = 100
        self.killed = False
        self.queued = 0
        self.copies = False
        self.seen: list[Wait] = []
        self.patience = self.patient()

    def patient(
        self, *, stat_s: float | None = None, read_s: float | None = None
    ) -> OperationDeadlines:
        """With these options."""
        return OperationDeadlines(
            self.clock,
            self._look,
            lambda: self.pid,
            TimeLimits(asked_stat_s=stat_s, asked_read_s=read_s),
            queued=lambda code: code == "E1" and self.queued > 0,
            copies=lambda: self.copies,
        )

    def _look(self) -> bool:
        self.clock.advance(1.0)
        self.queued -= 1
        self.seen = self.patience.waits()
        return self.killed

    def stat(self, future: Future[int]) -> int:
        """Wait for one file."""
        return self.patience.for_stat().result(future, "finding out about E1", "E1")

    def took_s(self, wait: Callable[[], object]) -> float:
        """How long it takes until a wait for something that never comes fails."""
        began_s = self.clock.monotonic()
        with pytest.raises(DeadlineExceeded):
            wait()
        return self.clock.monotonic() - began_s


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Caller:
    """Its clock moves by a second with each look."""
    return Caller(monkeypatch)


def done(value: int = 1) -> Future[int]:
    """An answer that is there."""
    future: Future[int] = Future()
    future.set_result(value)
    return future


def test_a_stat_ends_in_time(caller: Caller) -> None:
    """After five seconds, not after a file manager's whole folder."""
    started_s = caller.clock.monotonic()
    with pytest.raises(DeadlineExceeded):
        caller.stat(Future())
    assert caller.clock.monotonic() - started_s == TimeLimits().stat_s


def test_a_scanner_is_not_waited_for(caller: Caller) -> None:
    """After a few deadlines in a row it gets its answer at once; another process still waits."""
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            caller.stat(Future())
    before_s = caller.clock.monotonic()
    with pytest.raises(FastFail):
        caller.stat(Future())
    assert caller.clock.monotonic() == before_s
    assert caller.stat(done(7)) == 7, "what is there needs no wait"
    caller.pid = 101
    with pytest.raises(DeadlineExceeded) as caught:
        caller.stat(Future())
    assert not isinstance(caught.value, FastFail)


def test_an_answer_makes_good(caller: Caller) -> None:
    """Also an error is an answer."""
    failed: Future[int] = Future()
    failed.set_exception(SourceGone("gone"))
    for answer in (done(), failed):
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                caller.stat(Future())
        try:
            caller.stat(answer)
        except SourceGone:
            continue
    with pytest.raises(DeadlineExceeded) as caught:
        caller.stat(Future())
    assert not isinstance(caught.value, FastFail)


def test_a_killed_caller(caller: Caller) -> None:
    """Is let go, and that is no timeout."""
    caller.killed = True
    with pytest.raises(Interrupted):
        caller.stat(Future())
    with pytest.raises(Interrupted):
        caller.patience.for_open().result(Future(), "reading E1")


def test_time_in_the_queue_for_a_credit_does_not_count(caller: Caller) -> None:
    """A wait with a known end is no silence; another source's queue is of no interest."""
    caller.queued = 1000
    assert caller.took_s(lambda: caller.stat(Future())) == 1000 + TimeLimits().stat_s
    caller.queued = 1000
    other = caller.patience.for_stat()
    assert caller.took_s(lambda: other.result(Future(), "x", "E2")) == TimeLimits().stat_s
    caller.queued = 1000
    opening = caller.patience.for_open()
    assert caller.took_s(lambda: opening.result(Future(), "x", "E1")) == 1000 + TimeLimits().read_s


@pytest.mark.parametrize("timeout_s", [3.0, 600.0])
def test_a_timeout_that_was_asked_for_is_meant(caller: Caller, timeout_s: float) -> None:
    """It is the same for every program, whether it waits for a credit or not, and how often."""
    caller.patience = caller.patient(stat_s=timeout_s, read_s=2 * timeout_s)
    for copies in (False, True):
        caller.copies = copies
        for _ in range(5):  # more than the scan guard bears
            caller.queued = 1000
            assert caller.took_s(lambda: caller.stat(Future())) == timeout_s
        opening = caller.patience.for_open()
        caller.queued = 1000
        assert caller.took_s(lambda o=opening: o.result(Future(), "x", "E1")) == 2 * timeout_s  # type: ignore[misc]  # a default of a lambda
    assert caller.patience.for_stat().persistent


def test_a_copy_waits_through_an_outage(caller: Caller) -> None:
    """And has its source probed again meanwhile; it is no scanner."""
    caller.copies = True
    assert caller.patience.for_stat().persistent
    for _ in range(5):
        assert caller.took_s(lambda: caller.stat(Future())) == COPY_S
    caller.copies = False
    assert not caller.patience.for_stat().persistent


def test_who_waits_is_told_while_it_waits(caller: Caller) -> None:
    """By process and source; also one that was killed is told no more."""
    caller.killed = True
    with pytest.raises(Interrupted):
        caller.stat(Future())
    assert caller.seen == [Wait(100, "E1")]
    assert caller.patience.waits() == []
    caller.stat(done())
    assert caller.patience.waits() == []


def test_so_many_operations_wait_at_a_time(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is answered at once, so that threads are left for what needs no wait."""
    waits = {number: Wait(1, "E2") for number in range(MOST_WAITS)}
    monkeypatch.setattr(caller.patience, "_waits", waits)
    before_s = caller.clock.monotonic()
    with pytest.raises(FastFail):
        caller.stat(Future())
    assert caller.clock.monotonic() == before_s
    assert caller.stat(done(7)) == 7


SCANNER = 4711


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


def test_no_strikes_would_refuse_everybody(clock: ManualClock) -> None:
    """Refused when it is made."""
    with pytest.raises(ValueError, match="strikes"):
        TimeoutCircuit(clock, strikes=0)
