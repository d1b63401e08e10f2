"""Time as a parameter: a wall clock for expiry, a monotonic clock for deadlines, a sleep.

Signed URLs die by the wall clock (and go on dying while a laptop is suspended); deadlines are
counted on the monotonic clock. Tests hand in a clock of their own.
"""

from __future__ import annotations

import math
import time
from typing import Protocol

from backlotfs.errors import DeadlineExceeded


class Clock(Protocol):
    """What the rest of the package knows of time, in seconds."""

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
        """Start counting ``seconds`` (may be ``math.inf``) now."""
        self._clock = clock
        self._seconds = seconds
        self._at = clock.monotonic() + seconds
        self.queued_s = 0.0

    @classmethod
    def never(cls, clock: Clock) -> Deadline:
        """A deadline that does not pass."""
        return cls(math.inf, clock)

    def remaining_s(self) -> float:
        """Seconds left, never negative; ``math.inf`` for a deadline that does not pass."""
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
        """Return while there is time.

        :param doing: what was going on, for the message: ``"read of <embed code>"``.
        :raises DeadlineExceeded: when the time is spent.
        """
        if self._at <= self._clock.monotonic():
            raise DeadlineExceeded(f"{doing} timed out after {self._seconds:g} s")
