"""How many bytes a second pass now."""

from __future__ import annotations

from backlotfs.source.metered import Metered
from backlotfs.source.throttle import BandwidthLimit, Unlimited
from backlotfs.source.throughput import SPAN_S, RecentRate
from tests.unit.fakes import ManualClock


def test_the_last_seconds() -> None:
    """What passed before them does not count."""
    clock = ManualClock()
    clock.advance(1000)
    rate = RecentRate(clock)
    assert rate.bytes_per_s() == 0
    rate.add(300)
    rate.add(700)
    assert rate.bytes_per_s() == 1000
    clock.advance(2)
    rate.add(1000)
    assert rate.bytes_per_s() == 1000
    clock.advance(SPAN_S)
    assert rate.bytes_per_s() == 0
    clock.advance(3600)
    rate.add(5)
    assert 0 < rate.bytes_per_s() <= 5


def test_a_steady_stream() -> None:
    """Is told as it is, whenever one looks."""
    clock = ManualClock()
    rate = RecentRate(clock)
    for _ in range(200):
        rate.add(100)
        clock.advance(0.1)
    assert 900 <= rate.bytes_per_s() <= 1100


def test_metered() -> None:
    """A throttle counts what passes and says what the one below it says."""
    rate = RecentRate(ManualClock())
    free = Metered(rate)
    assert free.step_bytes == Unlimited.step_bytes
    assert free.take(1000, 0.0, urgent=True) == 0
    limit = BandwidthLimit(1e6)
    bound = Metered(rate, limit)
    assert bound.step_bytes == limit.step_bytes
    assert bound.take(10_000_000, 0.0, urgent=True) > 1
    assert rate.bytes_per_s() == 10_001_000
