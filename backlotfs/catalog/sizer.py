"""Runs probes: at once for whoever waits, in the background for a folder that is being listed.

One probe of an asset at a time, shared by all who wait. Listing a folder moves its assets to the
front of the background queue, because ``ls -l`` asks for each of them a moment later.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from backlotfs.catalog.source_book import KnownSource, SourceBook
from backlotfs.clock import Clock, Deadline
from backlotfs.errors import BacklotError, SourceMissing
from backlotfs.remote.identity import SourceIdentity
from backlotfs.single_flight import SingleFlight
from backlotfs.workers import Workers

log = logging.getLogger(__name__)

#: Background probes at a time.
BACKGROUND = 8
#: A probe ends after this long at the latest; whoever waits has a deadline of its own.
PROBE_DEADLINE_S = 30.0

#: Embed code and deadline to identity: `SourceProbe.probe`.
Probe = Callable[[str, Deadline], SourceIdentity]
#: Embed code to the ``updated_at`` of its record, seconds since the epoch; 0 if it has none.
UpdatedAt = Callable[[str], int]


class Sizer:
    """Any thread may call it. Probes run on the workers' threads."""

    def __init__(
        self, probe: Probe, book: SourceBook, updated_at: UpdatedAt, workers: Workers, clock: Clock
    ) -> None:
        self._probe = probe
        self._book = book
        self._updated_at = updated_at
        self._workers = workers
        self._clock = clock
        self._flights: SingleFlight[str, KnownSource] = SingleFlight()
        self._lock = threading.Lock()
        self._queue: OrderedDict[str, None] = OrderedDict()
        self._background = 0

    def request(self, embed_code: str) -> Future[KnownSource]:
        """Probe now, or join the probe that runs; the future fails with a `BacklotError`."""
        flight, ours = self._flights.join(embed_code)
        if ours:
            self._workers.submit(lambda: self._flights.fly(embed_code, self._job(embed_code)))
        return flight

    def listed(self, embed_codes: Iterable[str]) -> None:
        """Somebody lists these: find out about those not known yet, before any others."""
        wanted = [
            code
            for code in embed_codes
            if self._book.known(code) is None and self._book.failure(code) is None
        ]
        with self._lock:
            for code in reversed(wanted):
                self._queue[code] = None
                self._queue.move_to_end(code, last=False)
            starting = min(BACKGROUND - self._background, len(self._queue))
            self._background += starting
        for _ in range(starting):
            self._workers.submit(self._drain)

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._background -= 1
                    return
                code, _ = self._queue.popitem(last=False)
            flight, ours = self._flights.join(code)
            if ours and self._book.known(code) is None:
                self._flights.fly(code, self._job(code))
            elif ours:
                self._flights.fly(code, lambda code=code: self._already(code))  # type: ignore[misc]  # bound now
            flight.exception()  # a failure is in the book and in the log

    def _already(self, embed_code: str) -> KnownSource:
        known = self._book.known(embed_code)
        if known is None:
            raise SourceMissing(f"{embed_code} was deleted meanwhile")
        return known

    def _job(self, embed_code: str) -> Callable[[], KnownSource]:
        def job() -> KnownSource:
            try:
                identity = self._probe(embed_code, Deadline(PROBE_DEADLINE_S, self._clock))
            except BacklotError as error:
                log.info("cannot find out about %s: %s", embed_code, error)
                self._book.failed(embed_code, error)
                raise
            return self._book.found(identity, self._updated_at(embed_code))

        return job
