"""Runs probes: at once for whoever waits, in the background for the rest, within the credits.

One probe of an asset at a time, shared by all who wait. Listing a folder moves its assets to the
front of the queue, because ``ls -l`` asks for each of them a moment later; after those comes the
crawl over everything that was never probed, newest first, and whatever has come into doubt. Where
there is a CDN host, the crawl asks that, which costs no credits, but not about what changed in the
last minutes, of which it may not know; else each probe waits for its turn in the rate budget. Of
several mounts of one library, one crawls (a lease in the store).
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Protocol

from backlotfs import events
from backlotfs.catalog.purse import Purse
from backlotfs.catalog.rate_budget import Priority
from backlotfs.catalog.rows import StoreClosed
from backlotfs.catalog.source_book import KnownSource, SourceBook
from backlotfs.catalog.store_leases import new_owner
from backlotfs.clock import Clock, Deadline
from backlotfs.errors import BacklotError, RateLimited, RemoteUnavailable
from backlotfs.remote.identity import SourceIdentity
from backlotfs.single_flight import SingleFlight
from backlotfs.workers import Workers

log = logging.getLogger(__name__)

#: Background probes at a time: at 30 ms for each of its two requests this is 500 a second.
CRAWLERS = 32
#: A probe ends after this long at the latest; whoever waits has a deadline of its own.
PROBE_DEADLINE_S = 30.0
#: Of one source in a row, when it is doubted again while a probe is under way.
MOST_PROBES = 3
#: A crawler waits this long for its turn in the budget before it looks around again.
PATIENCE_S = 75.0
#: After a failure that will not go away by itself, a crawler rests this long.
REST_S = 5.0
#: Nor longer than this after a 429 that names an hour: it may be over sooner.
LONGEST_REST_S = 60.0
#: The crawl leaves an asset that failed alone for this long, and goes on with the others.
FORGIVEN_AFTER_S = 600.0
#: Assets taken from the store at a time, and how long the lease on crawling lasts.
BATCH = 2000
#: Probes after which a time that is left can be told.
_ENOUGH_TO_TELL = 20
LEASE_S = 120.0

#: Embed code and deadline to identity: `SourceProbe.probe`.
Probe = Callable[[str, Deadline], SourceIdentity]


class Unsized(Protocol):
    """What is needed of the store."""

    def unsized(self, limit: int) -> list[str]:
        """Embed codes never probed, newest first, and those in doubt."""

    def try_lease(self, name: str, owner: str, seconds: float) -> bool:
        """Whether this owner may do what ``name`` stands for."""

    def release_lease(self, name: str, owner: str) -> None:
        """It does it no more."""


class Sizer:
    """Any thread may call it. Probes run on the workers' threads."""

    def __init__(
        self,
        probe: Probe,
        crawl_probe: Callable[[str], Probe | None],
        has_url: Callable[[str], bool],
        book: SourceBook,
        store: Unsized,
        purse: Purse,
        workers: Workers,
        crawlers: Workers,
        clock: Clock,
        *,
        probe_s: float = PROBE_DEADLINE_S,
    ) -> None:
        """Put it together.

        :param crawl_probe: for an asset, a probe that costs no credits (by the CDN host), if there
            is one that cannot tell of what was before the record's last change.
        :param has_url: whether a probe needs no call of the API, as its URL is known.
        :param probe_s: one probe may take so long: longer than an answer of the API.
        :param workers: for whoever waits. :param crawlers: apart, for they wait for their turns.
        """
        self._probe = probe
        self._crawl_probe = crawl_probe
        self._has_url = has_url
        self._book = book
        self._store = store
        self._purse = purse
        self._workers = workers
        self._crawler_threads = crawlers
        self._probe_s = probe_s
        self._clock = clock
        self._flights: SingleFlight[str, KnownSource] = SingleFlight()
        self._lock = threading.Lock()
        self._queue: OrderedDict[str, Priority] = OrderedDict()
        self._crawlers = 0
        self._crawling = False
        self._failed_at: dict[str, float] = {}
        self._probed = 0
        self._crawl_since: float | None = None
        self._owner = new_owner()

    def request(self, embed_code: str) -> Future[KnownSource]:
        """Probe now, or join the probe that runs; the future fails with a `BacklotError`."""
        flight, ours = self._flights.join(embed_code)
        if ours:
            with self._lock:
                self._queue.pop(embed_code, None)
            self._workers.submit(
                lambda: self._flights.fly(embed_code, lambda: self._run_for_waiting(embed_code))
            )
        return flight

    def listed(self, embed_codes: Iterable[str]) -> None:
        """Somebody lists these: find out about those not known yet, before any others."""
        wanted = [code for code in embed_codes if self._wanted(code)]
        self._enqueue(wanted, Priority.LISTED)

    def doubted(self, embed_codes: Iterable[str]) -> None:
        """These may have been replaced: look before somebody opens them."""
        self._enqueue(list(embed_codes), Priority.BACKGROUND)

    def crawl(self) -> None:
        """Go on with everything that was never probed; returns at once."""
        with self._lock:
            self._crawling = True
            if self._crawl_since is None:
                self._crawl_since = self._clock.monotonic()
        self._start_crawlers()

    @property
    def busy(self) -> bool:
        """Whether crawlers are at work, or wait for their turn."""
        return self._crawlers > 0

    def close(self) -> None:
        """Leave the crawl to others. :raises BacklotError: the store's."""
        with self._lock:
            self._crawling = False
            self._queue.clear()
        self._store.release_lease("size", self._owner)

    def seconds_for(self, assets: int) -> float | None:
        """How long the crawl over this many more will take, as it went so far; None: no idea."""
        now = self._clock.monotonic()
        if self._crawl_since is None or self._probed < _ENOUGH_TO_TELL:
            return None
        return assets * (now - self._crawl_since) / self._probed

    def _wanted(self, code: str) -> bool:
        if self._book.failure(code) is not None:
            return False
        known = self._book.known(code)
        return known is None or not known.verified

    def _enqueue(self, codes: list[str], priority: Priority) -> None:
        with self._lock:
            if priority is Priority.BACKGROUND:
                for code in codes:
                    self._queue.setdefault(code, priority)
            else:
                for code in reversed(codes):
                    self._queue[code] = priority
                    self._queue.move_to_end(code, last=False)
        self._start_crawlers()

    def _start_crawlers(self) -> None:
        with self._lock:
            due = CRAWLERS if self._crawling else min(CRAWLERS, len(self._queue))
            starting = max(0, due - self._crawlers)
            self._crawlers += starting
        for _ in range(starting):
            self._crawler_threads.submit(self._work)

    def _work(self) -> None:
        while True:
            taken = self._take()
            if taken is None:
                return
            code, priority = taken
            try:
                self._crawl_one(code, priority)
            except RateLimited as error:
                self._enqueue([code], Priority.BACKGROUND)
                self._clock.sleep(min(error.retry_after_s, LONGEST_REST_S))
            except RemoteUnavailable:
                self._failed_at[code] = self._clock.monotonic()
                self._clock.sleep(REST_S)
            except BacklotError:
                self._failed_at[code] = self._clock.monotonic()
            except Exception as error:  # noqa: BLE001  # a crawler goes on, whatever one asset does
                events.JOB_FAILED.log(log, pool="crawler", failure=error)
                self._failed_at[code] = self._clock.monotonic()

    def _crawl_one(self, code: str, priority: Priority) -> None:
        """:raises BacklotError: the probe's."""
        cheap = self._crawl_probe(code)
        if cheap is not None or self._has_url(code):
            self._fly(code, cheap or self._probe)
            return
        # The turn comes before the flight: an application that joins must not wait for our turn.
        with self._purse.spend(priority, Deadline(PATIENCE_S, self._clock)):
            self._fly(code, self._probe)

    def _fly(self, code: str, probe: Probe) -> None:
        """Probe, or wait for the probe that runs. :raises BacklotError: the probe's."""
        flight, ours = self._flights.join(code)
        if ours:
            self._flights.fly(code, lambda: self._run(code, probe))
        flight.result()

    def _take(self) -> tuple[str, Priority] | None:
        """The next of the queue, filled from the store when it is empty; None ends the crawler."""
        while True:
            with self._lock:
                if self._queue:
                    return self._queue.popitem(last=False)
                if not self._crawling:
                    self._crawlers -= 1
                    return None
                self._crawling = False  # one crawler at a time asks the store
            if not self._refill():
                continue
            with self._lock:
                self._crawling = True
            self._start_crawlers()

    def _forgive(self) -> None:
        """Forget failures that are long ago."""
        since = self._clock.monotonic() - FORGIVEN_AFTER_S
        for code in [code for code, at in list(self._failed_at.items()) if at <= since]:
            self._failed_at.pop(code, None)

    def _refill(self) -> bool:
        """Whether the store had more."""
        try:
            if not self._store.try_lease("size", self._owner, LEASE_S):
                return False
            self._forgive()
            unsized = self._store.unsized(BATCH + len(self._failed_at))
            codes = [code for code in unsized if code not in self._failed_at and self._wanted(code)]
        except StoreClosed:
            return False
        except BacklotError as error:
            events.CRAWL_RESTS.log(log, reason=error)
            return False
        with self._lock:
            for code in codes:
                self._queue.setdefault(code, Priority.BACKGROUND)
        return bool(codes)

    def _run(self, embed_code: str, probe: Probe) -> KnownSource:
        known = self._book.known(embed_code)
        if known is not None and known.verified:
            return known  # somebody was faster
        deadline = Deadline(self._probe_s, self._clock)
        probes = 0
        while True:
            doubts = self._book.doubts(embed_code)
            try:
                identity = probe(embed_code, deadline)
            except BacklotError as error:
                # what passes is told by host-down or a stat that failed, not once for each asset
                level = logging.DEBUG if isinstance(error, RemoteUnavailable) else None
                events.SOURCE_UNKNOWN.log(log, at=level, embed_code=embed_code, reason=error)
                self._book.failed(embed_code, error)
                raise
            self._probed += 1
            probes += 1
            found = self._book.found(identity, doubts)
            if found.verified or probes == MOST_PROBES:
                return found

    def _run_for_waiting(self, embed_code: str) -> KnownSource:
        known = self._book.known(embed_code)
        if self._has_url(embed_code) or (known is not None and known.verified):
            return self._run(embed_code, self._probe)
        with self._purse.spend(Priority.WAITING, Deadline(self._probe_s, self._clock)):
            return self._run(embed_code, self._probe)
