# SPDX-License-Identifier: Apache-2.0
"""How an operation waits."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from backlotfs.concurrency import interruptible_wait
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import DeadlineExceeded, Interrupted, SourceGone
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import STUCK_S, waiter

pytestmark = pytest.mark.timeout(STUCK_S)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruptible_wait, "POLL_S", 0.0)


def done(value: int) -> Future[int]:
    """A future with a result."""
    future: Future[int] = Future()
    future.set_result(value)
    return future


def test_result_and_error_pass_through() -> None:
    """What the call ends with is what the waiter gets, also when no time is left."""
    assert waiter().result(done(7), "reading") == 7
    assert waiter(0).result(done(7), "reading") == 7
    failed: Future[int] = Future()
    failed.set_exception(SourceGone("gone"))
    with pytest.raises(SourceGone):
        waiter().result(failed, "reading")


def test_a_timeout_of_the_call_itself_is_its_error() -> None:
    """A call that failed with TimeoutError is not taken for "not done yet"."""
    failed: Future[int] = Future()
    failed.set_exception(TimeoutError("of the call"))
    with pytest.raises(TimeoutError, match="of the call"):
        waiter().result(failed, "reading")


def test_interruption_ends_the_wait() -> None:
    """A caller that was killed is let go at the next look."""
    looks = iter([False, False, True])
    one = InterruptibleWait(Deadline(30.0, ManualClock()), lambda: next(looks))
    with pytest.raises(Interrupted, match="reading E1"):
        one.result(Future(), "reading E1")
    assert list(looks) == []


def test_deadline_ends_the_wait() -> None:
    """Time passes while it looks; when it is spent, it says so."""
    clock = ManualClock()

    def look() -> bool:
        clock.advance(1.0)
        return False

    with pytest.raises(DeadlineExceeded, match="reading E1"):
        InterruptibleWait(Deadline(3.0, clock), look).result(Future(), "reading E1")
    assert clock.mono_s == 1003.0


def test_result_that_comes_between_two_looks() -> None:
    """A result that arrives while nobody waits for it is found."""
    future: Future[int] = Future()

    def look() -> bool:
        future.set_result(3)
        return False

    assert InterruptibleWait(Deadline(30.0, ManualClock()), look).result(future, "reading") == 3


def test_time_in_a_queue_does_not_count() -> None:
    """The deadline stands still while the work waits for a credit, and runs on after it."""
    clock = ManualClock()
    looks = iter([True] * 50 + [False] * 10)

    def look() -> bool:
        clock.advance(1.0)
        return False

    one = InterruptibleWait(Deadline(3.0, clock), look, lambda code: code == "E1" and next(looks))
    with pytest.raises(DeadlineExceeded, match="reading E1"):
        one.result(Future(), "reading E1", "E1")
    assert clock.mono_s == 1053.0
    with pytest.raises(DeadlineExceeded):
        InterruptibleWait(Deadline(3.0, clock), look, lambda _code: True).result(
            Future(), "reading"
        )
    assert clock.mono_s == 1056.0, "what concerns no source is in no queue"


def test_a_queue_is_left_by_an_interruption() -> None:
    """Whoever is killed in the queue is let go at the next look."""
    one = InterruptibleWait(Deadline(3.0, ManualClock()), lambda: True, lambda _code: True)
    with pytest.raises(Interrupted):
        one.result(Future(), "reading E1", "E1")


def test_a_pause_is_a_wait_too() -> None:
    """It ends with its time, with the deadline and with the caller."""
    clock = ManualClock()
    killed = False

    def look() -> bool:
        clock.advance(1.0)
        return killed

    one = InterruptibleWait(Deadline(10.0, clock), look, persistent=True)
    one.pause(2.0, "reading E1")
    assert clock.mono_s == 1002.0
    killed = True
    with pytest.raises(Interrupted):
        one.pause(2.0, "reading E1")
    killed = False
    with pytest.raises(DeadlineExceeded):
        one.pause(60.0, "reading E1")
    assert clock.mono_s == 1010.0
