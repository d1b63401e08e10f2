"""What the log says of an account that runs out of credits."""

from __future__ import annotations

import logging

import pytest

from backlotfs.catalog.credit_watch import QUIET_S, CreditWatch
from backlotfs.catalog.rate_budget import BudgetStatus
from tests.unit.fakes import ManualClock


def status(left: int, refused_for_s: float = 0.0) -> BudgetStatus:
    """Of a window of 300 that ends in 20 s."""
    return BudgetStatus(left, 300, 19.5, refused_for_s, (0, 0, 0))


def test_low(caplog: pytest.LogCaptureFixture) -> None:
    """Said below a tenth, and then not for a while, however often it is looked at."""
    clock = ManualClock()
    watch = CreditWatch(clock)
    with caplog.at_level(logging.INFO):
        watch.look(status(30))
        assert caplog.records == []
        for _ in range(2):
            watch.look(status(29))
        assert "29 of 300 left, more in 20 s" in caplog.text
        assert len(caplog.records) == 1
        clock.advance(QUIET_S)
        watch.look(status(5))
        assert len(caplog.records) == 2


def test_refused(caplog: pytest.LogCaptureFixture) -> None:
    """A 429 is a warning, whatever is said to be left; it is told apart from being low."""
    watch = CreditWatch(ManualClock())
    with caplog.at_level(logging.INFO):
        watch.look(status(5))
        watch.look(status(200, refused_for_s=41.2))
        watch.look(status(200, refused_for_s=40.0))
    low, refused = caplog.records
    assert low.levelno == logging.INFO
    assert refused.levelno == logging.WARNING
    assert refused.getMessage() == "the API refuses calls (429) for 42 s"
