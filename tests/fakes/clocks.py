# SPDX-License-Identifier: Apache-2.0
"""Clocks that a test moves."""

from __future__ import annotations

import threading
import time

_LONGEST_SLEEP_S = 0.005


class ManualClock:
    """Wall and monotonic clock in one; ``sleep`` moves both and is written down."""

    def __init__(self, now_s: float = 1_893_456_000.0) -> None:
        self.wall_s = now_s
        self.mono_s = 1000.0
        self.slept_s: list[float] = []

    def now(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.mono_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.wall_s += seconds
        self.mono_s += seconds


class HurriedClock:
    """Implements `backlotfs.concurrency.clock.Clock`; any thread may call it.

    Backoffs are noted and cut short, so that a test of five attempts takes no seconds. The jump
    moves the wall clock and the monotonic clock alike.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead_s = 0.0
        self._wall_off_s = 0.0
        self._slept_s: list[float] = []

    @property
    def slept_s(self) -> list[float]:
        """What was asked of `sleep`, in order."""
        with self._lock:
            return list(self._slept_s)

    def jump(self, seconds: float) -> None:
        """Be so much later from now on."""
        with self._lock:
            self._ahead_s += seconds

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock so far ahead (or back); the monotonic clock stays."""
        with self._lock:
            self._wall_off_s += seconds

    def now(self) -> float:
        """Seconds since the epoch, jumps included."""
        return time.time() + self._ahead_s + self._wall_off_s

    def monotonic(self) -> float:
        """Seconds, jumps included."""
        return time.monotonic() + self._ahead_s

    def sleep(self, seconds: float) -> None:
        """Note it, and hardly sleep."""
        with self._lock:
            self._slept_s.append(seconds)
        time.sleep(min(seconds, _LONGEST_SLEEP_S))
