"""The source hosts: how fast each is, and how many GETs run on it at once.

The host of a source is known only once it has answered. Until then the source is taken to be on the
host that was used last: an account's sources are nearly always on one host. `HostRegistry`
implements `source.timed_get.GetMeter`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cachetools import LRUCache

from backlotfs.concurrency.clock import Clock
from backlotfs.fetch.concurrency_limit import ConcurrencyController
from backlotfs.fetch.hedging import Hedger
from backlotfs.fetch.link_estimate import LinkEstimate
from backlotfs.source.timed_get import GetRecord, HostStats, Outcome

#: Sources whose host is remembered.
REMEMBERED_SOURCES = 4096
#: Hosts that are remembered; each takes a few kilobytes.
REMEMBERED_HOSTS = 16


class Host:
    """One source host: its speed, its concurrency controller and its hedger, each with a lock."""

    __slots__ = ("controller", "estimate", "hedger", "name")

    def __init__(self, name: str) -> None:
        """``name``: of the host; empty while it has not answered."""
        self.name = name
        self.estimate = LinkEstimate()
        self.controller = ConcurrencyController()
        self.hedger = Hedger(self.estimate)

    @property
    def concurrency_limit(self) -> int:
        """How many GETs may run on the host at once."""
        return self.controller.width


class HostRegistry:
    """The host of each source. Any thread may call it; its lock guards the dictionaries."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = Host("")
        self._hosts: LRUCache[str, Host] = LRUCache(REMEMBERED_HOSTS)
        self._of_source: LRUCache[str, Host] = LRUCache(REMEMBERED_SOURCES)
        self._going: dict[str, list[Host]] = {}

    def host_of(self, embed_code: str) -> Host:
        """The host of a source; the one that was used last while the source has not answered."""
        with self._lock:
            return self._of_source.get(embed_code, self._last)

    def stats(self, embed_code: str) -> HostStats | None:
        """The measured speed of a source's host; None while too little is known."""
        return self.host_of(embed_code).estimate.stats(self._clock.monotonic())

    def hedge_delay_s(self, embed_code: str, length_bytes: int) -> float:
        """How long a reader waits before a hedge is made; see `Hedger.delay_s`."""
        return self.host_of(embed_code).hedger.delay_s(length_bytes)

    def begin_hedge(self, embed_code: str, length_bytes: int) -> Callable[[bool], None] | None:
        """Count a hedge and return what to call at its end with whether it contributed.

        None: no hedge may be made now.
        """
        host, now_s = self.host_of(embed_code), self._clock.monotonic()
        if not host.hedger.begin(embed_code, length_bytes, now_s):
            return None
        return lambda won: host.hedger.end(embed_code, won=won)

    def hedges(self) -> tuple[int, int]:
        """How many hedges were made, and how many contributed, on the hosts that are remembered."""
        with self._lock:
            hedgers = {id(host): host.hedger for host in (self._last, *self._hosts.values())}
        made = sum(hedger.made for hedger in hedgers.values())
        return made, sum(hedger.won for hedger in hedgers.values())

    def began(self, embed_code: str, now_s: float) -> None:
        """Count a GET that is sent."""
        with self._lock:
            host = self._of_source.get(embed_code, self._last)
            # It is counted off the host that it was counted on, whichever host answers.
            self._going.setdefault(embed_code, []).append(host)
        host.controller.began(now_s)

    def ended(self, record: GetRecord) -> None:
        """Learn from a GET that has ended."""
        now_s = self._clock.monotonic()
        with self._lock:
            going = self._going[record.embed_code]
            counted_on = going.pop()
            if not going:
                del self._going[record.embed_code]
            host = self._host_of_record(record)
        host.estimate.observe(record)
        host.hedger.record(record, now_s)
        if record.first_byte_s is not None and record.outcome is not Outcome.OVERLOADED:
            first_byte_s = host.estimate.first_byte_s() or record.first_byte_s
            host.controller.start_for(first_byte_s, now_s)
        total = counted_on.controller.ended(record, now_s)
        if total is not None:
            counted_on.estimate.observe_total(total, now_s)

    def _host_of_record(self, record: GetRecord) -> Host:
        """Find or make the host that answered, and note it for the source. The lock is held."""
        if not record.host:  # it never answered
            return self._of_source.get(record.embed_code, self._last)
        host = self._hosts.get(record.host)
        if host is None:
            # The first host takes over what was begun while no host was known.
            host = self._last if not self._last.name else Host(record.host)
            host.name = record.host
            self._hosts[record.host] = host
        self._of_source[record.embed_code] = host
        self._last = host
        return host
