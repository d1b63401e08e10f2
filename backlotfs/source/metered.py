"""Tells of every byte that comes over the line, as it comes."""

from __future__ import annotations

from backlotfs.source.throttle import Throttle, Unlimited
from backlotfs.source.throughput import RecentRate


class Metered:
    """A `Throttle` that passes on what another says, and counts what it is told."""

    def __init__(self, rate: RecentRate, throttle: Throttle | None = None) -> None:
        """``throttle``: the limit of the bandwidth; None: there is none."""
        self._rate = rate
        self._throttle = throttle or Unlimited()

    @property
    def step_bytes(self) -> int:
        """As the other's."""
        return self._throttle.step_bytes

    def take(self, size: int, now_s: float, *, urgent: bool) -> float:
        """As the other's."""
        self._rate.add(size)
        return self._throttle.take(size, now_s, urgent=urgent)
