"""What the log says of things that happen too often for a line each: once a minute, in numbers."""

from __future__ import annotations

import logging

from backlotfs.catalog.db.state import sized_counts
from backlotfs.concurrency.clock import Clock
from backlotfs.log import events
from backlotfs.mount.stack import Stack

log = logging.getLogger(__name__)


class MinuteReport:
    """Signed URLs and the crawl over sizes. For one thread at a time."""

    def __init__(self, stack: Stack, clock: Clock) -> None:
        """Begin to count now."""
        self._stack = stack
        self._clock = clock
        self._said_at_s = clock.monotonic()
        self._renewed = self._refused = 0
        self._known = -1

    def tell(self) -> None:
        """Whatever is new since the last time, and nothing when nothing is.

        :raises BacklotError: the catalog cannot be looked at.
        """
        self._tell_urls()
        self._tell_sizes()

    def _tell_urls(self) -> None:
        resolver = self._stack.resolver
        renewed, refused = resolver.refreshes, resolver.refused
        now_s = self._clock.monotonic()
        if refused > self._refused:
            events.URLS.log(
                log,
                refused=refused - self._refused,
                renewed=renewed - self._renewed,
                seconds=round(now_s - self._said_at_s),
            )
        self._renewed, self._refused, self._said_at_s = renewed, refused, now_s

    def _tell_sizes(self) -> None:
        counts = self._stack.db.read(sized_counts)
        if self._known not in (-1, counts.sized):
            events.SIZES.log(log, known=counts.sized, total=counts.total)
        self._known = counts.sized
