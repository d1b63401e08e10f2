# SPDX-License-Identifier: Apache-2.0
"""What was read over time: bounded points from which every rate follows."""

from __future__ import annotations

import itertools

from backlotfs.mount.history import EVERY_S, RECENT, WHOLE, History, Totals
from tests.fakes.clocks import ManualClock


class Reading:
    """A mount that reads 100 bytes a second."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic()

    def totals(self) -> Totals:
        """What was read until now."""
        count = int(100 * (self._clock.monotonic() - self._began_s))
        return Totals(count, 2 * count, (count, 0, 0))


def test_days_of_points() -> None:
    """From the start to now, bounded, evenly spread, the last minutes closely."""
    clock = ManualClock()
    began_s = clock.now()
    history = History(Reading(clock).totals, clock)
    for turn in range(30_000):
        clock.advance(EVERY_S)
        history.note()
        if turn % 1000 == 7:
            points = history.points()
            assert points[0].at_s == began_s
            assert len(points) <= WHOLE + RECENT + 1
            for point in points:
                assert point.totals.read_bytes == 100 * (point.at_s - began_s)
    clock.advance(3)
    points = history.points()
    assert points[-1].at_s == clock.now()
    distances = [after.at_s - before.at_s for before, after in itertools.pairwise(points)]
    assert distances[-RECENT:] == [EVERY_S] * (RECENT - 1) + [3]
    assert max(distances) <= 2 * 30_000 * EVERY_S / (WHOLE / 2)


def test_a_clock_that_is_set_back() -> None:
    """Time goes on in the points, up to what the clock says now, and so do the totals."""
    clock = ManualClock()
    history = History(Reading(clock).totals, clock)
    clock.advance(EVERY_S)
    history.note()
    clock.wall_s -= 3600
    for _ in range(5):
        clock.advance(EVERY_S)
        history.note()
    clock.advance(3)
    points = history.points()
    assert [point.at_s - clock.now() for point in points] == [-63, -53, -43, -33, -23, -13, -3, 0]
    assert [point.totals.read_bytes for point in points] == [
        0, 1000, 2000, 3000, 4000, 5000, 6000, 6300,
    ]  # fmt: skip
