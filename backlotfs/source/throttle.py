"""``--bwlimit``: a token bucket that may be overdrawn, asked between two receives.

Whoever has received ``n`` bytes takes ``n`` tokens and is told how long to rest. So the bucket is
never waited for before anything has come, no thread queues at a lock, and the rate holds for any
number of connections: what they overdraw is at most a step each.

Two classes share it. What readers wait for owes only what its own class has taken, at half the
rate, or what all have taken, at the full rate, whichever is less. Read-ahead owes all. Alone each
class has the whole rate; together readers have at least half of it, however much is read ahead.

Libraries were looked at: `pyrate-limiter` and `limits` count calls, `aiolimiter` needs asyncio, and
none tells how long to rest for ``n`` bytes that are already here. Pure: time is handed in.
"""

from __future__ import annotations

import threading
from typing import Protocol

#: What may pass at once after a pause, in seconds of the rate.
BURST_S = 0.1
#: A receive between two looks at the bucket should bring no more than this many seconds' worth …
STEP_S = 0.05
#: … within these bounds.
LEAST_STEP_BYTES = 4 * 1024
LARGEST_STEP_BYTES = 1024 * 1024


class Throttle(Protocol):
    """What a transfer asks between two receives."""

    @property
    def step_bytes(self) -> int:
        """The most to receive before the next `take`."""

    def take(self, size: int, now_s: float, *, urgent: bool) -> float:
        """Account for ``size`` bytes received; the seconds to rest now."""


class Unlimited:
    """No limit."""

    step_bytes = LARGEST_STEP_BYTES

    def take(self, size: int, now_s: float, *, urgent: bool) -> float:  # noqa: ARG002  # as Throttle
        """Never a rest."""
        return 0.0


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

    @property
    def step_bytes(self) -> int:
        """The most to receive before the next `take`."""
        step = int(self.bytes_per_s * STEP_S)
        return max(LEAST_STEP_BYTES, min(LARGEST_STEP_BYTES, step))

    def take(self, size: int, now_s: float, *, urgent: bool) -> float:
        """Account for ``size`` bytes received; the seconds to rest now.

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
