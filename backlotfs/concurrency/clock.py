# SPDX-License-Identifier: Apache-2.0
"""Clocks: a wall clock for expiry, a monotonic clock for deadlines, and a sleep.

Signed URLs expire by the wall clock, even while a laptop is suspended. Deadlines use the monotonic
clock. The clock is a parameter, so that tests can use their own.
"""

from __future__ import annotations

import time
from typing import Protocol

from backlotfs.errors import DeadlineExceeded


class Clock(Protocol):
    """The time, in seconds."""

    def now(self) -> float:
        """Seconds since the epoch (wall clock)."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Return after this many seconds."""


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


class Deadline:
    """A point on the monotonic clock by which an operation has to end. Thread-safe.

    :ivar queued_s: how long the operation has waited for API credits, which does not count.
    """

    __slots__ = ("_at", "_clock", "_seconds", "queued_s")

    def __init__(self, seconds: float, clock: Clock) -> None:
        """Start counting ``seconds`` now."""
        self._clock = clock
        self._seconds = seconds
        self._at = clock.monotonic() + seconds
        self.queued_s = 0.0

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._at - self._clock.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self._at <= self._clock.monotonic()

    def extend(self, seconds: float) -> None:
        """Move the deadline: waits that do not count are added to it."""
        self._at += seconds

    def add_queued(self, seconds: float) -> None:
        """Move the deadline by a wait for an API credit, and add that to `queued_s`."""
        self.queued_s += seconds
        self._at += seconds

    def lasting(self, seconds: float) -> Deadline:
        """A new deadline on the same clock, ``seconds`` from now."""
        return Deadline(seconds, self._clock)

    def check(self, doing: str) -> None:
        """Check that the deadline has not passed.

        :param doing: names the operation in the error: ``"read of <embed code>"``.
        :raises DeadlineExceeded: it has passed.
        """
        if self._at <= self._clock.monotonic():
            raise DeadlineExceeded(f"{doing} timed out after {self._seconds:g} s")
