# SPDX-License-Identifier: Apache-2.0
"""Rates in bytes per second: those of a host, the current ones, and the limit ``--bwlimit``.

The limit is a token bucket that may be overdrawn. After each receive of ``n`` bytes, a thread takes
``n`` tokens and gets the time for which it has to pause. So no thread pauses before its first bytes
have come, no thread pauses while it holds a lock, and the rate holds for any number of connections:
each connection overdraws by at most one receive.

Two classes share the rate: bytes that a reader waits for, and prefetched bytes. The pause after
prefetched bytes follows from the bytes of both classes at the full rate. The pause after bytes for
a reader is the shorter of that pause and the one that follows from the bytes of their own class at
half of the rate. So each class alone has the whole rate, and readers have at least half of it.

Existing libraries do not fit: `pyrate-limiter` and `limits` count calls, `aiolimiter` needs
asyncio, and none of them gives the pause for ``n`` bytes that were received already.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from backlotfs.concurrency.clock import Clock

#: A host whose first byte comes sooner than this is near: on this machine or the next switch.
NEAR_S = 0.003


class HostStats(NamedTuple):
    """The latency and the rates measured on the connections to one source host.

    :ivar latency_s: from a request to its first byte, on a connection kept alive; on new
        connections if no other was measured.
    :ivar connection_bytes_per_s: rate of one connection while bytes flow.
    :ivar total_bytes_per_s: recent rate of all connections together.
    """

    latency_s: float
    connection_bytes_per_s: float
    total_bytes_per_s: float


#: The current rate is the mean over this many seconds.
SPAN_S = 5


class RecentRate:
    """Counts the bytes that pass in each of the last seconds. Any thread may call it.

    :ivar total_bytes: all bytes that have passed.
    """

    def __init__(self, clock: Clock) -> None:
        self.total_bytes = 0
        self._clock = clock
        self._began_s = clock.monotonic()
        self._lock = threading.Lock()
        self._seconds = [-1] * (SPAN_S + 1)
        self._bytes = [0] * (SPAN_S + 1)

    def add(self, count_bytes: int) -> None:
        """Count bytes that have passed."""
        second = int(self._clock.monotonic())
        at = second % (SPAN_S + 1)
        with self._lock:
            if self._seconds[at] != second:
                self._seconds[at], self._bytes[at] = second, 0
            self._bytes[at] += count_bytes
            self.total_bytes += count_bytes

    def bytes_per_s(self) -> float:
        """The mean rate over `SPAN_S` seconds of the clock, or since the start if that is shorter.

        The last of these seconds is the current one.
        """
        now_s = self._clock.monotonic()
        oldest = int(now_s) - SPAN_S
        with self._lock:
            passed = sum(
                count
                for second, count in zip(self._seconds, self._bytes, strict=True)
                if second > oldest
            )
        # Only the part of the current second that has passed counts.
        span_s = min(SPAN_S - 1 + now_s % 1, now_s - self._began_s)
        return passed / max(1.0, span_s)


#: How much may pass at once after a pause, in seconds of the rate.
BURST_S = 0.1


class BandwidthLimit:
    """Limits the bytes per second of the whole process. Any thread may call it."""

    def __init__(self, bytes_per_s: float, *, burst_bytes: float | None = None) -> None:
        """``burst_bytes``: how many may pass at once after a pause; default: `BURST_S` of the rate.

        :raises ValueError: for a rate that is not positive.
        """
        if bytes_per_s <= 0:
            raise ValueError("a bandwidth limit must be above zero")
        self.bytes_per_s = bytes_per_s
        self.burst_bytes = bytes_per_s * BURST_S if burst_bytes is None else burst_bytes
        self._lock = threading.Lock()
        self._owed_by_all = 0.0
        self._owed_by_urgent = 0.0
        self._at_s = 0.0

    def take(self, size: int, now_s: float, *, urgent: bool) -> float:
        """Count ``size`` bytes received, and return how long to pause now, in seconds.

        :param urgent: whether a reader waits for them.
        """
        with self._lock:
            passed_s = max(0.0, now_s - self._at_s)
            self._at_s = max(self._at_s, now_s)
            rate = self.bytes_per_s
            self._owed_by_all = max(-self.burst_bytes, self._owed_by_all - rate * passed_s) + size
            self._owed_by_urgent = max(0.0, self._owed_by_urgent - rate / 2 * passed_s)
            owed_s = self._owed_by_all / rate
            if urgent:
                self._owed_by_urgent += size
                owed_s = min(owed_s, self._owed_by_urgent / (rate / 2))
            return max(0.0, owed_s)
