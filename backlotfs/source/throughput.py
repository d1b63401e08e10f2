"""How many bytes a second pass now."""

from __future__ import annotations

import threading

from backlotfs.concurrency.clock import Clock

#: "Now" is the last so many seconds.
SPAN_S = 5


class RecentRate:
    """Bytes by the second they passed in. Any thread may call it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic()
        self._lock = threading.Lock()
        self._seconds = [-1] * (SPAN_S + 1)
        self._bytes = [0] * (SPAN_S + 1)

    def add(self, count_bytes: int) -> None:
        """So many more have passed."""
        second = int(self._clock.monotonic())
        at = second % (SPAN_S + 1)
        with self._lock:
            if self._seconds[at] != second:
                self._seconds[at], self._bytes[at] = second, 0
            self._bytes[at] += count_bytes

    def bytes_per_s(self) -> float:
        """Over the last `SPAN_S` seconds, or since it began if that is less (but a second)."""
        now_s = self._clock.monotonic()
        oldest = int(now_s) - SPAN_S
        with self._lock:
            passed = sum(
                count
                for second, count in zip(self._seconds, self._bytes, strict=True)
                if second > oldest
            )
        # The second that runs counts as far as it has come.
        span_s = min(SPAN_S - 1 + now_s % 1, now_s - self._began_s)
        return passed / max(1.0, span_s)
