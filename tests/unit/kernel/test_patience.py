"""How long callers wait, and which of them no longer do."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from backlotfs import waiting
from backlotfs.errors import DeadlineExceeded, Interrupted, NotWaiting, SourceGone
from backlotfs.kernel.patience import STAT_DEADLINE_S, Patience
from tests.unit.fakes import ManualClock


class Caller:
    """A process that stats one file after another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(waiting, "POLL_S", 0.0)
        self.clock = ManualClock()
        self.pid = 100
        self.killed = False
        self.patience = Patience(self.clock, self._look, lambda: self.pid)

    def _look(self) -> bool:
        self.clock.advance(1.0)
        return self.killed

    def stat(self, future: Future[int]) -> int:
        """Wait for one file."""
        return self.patience.for_stat().result(future, "finding out about E1")


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
    assert caller.clock.monotonic() - started_s == STAT_DEADLINE_S


def test_a_scanner_is_not_waited_for(caller: Caller) -> None:
    """After a few deadlines in a row it gets its answer at once; another process still waits."""
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            caller.stat(Future())
    before_s = caller.clock.monotonic()
    with pytest.raises(NotWaiting):
        caller.stat(Future())
    assert caller.clock.monotonic() == before_s
    assert caller.stat(done(7)) == 7, "what is there needs no wait"
    caller.pid = 101
    with pytest.raises(DeadlineExceeded) as caught:
        caller.stat(Future())
    assert not isinstance(caught.value, NotWaiting)


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
    assert not isinstance(caught.value, NotWaiting)


def test_a_killed_caller(caller: Caller) -> None:
    """Is let go, and that is no timeout."""
    caller.killed = True
    with pytest.raises(Interrupted):
        caller.stat(Future())
    with pytest.raises(Interrupted):
        caller.patience.for_bytes().result(Future(), "reading E1")
