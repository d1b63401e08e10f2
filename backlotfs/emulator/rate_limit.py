"""The API's request budget: a fixed window that opens with the first call after the last one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call met.

    :ivar granted: whether there was a credit for it.
    :ivar remaining: credits left after it.
    :ivar reset_s: whole seconds until the window ends, at least 1.
    """

    granted: bool
    remaining: int
    reset_s: int


class RateLimiter:
    """Credits of the account; every call takes one, failed calls too. Thread-safe."""

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float]) -> None:
        """``limit`` calls in ``window_s`` seconds of ``clock``."""
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._lock = Lock()
        self._opened: float | None = None
        self._spent = 0

    def charge(self) -> Charge:
        """Take a credit for one call, if there is one."""
        with self._lock:
            now = self._clock()
            if self._opened is None or now - self._opened >= self._window_s or now < self._opened:
                self._opened, self._spent = now, 0
            granted = self._spent < self._limit
            self._spent += granted
            reset_s = max(1, math.ceil(self._opened + self._window_s - now))
            return Charge(granted, self._limit - self._spent, reset_s)
