"""The request budget: a window that opens with its first call."""

from __future__ import annotations

from backlotfs.emulator.api import Charge, RateLimiter
from tests.emulator.conftest import HandClock


def test_recorded_pairs() -> None:
    """299/60, 298/59, then 57 seconds: the pairs of the recorded traffic."""
    clock = HandClock()
    limiter = RateLimiter(300, 60.0, clock)
    assert limiter.charge() == Charge(True, 299, 60)
    clock.now += 1
    assert limiter.charge() == Charge(True, 298, 59)
    clock.now += 2
    assert limiter.charge() == Charge(True, 297, 57)


def test_window_is_fixed() -> None:
    """Refused calls do not prolong it; the next one opens when the next call comes."""
    clock = HandClock()
    limiter = RateLimiter(2, 60.0, clock)
    assert [limiter.charge().granted for _ in range(3)] == [True, True, False]
    clock.now += 59.5
    assert limiter.charge() == Charge(False, 0, 1)
    clock.now += 100
    assert limiter.charge() == Charge(True, 1, 60)
