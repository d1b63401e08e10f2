# SPDX-License-Identifier: Apache-2.0
"""The account's limiter as the API has it, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Verdict(NamedTuple):
    """What one call met, and what the answer's headers say (whole seconds)."""

    granted: bool
    credits_left: int
    reset_s: int


class ModelServer:
    """A fixed window that opens with the first call after the previous one ended.

    :ivar windows: calls granted in each window so far, by who called.
    :ivar refusals: calls refused, by who called.
    """

    def __init__(
        self,
        limit: int = 300,
        window_s: float = 60.0,
        *,
        whole_s: Callable[[float], int] = math.ceil,
    ) -> None:
        self.windows: list[dict[str, int]] = []
        self.refusals: dict[str, int] = {}
        self._limit = limit
        self._window_s = window_s
        self._whole_s = whole_s
        self._ends_s = -math.inf

    def call(self, who: str, now_s: float) -> Verdict:
        """Charge one call."""
        if now_s >= self._ends_s:
            self._ends_s = now_s + self._window_s
            self.windows.append({})
        window = self.windows[-1]
        granted = sum(window.values()) < self._limit
        book = window if granted else self.refusals
        book[who] = book.get(who, 0) + 1
        left = self._limit - sum(window.values())
        return Verdict(granted, left, self._whole_s(self._ends_s - now_s))

    def most_in_a_window(self, *callers: str) -> int:
        """The most calls that these made together in one window."""
        return max((sum(w.get(who, 0) for who in callers) for w in self.windows), default=0)
