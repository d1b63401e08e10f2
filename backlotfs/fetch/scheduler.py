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
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, SystemClock
from backlotfs.concurrency.workers import Workers

#: Fetches of one source at a time where nobody measures.
PER_SOURCE = 12
#: Fetches of one source beyond its part of the limit, for what a reader waits for.
URGENT_EXTRA = 8
#: Prefetches of all sources together: more only costs memory and switches of threads.
PROCESS_WIDTH = 64
#: A queue in which no fetch ended for this long is stalled, or so slow that it leaves room.
STALLED_AFTER_S = 2.0
#: How often stalled queues are looked for, at most.
_LOOK_S = 0.25


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
    """A source host: the same object for all sources that it serves."""

    @property
    def concurrency_limit(self) -> int:
        """The number of fetches that run at once. It may change at any time."""


class Hosts(Protocol):
    """Finds the host of a source (`hosts.HostRegistry`)."""

    def host_of(self, embed_code: str) -> HostLimit:
        """The host of a source. It may become another one once the source has answered."""


class FixedLimit(NamedTuple):
    """One host for all sources, with a fixed limit."""

    concurrency_limit: int = PER_SOURCE

    def host_of(self, embed_code: str) -> HostLimit:  # noqa: ARG002  # as Hosts
        """Return this object for every source."""
        return self


class _HostLoad:
    """Counts the queues and the running fetches of one host, without stalled queues."""

    __slots__ = ("host", "queues", "running")

    def __init__(self, host: HostLimit) -> None:
        self.host = host
        self.queues = 0
        self.running = 0


class _SourceQueue:
    """The fetches of one source that have not begun, and how many are running."""

    __slots__ = ("last_progress_s", "load", "prefetch", "running", "served", "stalled", "urgent")

    def __init__(self, load: _HostLoad, served: int) -> None:
        self.urgent: deque[Fetch] = deque()
        self.prefetch: deque[Fetch] = deque()
        self.running = 0
        self.load = load
        self.served = served  # bytes, from a start that is fair to the other queues
        self.last_progress_s = 0.0
        self.stalled = False

    @property
    def part(self) -> int:
        """How many fetches of it may run if the other queues of the host use their parts."""
        return max(1, self.load.host.concurrency_limit // max(1, self.load.queues))


class FetchScheduler:
    """Starts fetches on the workers, in order of need. Any thread may submit."""

    def __init__(
        self,
        workers: Workers,
        hosts: Hosts | None = None,
        clock: Clock | None = None,
        *,
        max_jobs: int = 192,
    ) -> None:
        """``max_jobs``: how many fetches the workers run at once.

        Without ``hosts`` all sources share one host with the limit `PER_SOURCE`.
        """
        self._workers = workers
        self._hosts = hosts or FixedLimit()
        self._clock = clock or SystemClock()
        self._max_jobs = max_jobs
        self._lock = threading.Lock()
        self._queues: dict[str, _SourceQueue] = {}
        self._waiting: dict[str, _SourceQueue] = {}  # those of them with a fetch that has not begun
        self._loads: dict[int, _HostLoad] = {}  # by the host's id
        self._running = 0
        self._moving = 0  # of those, in queues that are not stalled
        self._served = 0  # bytes, of the queue that went last
        self._looked_s = 0.0

    def submit(self, fetch: Fetch, *, urgent: bool) -> None:
        """Queue ``fetch``; it runs when its source and its host have room."""
        with self._lock:
            queue = self._queues.get(fetch.embed_code)
            if queue is None:
                load = self._load(self._hosts.host_of(fetch.embed_code))
                load.queues += 1
                queue = self._queues[fetch.embed_code] = _SourceQueue(load, self._served)
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
        now_s = self._clock.monotonic()
        if self._waiting and now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            for queue in self._queues.values():
                if (
                    queue.running
                    and not queue.stalled
                    and now_s - queue.last_progress_s >= STALLED_AFTER_S
                ):
                    self._set_stalled(queue, stalled=True)
        while (embed_code := self._next()) is not None:
            queue = self._waiting[embed_code]
            fetch = (queue.urgent or queue.prefetch).popleft()
            if not queue.urgent and not queue.prefetch:
                del self._waiting[embed_code]
            if not queue.running:
                queue.last_progress_s = now_s
            self._served = queue.served
            queue.served += fetch.missing.length
            self._add(queue, 1)
            jobs.append(lambda fetch=fetch: self._run(fetch))  # type: ignore[misc]  # bound now
        return jobs

    def _next(self) -> str | None:
        """Choose the queue that goes on: one with a waiting reader first, then the least served."""
        best: str | None = None
        rank = (True, 0)
        for embed_code, queue in self._waiting.items():
            not_urgent = not queue.urgent
            if (best is None or (not_urgent, queue.served) < rank) and self._may_start(queue):
                best, rank = embed_code, (not_urgent, queue.served)
        return best

    def _may_start(self, queue: _SourceQueue) -> bool:
        if queue.urgent and not queue.running:  # a source's first waits for no other source
            return True
        if self._running >= self._max_jobs * 3 // 4:
            return False
        if queue.urgent:
            return queue.running < queue.part + URGENT_EXTRA
        if queue.running and self._moving >= PROCESS_WIDTH:
            return False
        spare = not queue.stalled and queue.load.running < queue.load.host.concurrency_limit
        return queue.running < queue.part or spare

    def _run(self, fetch: Fetch) -> None:
        try:
            fetch.run()
        finally:
            with self._lock:
                self._ended(fetch.embed_code)
                jobs = self._due()
            for job in jobs:
                self._workers.submit(job)

    def _ended(self, embed_code: str) -> None:
        """Count a fetch as ended, and its queue as making progress."""
        queue = self._queues[embed_code]
        if queue.stalled:
            self._set_stalled(queue, stalled=False)
        self._add(queue, -1)
        queue.last_progress_s = self._clock.monotonic()
        host = self._hosts.host_of(embed_code)
        if host is not queue.load.host:  # its host has answered, and is another
            self._leave(queue)
            queue.load = self._load(host)
            queue.load.queues += 1
            queue.load.running += queue.running
        if not queue.running and embed_code not in self._waiting:
            self._leave(queue)
            del self._queues[embed_code]

    def _add(self, queue: _SourceQueue, count: int) -> None:
        queue.running += count
        self._running += count
        if not queue.stalled:
            queue.load.running += count
            self._moving += count

    def _set_stalled(self, queue: _SourceQueue, *, stalled: bool) -> None:
        """Count a queue as stalled, or as making progress again."""
        sign = -1 if stalled else 1
        queue.stalled = stalled
        queue.load.queues += sign
        queue.load.running += sign * queue.running
        self._moving += sign * queue.running

    def _load(self, host: HostLimit) -> _HostLoad:
        return self._loads.setdefault(id(host), _HostLoad(host))

    def _leave(self, queue: _SourceQueue) -> None:
        """Remove a queue that is not stalled from its host; forget a host without queues."""
        load = queue.load
        load.queues -= 1
        load.running -= queue.running
        if not any(other.load is load for other in self._queues.values() if other is not queue):
            self._loads.pop(id(load.host), None)
