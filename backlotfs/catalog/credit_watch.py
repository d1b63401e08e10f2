"""Says in the log when the account's API credits run low: others use them too."""

from __future__ import annotations

import logging
import math
import threading

from backlotfs import events
from backlotfs.catalog.rate_budget import BudgetStatus
from backlotfs.clock import Clock

log = logging.getLogger(__name__)

#: Low is less than this part of a window. The crawl alone, which leaves a fifth, never gets there.
LOW_SHARE = 0.1
#: Not said again so soon: a window is a minute.
QUIET_S = 600.0


class CreditWatch:
    """Looks at the budget after each call. Any thread may call it."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is said yet."""
        self._clock = clock
        self._lock = threading.Lock()
        self._quiet_until_s: dict[events.Event, float] = {}

    def look(self, status: BudgetStatus) -> None:
        """A line, if one is due."""
        if status.refused_for_s > 0:
            if self._due(events.CREDITS_REFUSED):
                events.CREDITS_REFUSED.log(log, seconds=math.ceil(status.refused_for_s))
        elif status.credits_left < status.limit * LOW_SHARE and self._due(events.CREDITS_LOW):
            events.CREDITS_LOW.log(
                log,
                left=status.credits_left,
                limit=status.limit,
                seconds=math.ceil(status.resets_in_s or 0.0),
            )

    def _due(self, event: events.Event) -> bool:
        now_s = self._clock.monotonic()
        with self._lock:
            due = now_s >= self._quiet_until_s.get(event, -math.inf)
            if due:
                self._quiet_until_s[event] = now_s + QUIET_S
        return due
