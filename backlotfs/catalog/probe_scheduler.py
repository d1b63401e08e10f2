# SPDX-License-Identifier: Apache-2.0
"""The probe scheduler decides which source is probed next, and when.

A *probe* finds the version of a source: one API call for a signed URL, then a GET of one byte from
the source host. The API call costs a credit, unless the URL is cached or a CDN host can give it.
The rate limiter decides how many calls are made; this module decides their order:

1. sources that an application waits for, first come, first served;
2. sources of listed folders, the most recently used folder first, in the order of its listing,
   continuing after the file that was requested last: programs walk folders in that order;
3. *backfill*: sources that were never probed, newest first, and sources that may have changed.

A turn of the rate limiter is taken first and then given to the first source in this order, so that
an application never waits for the backfill. A source has at most one running probe, which all
callers share. Of several mounts of one library, one does the backfill (a lease in the catalog).

No thread waits for a credit. `_dispatch` runs after each change and starts every probe that may
start; one sleeping job runs it again when the next credit is due.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import NamedTuple

from backlotfs.api.rate_limiter import ApiRateLimiter, Priority, Turn
from backlotfs.catalog.db.assets import to_probe
from backlotfs.catalog.db.connection import CatalogDb
from backlotfs.catalog.db.leases import Lease
from backlotfs.catalog.db.rows import AssetRow, CatalogClosed
from backlotfs.catalog.library import Presented
from backlotfs.catalog.versions import ProbedSource, SourceVersionCache
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.workers import Workers
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import (
    BacklotError,
    HostBusy,
    Interrupted,
    RateLimited,
    RemoteUnavailable,
)
from backlotfs.log import events
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion

log = logging.getLogger(__name__)

#: Concurrent background probes: with two requests of 30 ms each, 500 probes a second.
BACKGROUND_PROBES = 32
#: Concurrent probes in all; others wait in the pool.
PROBE_THREADS = 256
#: Deadline of one probe; an application that waits for it has its own deadline.
PROBE_DEADLINE_S = TimeLimits().source_s
#: Most probes in a row of a source that is invalidated while it is probed.
MOST_PROBES = 3
#: A background probe that failed because its host was unavailable occupies its place for this long,
#: so that such a host gets few probes.
DEAD_HOST_PAUSE_S = 5.0
#: A background probe of a busy host is queued again, in the background queue, after this long.
BUSY_S = 1.0
#: The backfill skips an asset for this long after its background probe failed.
FORGIVEN_AFTER_S = 600.0
#: Assets read from the database at a time, and the duration of the lease on the backfill.
BACKFILL_BATCH, BACKFILL_LEASE_S = 2000, 120.0
#: Number of next probes from which the share of probes that need a credit is estimated.
PAID_SAMPLE = 100
#: Most files of one listing that get priority, and most listings that are remembered.
LISTED_FILES, LISTINGS = 20_000, 64
#: Longest and shortest time until `_dispatch` runs again while a probe needs a credit.
LONGEST_DISPATCH_S, SHORTEST_DISPATCH_S = 1.0, 0.02
_MOUNT_ENDS = "waiting for a size: the mount ends"

#: Embed code, deadline, priority and turn of the API call to the version: `SourceProbe.probe`.
Probe = Callable[[str, Deadline, Priority, Turn | None], SourceVersion]


class Backfill:
    """Finds out which presented assets need a probe. Any thread may call it.

    :ivar lease: the mount of a library that has this lease does the backfill.
    """

    def __init__(self, db: CatalogDb, presented: Presented, versions: SourceVersionCache) -> None:
        """Only ``presented`` assets: probes of hidden ones would waste credits."""
        self._db = db
        self._presented = presented
        self._versions = versions
        self.lease = Lease(db, "size", BACKFILL_LEASE_S)

    def to_probe(self, limit: int) -> list[str]:
        """Up to ``limit`` embed codes never probed, then as many that may have changed."""
        admit = self._presented.admit
        if admit.choice is None and not admit.statuses:
            return self._db.read(to_probe, limit, admit.types)
        # Read `newer` first: a result that is dropped from it later is in the rows read below.
        newer = self._versions.newer()
        assets = self._presented.library.rows
        found: list[str] = []
        for positions in assets.to_probe:
            found += islice(
                (code for code in map(assets.code, positions) if code not in newer), limit
            )
        return found


class _Asked(NamedTuple):
    """A queued probe that an application has waited for since ``since_s`` (monotonic clock)."""

    future: Future[ProbedSource]
    since_s: float


class _Listing:
    """The files of one folder that need a probe, in the order of its listing."""

    __slots__ = ("_codes", "_lowest", "_next", "_taken")

    def __init__(self, codes: list[str]) -> None:
        self._codes = codes
        self._taken = bytearray(len(codes))
        self._next = self._lowest = 0

    def take(self) -> str | None:
        """Take the next file; after the last, the first that is left; None if all were taken."""
        self._next = self._skip(self._next)
        if self._next == len(self._codes):
            self._next = self._lowest = self._skip(self._lowest)
        if self._next == len(self._codes):
            return None
        self._taken[self._next] = 1
        return self._codes[self._next]

    def put_back(self) -> None:
        """Undo the last `take`, because the file cannot be probed yet."""
        self._taken[self._next] = 0

    def go_on_behind(self, place: int) -> None:
        """Continue after the file at this place, which an application requested."""
        self._taken[place] = 1
        self._next = place

    def _skip(self, place: int) -> int:
        found = self._taken.find(0, place)
        return len(self._codes) if found < 0 else found


class ProbeScheduler:
    """Decides which source is probed next, and when. Any thread may call it.

    Probes run on the worker threads.
    """

    def __init__(
        self,
        urls: UrlResolver,
        probe: Probe,
        versions: SourceVersionCache,
        backfill: Backfill,
        limiter: ApiRateLimiter,
        workers: Workers,
        clock: Clock,
    ) -> None:
        """Start nothing yet."""
        self._urls = urls
        self._probe = probe
        self._versions = versions
        self._backfill = backfill
        self._limiter = limiter
        self._workers = workers
        self._clock = clock
        self.deadline_s = PROBE_DEADLINE_S
        self._lock = threading.Lock()
        self._running: dict[str, Future[ProbedSource]] = {}
        self._background_running = 0
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._listings: deque[_Listing] = deque()  # the most recently used first
        self._places: dict[str, tuple[_Listing, int]] = {}
        self._stale: OrderedDict[str, None] = OrderedDict()
        self._backfilling = self._refilling = self._alarm = self._closed = False
        self._failed_at: dict[str, float] = {}
        self._probed, self._probing_s = 0, 0.0  # number of finished probes, and their total time

    def request(self, embed_code: str) -> Future[ProbedSource]:
        """Queue a probe with the highest priority, or join the probe that runs.

        If the source is known and verified by now, that is the result, and nothing is sent.

        The future fails with a `BacklotError`: with `RateLimited` when no credit came within the
        limiter's longest wait, with `Interrupted` when the mount ends.
        """
        with self._lock:
            if self._closed:
                ended: Future[ProbedSource] = Future()
                ended.set_exception(Interrupted(_MOUNT_ENDS))
                return ended
            running = self._running.get(embed_code)
            if running is not None:
                self._limiter.raise_priority(embed_code, Priority.WAITING)
                return running
            asked = self._asked.get(embed_code)
            if asked is None:
                asked = _Asked(Future(), self._clock.monotonic())
                self._asked[embed_code] = asked
            place = self._places.get(embed_code)
            if place is not None:
                listing, number = place
                listing.go_on_behind(number)
                if self._listings[0] is not listing:
                    self._listings.remove(listing)
                    self._listings.appendleft(listing)
        self._dispatch()
        return asked.future

    def is_queued(self, embed_code: str) -> bool:
        """Whether the probe of a source waits in the queue, or for another credit."""
        return embed_code in self._asked or self._limiter.is_queued(embed_code)

    def seconds_until(self, embed_code: str) -> float:
        """Seconds until the queued probe of a requested source can begin."""
        with self._lock:
            ahead = next((n for n, code in enumerate(self._asked) if code == embed_code), 0)
        return self._limiter.wait_s(Priority.WAITING, ahead)

    def prioritize(self, rows: Iterable[AssetRow]) -> None:
        """Give priority to the files of a listed folder that need a probe, in this order."""
        wanted = [row.embed_code for row in islice(filter(self._needs_probe, rows), LISTED_FILES)]
        if not wanted:
            return
        listing = _Listing(wanted)
        with self._lock:
            self._listings.appendleft(listing)
            for number, code in enumerate(wanted):
                self._places[code] = (listing, number)
            while len(self._listings) > LISTINGS:
                self._forget(self._listings.pop())
        self._dispatch()

    def enqueue_stale(self, embed_codes: Iterable[str]) -> None:
        """Queue background probes of sources that may have been replaced."""
        with self._lock:
            self._stale.update(dict.fromkeys(embed_codes))
        self._dispatch()

    def start_backfill(self) -> None:
        """Start to probe everything that was never probed; returns at once."""
        with self._lock:
            self._backfilling = not self._closed
        self._dispatch()

    @property
    def busy(self) -> bool:
        """Whether background probes run or are queued."""
        return bool(self._background_running or self._stale or self._listings or self._backfilling)

    def close(self) -> None:
        """Fail all queued probes and release the lease on the backfill.

        :raises CatalogUnavailable: the lease cannot be released.
        """
        with self._lock:
            self._closed = True
            self._backfilling = False
            asked = list(self._asked.values())
            self._asked.clear()
            self._stale.clear()
            self._listings.clear()
            self._places.clear()
        for entry in asked:
            entry.future.set_exception(Interrupted(_MOUNT_ENDS))
        self._backfill.lease.release()

    def seconds_for(self, assets: int) -> float | None:
        """The expected seconds for probes of so many more assets; None if nothing is measured yet.

        The time is computed from the API credits, or, if the probes need none, from the mean time
        of the probes so far.
        """
        if not assets:
            return 0.0
        if self._limiter.counts_credits:
            paid = math.ceil(assets * self._paid_share())
            if paid:
                return self._limiter.wait_s(Priority.LISTED, paid - 1)
        with self._lock:
            if not self._probed:
                return None
            return math.ceil(assets / BACKGROUND_PROBES) * self._probing_s / self._probed

    def _paid_share(self) -> float:
        """The share of the future probes that need a credit, estimated from the next ones."""
        with self._lock:
            sample = list(islice(self._stale, PAID_SAMPLE))
        try:
            sample = sample or self._backfill.to_probe(PAID_SAMPLE)
        except BacklotError:  # the backfill says so in the log
            return 1.0
        return sum(not self._urls.is_free(code) for code in sample) / len(sample) if sample else 1.0

    def _wanted(self, code: str) -> bool:
        row = self._versions.row_of(code)
        return row is not None and self._needs_probe(row)  # None: hidden or deleted since

    def _needs_probe(self, row: AssetRow) -> bool:
        if self._versions.failure(row.embed_code) is not None:
            return False
        known = self._versions.known(row.embed_code, row)
        return known is None or not known.verified

    def _dispatch(self) -> None:
        """Start all probes that may start now; run again when the next credit is due."""
        jobs: list[Callable[[], None]] = []
        late: list[_Asked] = []
        with self._lock:
            if self._closed:
                return
            wait_s = self._take(jobs, late)
            if wait_s is not None and not self._alarm:
                self._alarm = True
                delay_s = min(LONGEST_DISPATCH_S, max(wait_s, SHORTEST_DISPATCH_S))
                jobs.append(lambda: self._look_again(delay_s))
            if not self._refilling and self._backfilling and not self._stale:
                self._refilling = True
                jobs.append(self._refill)
        for entry in late:
            entry.future.set_exception(
                RateLimited(
                    f"no API credit came within {self._limiter.credit_wait_s:.0f} s",
                    retry_after_s=None,
                )
            )
        for job in jobs:
            self._workers.submit(job)

    def _take(self, jobs: list[Callable[[], None]], late: list[_Asked]) -> float | None:
        """Collect the probes that may start; return the seconds until more may, or None.

        Call it with the lock held.
        """
        now_s = self._clock.monotonic()
        while self._asked:
            code, entry = next(iter(self._asked.items()))
            if now_s - entry.since_s >= self._limiter.credit_wait_s:
                del self._asked[code]
                late.append(entry)
                continue
            known = self._versions.known(code)
            if known is not None and known.verified:  # found since the caller looked
                del self._asked[code]
                jobs.append(partial(entry.future.set_result, known))
                continue
            free, turn = self._may_start(code, Priority.WAITING)
            if not free and turn is None:
                # Later probes that need no credit do not wait for one.
                free_ones = [other for other in self._asked if self._urls.is_free(other)]
                jobs.extend(self._start(other, Priority.WAITING, None) for other in free_ones)
                return self._limiter.wait_s(Priority.WAITING) if self._asked else None
            jobs.append(self._start(code, Priority.WAITING, turn))
        for priority in (Priority.LISTED, Priority.BACKGROUND):
            while self._background_running < BACKGROUND_PROBES:
                next_code = self._next(priority)
                if next_code is None:
                    break
                free, turn = self._may_start(next_code, priority)
                if not free and turn is None:
                    # The source is chosen when there is a turn: another may be more urgent by then.
                    self._put_back(next_code, priority)
                    return self._limiter.wait_s(priority)  # lower priorities wait
                jobs.append(self._start(next_code, priority, turn))
        return None

    def _may_start(self, code: str, priority: Priority) -> tuple[bool, Turn | None]:
        """Whether a probe needs no credit; otherwise a turn for it, or None."""
        if self._urls.is_free(code):
            return True, None
        try:
            return False, self._limiter.try_acquire(priority)
        except Interrupted:  # the limiter was closed first
            return False, None

    def _next(self, priority: Priority) -> str | None:
        """Take the next source of this priority. Call it with the lock held."""
        if priority is Priority.BACKGROUND:
            while self._stale:
                code, _ = self._stale.popitem(last=False)
                if code not in self._running and code not in self._asked and self._wanted(code):
                    return code
            return None
        while self._listings:
            found = self._listings[0].take()
            if found is None:
                self._forget(self._listings.popleft())
            elif found not in self._running and found not in self._asked and self._wanted(found):
                return found
        return None

    def _put_back(self, code: str, priority: Priority) -> None:
        """Undo the last `_next`. Call it with the lock held."""
        if priority is Priority.LISTED:
            self._listings[0].put_back()
        else:
            self._stale[code] = None
            self._stale.move_to_end(code, last=False)

    def _forget(self, listing: _Listing) -> None:
        for code in listing._codes:
            if self._places.get(code, (None, 0))[0] is listing:
                del self._places[code]

    def _start(self, code: str, priority: Priority, turn: Turn | None) -> Callable[[], None]:
        """Make the job that probes; the source counts as running. Call it with the lock held."""
        asked = self._asked.pop(code, None)
        future: Future[ProbedSource] = Future() if asked is None else asked.future
        self._running[code] = future
        self._stale.pop(code, None)
        if priority is not Priority.WAITING:
            self._background_running += 1
        return lambda: self._run(code, future, priority, turn)

    def _run(
        self, code: str, future: Future[ProbedSource], priority: Priority, turn: Turn | None
    ) -> None:
        error: BaseException | None = None
        try:
            with turn or contextlib.nullcontext():
                found = self._probe_until_settled(code, priority, turn)
        except BaseException as failure:  # noqa: BLE001  # every waiter gets the error
            error = failure
        with self._lock:
            del self._running[code]
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)
        if priority is not Priority.WAITING:
            self._background_ended(code, error)
        self._dispatch()

    def _background_ended(self, code: str, error: BaseException | None) -> None:
        if isinstance(error, RateLimited | Interrupted | HostBusy):
            if isinstance(error, HostBusy):
                self._clock.sleep(BUSY_S)
            with self._lock:
                if not self._closed:
                    self._stale[code] = None
        elif error is not None:
            self._failed_at[code] = self._clock.monotonic()
            if isinstance(error, RemoteUnavailable):
                self._clock.sleep(DEAD_HOST_PAUSE_S)
            elif not isinstance(error, BacklotError):
                events.JOB_FAILED.log(log, pool="probe", failure=error)
        with self._lock:
            self._background_running -= 1

    def _probe_until_settled(
        self, code: str, priority: Priority, turn: Turn | None
    ) -> ProbedSource:
        """Probe again while the source is invalidated during a probe.

        :raises BacklotError: the probe failed.
        """
        deadline = Deadline(self.deadline_s, self._clock)
        probes = 0
        while True:
            began_s = self._clock.monotonic()
            epoch = self._versions.epoch(code)
            try:
                version = self._probe(code, deadline, priority, turn)
            except (RateLimited, Interrupted, HostBusy):
                raise  # not a failure of the source
            except BacklotError as error:
                # temporary failures are logged once per host, not once per asset
                level = logging.DEBUG if isinstance(error, RemoteUnavailable) else None
                events.SOURCE_UNKNOWN.log(log, at=level, embed_code=code, reason=error)
                self._versions.failed(code, error)
                raise
            with self._lock:
                self._probed += 1
                self._probing_s += self._clock.monotonic() - began_s
            probes += 1
            found = self._versions.record_probe(version, epoch)
            if found.verified or probes == MOST_PROBES:
                return found

    def _look_again(self, delay_s: float) -> None:
        self._clock.sleep(delay_s)
        self._alarm = False
        self._dispatch()

    def _refill(self) -> None:
        """Find out the next assets of the backfill."""
        codes: list[str] = []
        try:
            if self._backfill.lease.take():
                since = self._clock.monotonic() - FORGIVEN_AFTER_S
                for code in [code for code, at in list(self._failed_at.items()) if at <= since]:
                    self._failed_at.pop(code, None)
                waiting = self._backfill.to_probe(BACKFILL_BATCH + len(self._failed_at))
                codes = [c for c in waiting if c not in self._failed_at and self._wanted(c)]
                if not codes:  # a mount that shows other assets may have some to probe
                    self._backfill.lease.release()
        except CatalogClosed:
            pass
        except BacklotError as error:
            events.BACKFILL_PAUSED.log(log, reason=error)
        with self._lock:
            self._refilling = False
            fresh = [code for code in codes if code not in self._running]
            self._backfilling = self._backfilling and bool(fresh)
            if not self._closed:
                for code in fresh:
                    self._stale.setdefault(code)
        self._dispatch()
