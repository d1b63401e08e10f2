# SPDX-License-Identifier: Apache-2.0
"""How many bytes a second pass now."""

from __future__ import annotations

from backlotfs.source.bandwidth import SPAN_S, RecentRate
from tests.fakes.clocks import ManualClock


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
