"""``--bwlimit``: a token bucket that may be overdrawn, asked between two receives.

A thread that has received ``n`` bytes takes ``n`` tokens and is told how long to pause. So no
thread waits before anything has come, none queues at a lock, and the rate holds for any number of
connections: each overdraws by at most one receive.

Two classes share the rate. Bytes that a reader waits for owe only what their own class has taken,
at half the rate, or what all have taken, at the full rate, whichever is less. Prefetched bytes owe
what all have taken. Alone each class has the whole rate; together readers have at least half of it.

Libraries were looked at: `pyrate-limiter` and `limits` count calls, `aiolimiter` needs asyncio, and
none tells how long to pause for ``n`` bytes that are already here. Pure: time is handed in.
"""

from __future__ import annotations

import threading

#: How much may pass at once after a pause, in seconds of the rate.
BURST_S = 0.1


class BandwidthLimit:
    """At most so many bytes a second for the whole process. Any thread may call it."""

    def __init__(self, bytes_per_s: float, *, burst_bytes: float | None = None) -> None:
        """``burst_bytes``: what may pass at once after a pause; default `BURST_S` of the rate.

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
