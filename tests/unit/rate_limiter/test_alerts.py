"""What the log says of an account that runs out of credits."""

from __future__ import annotations

import logging
import threading

import pytest

from backlotfs.api.rate_limiter import (
    ApiRateLimiter,
    Priority,
    QuotaAlerts,
    QuotaStatus,
    RateStatus,
)
from tests.unit.fakes import ManualClock
from tests.unit.rate_limiter.virtual_account import VirtualTime


def status(left: int, *, refused_for_s: float = 0.0, waiting: int = 0) -> QuotaStatus:
    """Of a window of 300 that ends in 19.5 s."""
    more_in_s = 19.5 if waiting else None
    return QuotaStatus(left, 300, 19.5, refused_for_s, more_in_s, (0, waiting, 0, 0))


def test_low(caplog: pytest.LogCaptureFixture) -> None:
    """Said below a tenth, and then not for a while, however often it is looked at."""
    clock = ManualClock()
    alerts = QuotaAlerts(clock)
    with caplog.at_level(logging.INFO):
        alerts.look(status(30))
        assert caplog.records == []
        for _ in range(2):
            alerts.look(status(29))
        assert "29 of 300 left, more in 20 s" in caplog.text
        assert len(caplog.records) == 1
        clock.advance(QuotaAlerts.LOW_EVERY_S)
        alerts.look(status(5))
        assert len(caplog.records) == 2


def test_refused(caplog: pytest.LogCaptureFixture) -> None:
    """A 429 is a warning, whatever is said to be left; it is told apart from being low."""
    alerts = QuotaAlerts(ManualClock())
    with caplog.at_level(logging.INFO):
        alerts.look(status(5))
        alerts.look(status(200, refused_for_s=41.2))
        alerts.look(status(200, refused_for_s=40.0))
    low, refused = caplog.records
    assert low.levelno == logging.INFO
    assert refused.levelno == logging.WARNING
    assert refused.getMessage() == "the API refuses calls (429) for 42 s"


def test_calls_that_wait(caplog: pytest.LogCaptureFixture) -> None:
    """One line a minute, whatever the number of calls and of looks."""
    clock = ManualClock()
    alerts = QuotaAlerts(clock)
    with caplog.at_level(logging.INFO):
        for _ in range(119):
            alerts.look(status(0, waiting=7))
            clock.advance(1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "7 calls wait for API credits, more in 20 s; no operation fails because of it"
    ] * 2


def test_a_server_that_counts_no_calls(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of credits, however many calls it answers, at once or one by one."""
    limiter = ApiRateLimiter(ManualClock(), credits=10, reserve=0.0)
    with caplog.at_level(logging.INFO):
        for _ in range(10):
            limiter.acquire(Priority.WAITING)
        for _ in range(10):
            limiter.answered(None)
        for _ in range(20):
            limiter.acquire(Priority.WAITING)
            limiter.answered(None)
    assert caplog.records == []


def test_no_line_is_written_under_the_lock(caplog: pytest.LogCaptureFixture) -> None:
    """A log that stands still, as a full pipe does, stops no call and no display."""
    caplog.set_level(logging.INFO)
    time = VirtualTime()
    limiter = ApiRateLimiter(time, credits=10, wait=time.wait)
    looked: list[QuotaStatus] = []

    class Log(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            other = threading.Thread(target=lambda: looked.append(limiter.status()))
            other.start()
            other.join(10.0)

    log = Log()
    logging.getLogger("backlotfs").addHandler(log)
    try:
        limiter.acquire(Priority.WAITING)
        limiter.answered(RateStatus(0, time.monotonic() + 40.0))  # low
        limiter.acquire(Priority.WAITING)  # has to wait
        limiter.refused(5.0)
    finally:
        logging.getLogger("backlotfs").removeHandler(log)
    assert [sum(status.waiting) for status in looked] == [0, 1, 0]
