# SPDX-License-Identifier: Apache-2.0
"""The amounts that a mount has read over time, in a bounded number of points, for charts.

Each point has the totals since the mount started. So the rate between any two points is known, even
if points between them were removed. For the last ten minutes there is a point each 10 s. For the
whole time there are at most `WHOLE` points: when there are more, every second one is removed, and
the time between two later points is doubled.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from backlotfs.concurrency.clock import Clock

#: Time between two points.
EVERY_S = 10.0
#: Number of points with this distance, and largest number of points for the whole time.
RECENT, WHOLE = 60, 240


class Totals(NamedTuple):
    """The amounts that were read since the mount started.

    :ivar blocks: number of blocks of reads from each tier, see `cache.memory.TIERS`.
    """

    read_bytes: int
    fetched_bytes: int
    blocks: tuple[int, ...]


class Point(NamedTuple):
    """The totals at one time.

    :ivar at_s: seconds since the epoch; for the points that `History` keeps, on its monotonic
        clock.
    """

    at_s: float
    totals: Totals


class History:
    """The points of one mount. Any thread may call it."""

    def __init__(self, look: Callable[[], Totals], clock: Clock) -> None:
        """Keep the first point. :param look: returns the current totals."""
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        # The points are on the monotonic clock, because the wall clock may be set.
        first = self._now()
        self._whole = [first]
        self._recent = deque([first], maxlen=RECENT)
        self._distance_s = EVERY_S

    def start(self) -> None:
        """Start the thread that keeps a point each `EVERY_S`."""
        threading.Thread(target=self._keep, name="history", daemon=True).start()

    def note(self) -> None:
        """Keep a point with the current totals."""
        with self._lock:
            point = self._now()
            self._recent.append(point)
            if point.at_s - self._whole[-1].at_s >= self._distance_s - EVERY_S / 2:
                self._whole.append(point)
            if len(self._whole) > WHOLE:
                del self._whole[1::2]
                self._distance_s *= 2

    def points(self) -> list[Point]:
        """All points, the oldest first, in seconds since the epoch; the last has current totals."""
        with self._lock:
            older = [point for point in self._whole if point.at_s < self._recent[0].at_s]
            points = [*older, *self._recent, self._now()]
        now_s = self._clock.now()
        return [Point(now_s - (points[-1].at_s - at_s), totals) for at_s, totals in points]

    def _now(self) -> Point:
        return Point(self._clock.monotonic(), self._look())

    def _keep(self) -> None:
        while True:
            self._clock.sleep(EVERY_S)
            self.note()
