# SPDX-License-Identifier: Apache-2.0
"""Deadlines count on the clock they are given."""

from __future__ import annotations

import time

import pytest

from backlotfs.concurrency.clock import Deadline, SystemClock
from backlotfs.errors import DeadlineExceeded
from tests.fakes.clocks import ManualClock


def test_deadline_passes() -> None:
    """It lasts to the second it names, then says what was going on."""
    clock = ManualClock()
    deadline = Deadline(2.5, clock)
    clock.advance(2.0)
    deadline.check("read of E1")
    assert deadline.remaining_s() == 0.5
    assert not deadline.expired
    clock.advance(0.5)
    assert deadline.expired
    clock.advance(10)
    assert deadline.remaining_s() == 0.0
    with pytest.raises(DeadlineExceeded, match=r"read of E1 timed out after 2\.5 s"):
        deadline.check("read of E1")


def test_another_length() -> None:
    """Counted from now, whatever is left of the first."""
    clock = ManualClock()
    deadline = Deadline(2.5, clock)
    clock.advance(2.0)
    assert deadline.lasting(30.0).remaining_s() == 30.0
    assert deadline.remaining_s() == 0.5


def test_system_clock_is_the_machines() -> None:
    """Wall and monotonic time are the machine's own, and a sleep takes its time."""
    clock = SystemClock()
    assert abs(clock.now() - time.time()) < 5
    before = clock.monotonic()
    clock.sleep(0.001)
    assert clock.monotonic() - before >= 0.001
