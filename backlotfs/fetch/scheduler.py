"""Decides which fetch runs next: a queue per source, readers before prefetch, hosts used fully.

A source host takes as many fetches at once as its concurrency limit says (`hosts`). They are shared
among the sources on it: each source may use its equal part of the limit, at least one fetch, and
what the others leave unused. Fetches that a reader waits for go first, and each source may run
`URGENT_EXTRA` of them beyond its part. Where several queues could go on, the one that was given the
fewest bytes does.

A stalled source never stops another. A queue in which no fetch has ended for `STALLED_AFTER_S` is
counted neither against its host nor against the process, so the others have the host for
themselves. The last quarter of the workers is for readers of sources that have no fetch running.
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

#: Fetches of one source beyond its part of the limit, for what a reader waits for.
URGENT_EXTRA = 8
#: Prefetches of all sources together: more only costs memory and switches of threads.
PROCESS_WIDTH = 64
#: A queue in which no fetch ended for this long is stalled, or so slow that it leaves room.
STALLED_AFTER_S = 2.0


class Fetch(Protocol):
    """One GET to be made."""

    @property
    def embed_code(self) -> str:
        """The source, and so the queue, that it belongs to."""

    @property
    def missing(self) -> ByteRange:
        """The bytes that it will bring."""

    def run(self) -> None:
        """Make the GET, on a worker's thread. It raises nothing."""


class HostLimit(Protocol):
    """A source host (`hosts.Host`): the same object for all sources that it serves."""

    @property
    def concurrency_limit(self) -> int:
        """The number of fetches that run at once. It may change at any time."""


@dataclass(slots=True)
class _SourceQueue:
    """The fetches of one source that have not begun, and how many are running.

    :ivar served: bytes given to it, from a start that is fair to the other queues.
    :ivar last_progress_s: when a fetch of it ended last, or began while no other was running.
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
    """What runs now by host, without the stalled queues: how many queues, and how many fetches."""

    queues: Counter[HostLimit]
    running: Counter[HostLimit]


class FetchScheduler:
    """Starts fetches on the workers, in order of need. Any thread may submit."""

    def __init__(
        self,
        workers: Workers,
        host_of: Callable[[str], HostLimit],
        clock: Clock,
        *,
        max_jobs: int = 192,
    ) -> None:
        """Start nothing yet.

        :param host_of: finds the host of a source. It may become another one once the source has
            answered.
        :param max_jobs: how many fetches the workers run at once.
        """
        self._workers = workers
        self._host_of = host_of
        self._clock = clock
        self._max_jobs = max_jobs
        self._lock = threading.Lock()
        self._queues: dict[str, _SourceQueue] = {}
        self._waiting: dict[str, _SourceQueue] = {}  # those of them with a fetch that has not begun
        self._running = 0
        self._served = 0  # bytes, of the queue that went last

    def submit(self, fetch: Fetch, *, urgent: bool) -> None:
        """Queue ``fetch``; it runs when its source and its host have room."""
        with self._lock:
            queue = self._queues.get(fetch.embed_code)
            if queue is None:
                queue = _SourceQueue(self._host_of(fetch.embed_code), self._served)
                self._queues[fetch.embed_code] = queue
            elif fetch.embed_code not in self._waiting:
                queue.served = max(queue.served, self._served)  # no credit for a time of no need
            (queue.urgent if urgent else queue.prefetch).append(fetch)
            self._waiting[fetch.embed_code] = queue
            jobs = self._due()
        for job in jobs:
            self._workers.submit(job)

    def promote(self, fetch: Fetch) -> None:
        """Move a fetch that has not begun before all prefetches, because a reader waits for it."""
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
        """Return the fetches that may start now, as jobs. The caller holds the lock."""
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
            # The next is a queue with a waiting reader, or else the one that was served least.
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
        """Whether a source and its host have room for one more fetch of it."""
        if queue.urgent and not queue.running:  # a source's first waits for no other source
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
                queue.host = self._host_of(fetch.embed_code)  # it has answered, and may be another
                jobs = self._due()
            for job in jobs:
                self._workers.submit(job)
