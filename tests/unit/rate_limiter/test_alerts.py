# SPDX-License-Identifier: Apache-2.0
"""What the log says of an account that runs out of credits."""

from __future__ import annotations

import logging
import threading

import pytest

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, QuotaStatus, RateStatus
from backlotfs.log.output import RepeatFilter
from tests.fakes.clocks import ManualClock
from tests.unit.rate_limiter.virtual_account import VirtualTime


def limiter_with(left: int, time: VirtualTime) -> ApiRateLimiter:
    """After an answer that says how many of 300 credits are left, for 19.5 s."""
    limiter = ApiRateLimiter(time, wait=time.wait)
    limiter.acquire(Priority.WAITING)
    limiter.answered(RateStatus(left, time.monotonic() + 19.5))
    return limiter


def test_low(caplog: pytest.LogCaptureFixture) -> None:
    """Said below a tenth of the window."""
    with caplog.at_level(logging.INFO):
        limiter_with(30, VirtualTime())
        assert caplog.records == []
        limiter_with(29, VirtualTime())
    (line,) = caplog.records
    assert line.levelno == logging.INFO
    assert line.getMessage().endswith("29 of 300 left, more in 20 s")


def test_refused(caplog: pytest.LogCaptureFixture) -> None:
    """A 429 is a warning, whatever is said to be left."""
    limiter = limiter_with(200, VirtualTime())
    limiter.acquire(Priority.WAITING)
    limiter.refused(41.2)
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert line.getMessage() == "the API refuses calls (429) for 43 s"


def test_calls_that_wait(caplog: pytest.LogCaptureFixture) -> None:
    """Said with the time until they go on; the log writes one of these lines a minute."""
    time = VirtualTime()
    limiter = limiter_with(0, time)
    with caplog.at_level(logging.INFO):
        limiter.acquire(Priority.WAITING)
    once, written = RepeatFilter(time.monotonic), caplog.records
    assert written[0].getMessage().startswith("1 calls wait for API credits, more in ")
    assert len(written) > 10
    assert [once.filter(line) for line in written] == [True] + [False] * (len(written) - 1)


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
            other = threading.Thread(target=lambda: looked.append(limiter.status()), daemon=True)
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
    assert {sum(status.waiting) for status in looked} == {0, 1}
