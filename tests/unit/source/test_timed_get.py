"""The stop-watch of a GET."""

from __future__ import annotations

import pytest

from backlotfs.source.timed_get import GetRecord, Outcome, TimedGet
from tests.unit.fakes import ManualClock
from tests.unit.source.scripted import Meter


def test_a_whole_get() -> None:
    """Times count from the start, and what we rested on purpose does not."""
    meter, clock = Meter(), ManualClock()
    began_s = clock.monotonic()
    get = TimedGet(meter, clock, "E1")
    assert meter.begun == [("E1", began_s)]
    clock.advance(0.03)
    get.answered("host", new_connection=False)
    clock.advance(0.1)
    get.received(1000)
    clock.advance(5.0)
    get.rested(5.0)
    get.received(500)
    get.ended(Outcome.WHOLE)
    (record,) = meter.records
    assert record.seconds == pytest.approx(0.13)
    assert record.first_byte_s == pytest.approx(0.03)
    assert record._replace(seconds=0.13, first_byte_s=0.03) == GetRecord(
        "host", "E1", False, began_s, 0.03, 0.13, 1500, Outcome.WHOLE
    )


def test_told_once() -> None:
    """A second ending, as a ``finally`` gives it, is not heard."""
    meter = Meter()
    get = TimedGet(meter, ManualClock(), "E1")
    get.ended(Outcome.OVERLOADED)
    get.ended(Outcome.CUT)
    assert [record.outcome for record in meter.records] == [Outcome.OVERLOADED]


def test_no_answer() -> None:
    """Without a head there is no host, and no time to the first byte."""
    meter = Meter()
    TimedGet(meter, ManualClock(), "E1").ended(Outcome.CUT)
    assert meter.records[0].first_byte_s is None
    assert meter.records[0].host == ""
