"""The lines that sources come over: which, what is known of it, how many GETs it takes at once.

A source's host is known only once it has answered. Until then a source is taken to come over the
line that was used last: an account's sources are nearly always on one host. Implements
`backlotfs.source.get_record.GetMeter`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cachetools import LRUCache

from backlotfs.concurrency.clock import Clock
from backlotfs.fetch.concurrency_limit import ConcurrencyController
from backlotfs.fetch.hedging import Hedger
from backlotfs.fetch.link_estimate import LinkEstimate
from backlotfs.source.get_record import GetRecord, Outcome
from backlotfs.source.host_stats import HostStats

#: Sources whose host is remembered.
REMEMBERED_SOURCES = 4096
#: Lines that are remembered; each is a few kilobytes.
REMEMBERED_LINES = 16


class Host:
    """One line: `estimate`, `controller`, `hedger`, each with a lock of its own."""

    __slots__ = ("controller", "estimate", "hedger", "host")

    def __init__(self, host: str) -> None:
        """``host``: empty while it has not answered."""
        self.host = host
        self.estimate = LinkEstimate()
        self.controller = ConcurrencyController()
        self.hedger = Hedger(self.estimate)

    @property
    def concurrency_limit(self) -> int:
        """How many GETs may be under way on it."""
        return self.controller.width


class HostRegistry:
    """Line by source. Any thread may call it; its lock guards two dictionaries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = Host("")
        self._lines: LRUCache[str, Host] = LRUCache(REMEMBERED_LINES)
        self._of_source: LRUCache[str, Host] = LRUCache(REMEMBERED_SOURCES)
        self._going: dict[str, list[Host]] = {}

    def host_of(self, embed_code: str) -> Host:
        """The line of a source, or the one that was used last."""
        with self._lock:
            return self._of_source.get(embed_code, self._last)

    def stats(self, embed_code: str) -> HostStats | None:
        """What the read planner goes by; None while too little is known."""
        return self.host_of(embed_code).estimate.stats(self._clock.monotonic())

    def hedge_delay_s(self, embed_code: str, length_bytes: int) -> float:
        """How long a reader waits before a hedge; see `Hedger.delay_s`."""
        return self.host_of(embed_code).hedger.delay_s(length_bytes)

    def begin_hedge(self, embed_code: str, length_bytes: int) -> Callable[[bool], None] | None:
        """Book a hedge.

        :returns: what to call when it is over, with whether it won; None when it is not allowed.
        """
        line, now_s = self.host_of(embed_code), self._clock.monotonic()
        if not line.hedger.begin(embed_code, length_bytes, now_s):
            return None
        return lambda won: line.hedger.end(embed_code, won=won)

    def hedges(self) -> tuple[int, int]:
        """Hedges ever made, and those that came first, on the lines that are remembered."""
        with self._lock:
            hedgers = {id(line): line.hedger for line in (self._last, *self._lines.values())}
        made = sum(hedger.made for hedger in hedgers.values())
        return made, sum(hedger.won for hedger in hedgers.values())

    def began(self, embed_code: str, now_s: float) -> None:
        """A GET goes out."""
        with self._lock:
            line = self._of_source.get(embed_code, self._last)
            # It is counted off the line that it was counted on, whatever host answers.
            self._going.setdefault(embed_code, []).append(line)
        line.controller.began(now_s)

    def ended(self, record: GetRecord) -> None:
        """A GET is over."""
        now_s = self._clock.monotonic()
        with self._lock:
            going = self._going[record.embed_code]
            counted_on = going.pop()
            if not going:
                del self._going[record.embed_code]
            line = self._line_of(record)
        line.estimate.observe(record)
        line.hedger.record(record, now_s)
        if record.first_byte_s is not None and record.outcome is not Outcome.OVERLOADED:
            first_byte_s = line.estimate.first_byte_s() or record.first_byte_s
            line.controller.start_for(first_byte_s, now_s)
        total = counted_on.controller.ended(record, now_s)
        if total is not None:
            counted_on.estimate.observe_total(total, now_s)

    def _line_of(self, record: GetRecord) -> Host:
        """With the lock held: the host's line, from now on the source's; a new one if need be."""
        if not record.host:  # it never answered
            return self._of_source.get(record.embed_code, self._last)
        line = self._lines.get(record.host)
        if line is None:
            # The first host takes over what was begun while no host was known.
            line = self._last if not self._last.host else Host(record.host)
            line.host = record.host
            self._lines[record.host] = line
        self._of_source[record.embed_code] = line
        self._last = line
        return line
