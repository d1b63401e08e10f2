"""A clock that only a test moves."""

from __future__ import annotations


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
