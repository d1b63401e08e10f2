"""The scheduler decides which fetch runs next. Each source has a queue.

As many fetches run on a host at once as its concurrency limit allows (`hosts`). The sources on a
host share the limit: each may use an equal part of it, at least one fetch, and what the others
leave unused. Fetches that a reader waits for go first, and each source may run `URGENT_EXTRA` of
them beyond its part. If several queues could start a fetch, the one with the fewest bytes does.

A stalled source never stops another. A queue in which no fetch has ended for `STALLED_AFTER_S` is
not counted in the limits of its host and of the process, so it takes no place from the others. The
last quarter of the workers is for readers of sources that have no fetch running.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.workers import Workers

#: Fetches that readers wait for may exceed the part of their source by this number.
URGENT_EXTRA = 8
#: Most prefetches of all sources at once: more only cost memory and thread switches.
PROCESS_WIDTH = 64
#: A queue in which no fetch ended for this long is stalled, or too slow to be counted.
STALLED_AFTER_S = 2.0


class Fetch(Protocol):
    """One GET to be made."""

    @property
    def embed_code(self) -> str:
        """The source, which has the queue for this fetch."""

    @property
    def missing(self) -> ByteRange:
        """The bytes that have not arrived."""

    def run(self) -> None:
        """Make the GET, on a worker's thread; raise nothing."""


class HostLimit(Protocol):
    """A source host (`hosts.Host`): one object for all sources on it."""

    @property
    def concurrency_limit(self) -> int:
        """The number of fetches that may run at once. It may change at any time."""


@dataclass(slots=True)
class _SourceQueue:
    """The queued fetches of one source, and the number of running ones.

    :ivar served: bytes of the fetches that were started; a new queue begins with the count of the
        queue that was served last, so that no queue has to wait for it.
    :ivar last_progress_s: when a fetch of this queue last ended, or began while none was running.
    """

    host: HostLimit
    served: int
    urgent: deque[Fetch] = field(default_factory=deque)
    prefetch: deque[Fetch] = field(default_factory=deque)
    running: int = 0
    last_progress_s: float = 0.0

    def stalled(self, now_s: float) -> bool:
        """Whether fetches are running and none has ended for a while."""
        return self.running > 0 and now_s - self.last_progress_s >= STALLED_AFTER_S


class _Moving(NamedTuple):
    """The number of queues and of running fetches of each host, without the stalled queues."""

    queues: Counter[HostLimit]
    running: Counter[HostLimit]


class FetchScheduler:
    """Starts fetches on the workers. Any thread may submit one."""

    def __init__(
        self,
        workers: Workers,
        host_of: Callable[[str], HostLimit],
        clock: Clock,
        *,
        max_jobs: int = 192,
    ) -> None:
        """Start nothing yet.

        :param host_of: returns the host of a source; it may change when the source answers.
        :param max_jobs: the number of fetches that the workers run at once.
        """
        self._workers = workers
        self._host_of = host_of
        self._clock = clock
        self._max_jobs = max_jobs
        self._lock = threading.Lock()
        self._queues: dict[str, _SourceQueue] = {}
        self._waiting: dict[str, _SourceQueue] = {}  # the queues with a fetch to start
        self._running = 0
        self._served = 0  # the count of the queue that was served last

    def submit(self, fetch: Fetch, *, urgent: bool) -> None:
        """Queue a fetch; it starts when the limits allow it."""
        with self._lock:
            queue = self._queues.get(fetch.embed_code)
            if queue is None:
                queue = _SourceQueue(self._host_of(fetch.embed_code), self._served)
                self._queues[fetch.embed_code] = queue
            elif fetch.embed_code not in self._waiting:
                queue.served = max(queue.served, self._served)  # as a new queue
            (queue.urgent if urgent else queue.prefetch).append(fetch)
            self._waiting[fetch.embed_code] = queue
            jobs = self._due()
        for job in jobs:
            self._workers.submit(job)

    def promote(self, fetch: Fetch) -> None:
        """Move a queued prefetch before all prefetches, because a reader waits for it now."""
        with self._lock:
            queue = self._queues.get(fetch.embed_code)
            if queue is None or fetch not in queue.prefetch:
                return
            queue.prefetch.remove(fetch)
            queue.urgent.append(fetch)
            jobs = self._due()
        for job in jobs:
            self._workers.submit(job)

    def _due(self) -> list[Callable[[], None]]:
        """Return the fetches that may start now, as jobs. The caller locks."""
        jobs: list[Callable[[], None]] = []
        if not self._waiting:
            return jobs
        now_s = self._clock.monotonic()
        moving = _Moving(Counter(), Counter())
        for queue in self._queues.values():
            if not queue.stalled(now_s):
                moving.queues[queue.host] += 1
                moving.running[queue.host] += queue.running
        while True:
            # Queues with a waiting reader go first, then the one that was served the least.
            able = [
                (not queue.urgent, queue.served, embed_code)
                for embed_code, queue in self._waiting.items()
                if self._may_start(queue, moving, now_s)
            ]
            if not able:
                return jobs
            embed_code = min(able, key=lambda rank: rank[:2])[2]
            queue = self._waiting[embed_code]
            fetch = (queue.urgent or queue.prefetch).popleft()
            if not queue.urgent and not queue.prefetch:
                del self._waiting[embed_code]
            if not queue.stalled(now_s):
                moving.running[queue.host] += 1
            if not queue.running:
                queue.last_progress_s = now_s
            queue.running += 1
            self._running += 1
            self._served = queue.served
            queue.served += fetch.missing.length
            jobs.append(partial(self._run, fetch))

    def _may_start(self, queue: _SourceQueue, moving: _Moving, now_s: float) -> bool:
        """Whether the limits allow one more fetch of this queue."""
        if queue.urgent and not queue.running:  # the first fetch of a source waits for no other
            return True
        if self._running >= self._max_jobs * 3 // 4:
            return False
        limit = queue.host.concurrency_limit
        part = max(1, limit // max(1, moving.queues[queue.host]))
        if queue.urgent:
            return queue.running < part + URGENT_EXTRA
        if queue.running and moving.running.total() >= PROCESS_WIDTH:
            return False
        spare = not queue.stalled(now_s) and moving.running[queue.host] < limit
        return queue.running < part or spare

    def _run(self, fetch: Fetch) -> None:
        try:
            fetch.run()
        finally:
            with self._lock:
                queue = self._queues[fetch.embed_code]
                queue.running -= 1
                self._running -= 1
                queue.last_progress_s = self._clock.monotonic()
                if not queue.running and fetch.embed_code not in self._waiting:
                    del self._queues[fetch.embed_code]
                queue.host = self._host_of(fetch.embed_code)  # it may be known only now
                jobs = self._due()
            for job in jobs:
                self._workers.submit(job)
