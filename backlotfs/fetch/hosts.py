# SPDX-License-Identifier: Apache-2.0
"""The source hosts: how fast each is, how many GETs run on it at once, and which GET is next.

The host of a source is known only after a GET of the source was answered. Until then the source
is assumed to be on the host that answered last, because nearly all sources of an account are on one
host. `HostRegistry` is the `source.signed_get.GetMeter`: every GET is reported to it when the GET
begins and when it ends.

How the concurrency limit (the *width*) is found. GETs are counted in *rounds*. A round ends when as
many GETs as the width allows have begun and ended in it, and `ROUND_S` has passed. The throughput
of a round is the mean rate of these GETs, including their latency, times the mean number of GETs
that ran at once. (Bytes divided by time would depend on when the last large GET ends.)

1. *Start* with a width for the measured latency: a few GETs use a near host fully.
2. *Ramp*: double the width while the throughput grows enough: by at least `WORTH` times the growth
   of the width. Otherwise return to the width before.
3. *Steady*: after some rounds without a change (`_rest`), try a width that is a quarter larger or
   smaller. A larger width is kept if the throughput grows as in 2. A smaller width is kept if the
   throughput is at least ``1 - FREE`` of the best one. It is not compared with the last one,
   because small losses would add up. The value of the best throughput fades slowly. After a trial
   that succeeds, the next one follows at once. A trial that fails changes the direction, and
   doubles the number of rounds before the next.
4. If the host answers 429 or 503, or cuts several connections, reduce the width at once to three
   quarters of the GETs that ran, if that is less. GETs that began before the reduction change the
   width no more. For a while the width stays below the one that was refused. This time is doubled
   after each refusal.

A round in which clearly fewer GETs ran than the width allows changes nothing, because its readers
needed no more.

Which fetch is next. Each source has a queue in `FetchScheduler`. As many fetches run on a host at
once as its concurrency limit allows. The sources on a host share the limit: each may use an equal
part of it (at least one fetch) and also the part that the others leave unused. Fetches that a
reader waits for go first, and each source may run `URGENT_EXTRA` of them beyond its part, but none
for a while after a refusal. If several queues could start a fetch, the queue from which the fewest
bytes were started does. Fetches for files that are not open wait in a queue of their own, in the
order in which the files are expected. They start when no other fetch can start.

A stalled source never stops another. A queue in which no fetch has ended for `STALLED_AFTER_S` is
not counted in the limit of its host and in `PROCESS_WIDTH`, so its fetches take no place from the
others. The last quarter of the workers is for readers of sources that have no fetch running.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from cachetools import LRUCache

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.workers import Workers
from backlotfs.log.traces import Tracing
from backlotfs.source.bandwidth import NEAR_S, HostStats
from backlotfs.source.signed_get import GetRecord, Outcome

#: Bounds of the width.
MIN_WIDTH, MAX_WIDTH = 2, 32
#: The first width for a latency up to each limit; and the first width for a higher latency.
START_WIDTHS = ((0.003, 4), (0.010, 8))
FAR_START_WIDTH = 16
#: The width while no latency of the host was measured.
BLIND_START_WIDTH = 8
#: A round lasts at least this long, because a shorter one would measure the thread switches.
ROUND_S = 0.05
#: A round can change the width if at least this share of the width ran at once.
SATURATED = 0.75
#: A round can change the width if fewer than this many times the width ran at once. More GETs run
#: if readers exceed the limit, or if GETs began under a larger width.
CROWDED = 2.0
#: If the width grows by the factor 1 + g, the throughput must grow by the factor 1 + WORTH * g, and
#: by `NOTICEABLE` in any case.
WORTH = 0.3
NOTICEABLE = 1.04
#: A smaller width is kept if it costs less than this share of the best throughput.
FREE = 0.03
#: The best throughput fades by this share in each round.
FADE = 0.003
#: Rounds without a change before a trial: at first, and at most.
FIRST_REST, LONGEST_REST = 3, 48
#: After a refusal the width is at most this share of the number of GETs that ran.
CUT_TO = 0.75
#: Connections cut within one round that count as a refusal.
CUTS = 3
#: Seconds for which a width that was refused is not tried again: the first time, and at most.
CEILING_S, LONGEST_CEILING_S = 15.0, 240.0

#: An estimate uses this many of the latest samples of each kind.
SAMPLES_KEPT = 64
#: A smaller body comes from buffers, so its rate is not that of the connection.
MEASURABLE_BYTES = 256 * 1024
#: The highest total throughput fades to a half in this time.
TOTAL_HALF_LIFE_S = 30.0

#: The load of a host covers about the last 30 to 60 seconds: the current period of this length and
#: the one before.
LOAD_WINDOW_S = 30.0
#: Number of sources whose host is remembered.
REMEMBERED_SOURCES = 4096
#: Number of hosts that are remembered; each takes a few kilobytes.
REMEMBERED_HOSTS = 16

#: Fetches that readers wait for may exceed the part of their source by this number.
URGENT_EXTRA = 16
#: A source with a running fetch starts no prefetch while so many fetches run, because more only
#: cost memory and thread switches.
PROCESS_WIDTH = 64
#: A queue in which no fetch ended for this long is stalled, or too slow to be counted.
STALLED_AFTER_S = 2.0


@dataclass(slots=True)
class _Round:
    """The GETs of one round."""

    began_s: float
    ended: int = 0
    cut: int = 0
    received_bytes: int = 0
    get_s: float = 0.0
    #: The number of running GETs, summed over time up to ``counted_to_s``, in GET seconds.
    load_s: float = 0.0
    counted_to_s: float = 0.0


class ConcurrencyController:
    """Chooses how many GETs run at once on one host. Not thread-safe: `HostRegistry` locks it.

    :ivar placed: whether the width was chosen by a measurement.
    """

    def __init__(self) -> None:
        self.placed = False
        self._width = BLIND_START_WIDTH
        self._under_way = 0
        self._round = _Round(0.0)
        self._ramping = True
        self._before: tuple[int, float] | None = None  # width and throughput before a trial
        self._best = 0.0
        self._rest = self._rest_length = FIRST_REST
        self._upward = True
        self._ceiling = MAX_WIDTH
        self._ceiling_until_s = 0.0
        self._ceiling_length_s = CEILING_S

    @property
    def width(self) -> int:
        """How many GETs may run at once."""
        return self._width

    def urgent_extra(self, now_s: float) -> int:
        """How many fetches that readers wait for may exceed the part of their source."""
        return 0 if now_s < self._ceiling_until_s else URGENT_EXTRA

    def start_for(self, first_byte_s: float, now_s: float) -> None:
        """Set the first width by this latency; does nothing if the width is `placed`."""
        if self.placed:
            return
        fitting = (width for limit_s, width in START_WIDTHS if first_byte_s <= limit_s)
        width = next(fitting, FAR_START_WIDTH)
        self.placed = True
        self._width = width
        self._round = _Round(now_s, counted_to_s=now_s)

    def began(self, now_s: float) -> None:
        """Count a GET that is sent."""
        # After a pause a new round begins, because the round before the pause was not full.
        if not self._under_way and now_s - self._round.counted_to_s > ROUND_S:
            self._round = _Round(now_s, counted_to_s=now_s)
        self._count_load(now_s)
        self._under_way += 1

    def ended(self, record: GetRecord, now_s: float) -> float | None:
        """Count a GET that has ended.

        :returns: the throughput in bytes/s of the round that this GET completed; None otherwise.
        """
        self._count_load(now_s)
        self._under_way -= 1
        if record.started_s < self._round.began_s:
            return None  # this GET began under another width
        self._round.ended += 1
        self._round.received_bytes += record.received_bytes
        self._round.get_s += record.seconds
        if record.outcome is Outcome.CUT:
            self._round.cut += 1
        if record.outcome is Outcome.OVERLOADED or self._round.cut >= CUTS:
            self._refused(now_s)
            return None
        lasted_s = now_s - self._round.began_s
        if self._round.ended < self._width or lasted_s < ROUND_S:
            return None
        return self._end_round(now_s, lasted_s)

    def _count_load(self, now_s: float) -> None:
        passed_s = max(0.0, now_s - self._round.counted_to_s)
        self._round.load_s += self._under_way * passed_s
        self._round.counted_to_s = now_s

    def _end_round(self, now_s: float, lasted_s: float) -> float:
        load = self._round.load_s / lasted_s
        throughput = load * self._round.received_bytes / max(self._round.get_s, 1e-9)
        if SATURATED * self._width <= load < CROWDED * self._width:
            self.placed = True
            self._judge(throughput, now_s)
        self._round = _Round(now_s, counted_to_s=now_s)
        return throughput

    def _judge(self, throughput: float, now_s: float) -> None:
        """Change the width by the throughput of a round that used it fully."""
        self._best = max(throughput, self._best * (1 - FADE))
        before, self._before = self._before, None
        if before is None:
            self._rest -= 1
            if self._ramping or self._rest <= 0:
                self._try(throughput, now_s)
            return
        if self._stays(throughput, before):
            self._rest_length = FIRST_REST
            self._try(throughput, now_s)
            return
        self._width = before[0]
        if not self._ramping:
            self._upward = not self._upward
            self._rest_length = min(LONGEST_REST, 2 * self._rest_length)
        self._ramping = False
        self._rest = self._rest_length

    def _stays(self, throughput: float, before: tuple[int, float]) -> bool:
        width, reference = before
        if self._width > width:
            growth = self._width / width - 1
            return throughput >= reference * max(NOTICEABLE, 1 + WORTH * growth)
        return throughput >= (1 - FREE) * self._best

    def _try(self, throughput: float, now_s: float) -> None:
        """Try the next width, if there is one."""
        if now_s >= self._ceiling_until_s:
            self._ceiling = MAX_WIDTH
        width = self._width
        if self._ramping:
            target = 2 * width
        elif self._upward:
            target = max(width + 1, round(width * 1.25))
        else:
            target = min(width - 1, round(width * 0.75))
        self._width = max(MIN_WIDTH, min(self._ceiling, target))
        if self._width != width:
            self._before = (width, throughput)
            return
        self._ramping = False  # the width is at a limit: try the other direction next
        self._upward = not self._upward
        self._rest = self._rest_length

    def _refused(self, now_s: float) -> None:
        """Reduce the width, because the host refused the GETs that ran together with this one."""
        load = max(MIN_WIDTH, self._under_way + 1)
        self._ceiling = max(MIN_WIDTH, min(MAX_WIDTH, load - 1))
        self._ceiling_until_s = now_s + self._ceiling_length_s
        self._ceiling_length_s = min(LONGEST_CEILING_S, 2 * self._ceiling_length_s)
        self._width = max(MIN_WIDTH, min(self._width, int(load * CUT_TO)))
        self.placed = True
        self._ramping = False
        self._before = None
        self._upward = True
        self._rest = self._rest_length = FIRST_REST
        self._best = 0.0  # the host may give less now than before it refused
        self._round = _Round(now_s, counted_to_s=now_s)


class _Recent:
    """The last `SAMPLES_KEPT` samples, by age and by size."""

    __slots__ = ("_by_age", "by_size")

    def __init__(self) -> None:
        self._by_age: deque[float] = deque()
        self.by_size: list[float] = []

    def add(self, number: float) -> None:
        if len(self._by_age) == SAMPLES_KEPT:
            oldest = self._by_age.popleft()
            del self.by_size[bisect_left(self.by_size, oldest)]
        self._by_age.append(number)
        insort(self.by_size, number)

    def quantile(self, share: float) -> float | None:
        """The quantile of the samples, ``share`` from 0 to 1; None if there are no samples."""
        numbers = self.by_size
        return numbers[min(len(numbers) - 1, int(share * len(numbers)))] if numbers else None


@dataclass(slots=True)
class Load:
    """Counts of the requests to one host in one period."""

    gets: int = 0
    refused: int = 0
    received_bytes: int = 0
    hedges: int = 0
    hedged_bytes: int = 0

    def __add__(self, other: Load) -> Load:
        """Return the sums of the counts of two periods."""
        return Load(
            self.gets + other.gets,
            self.refused + other.refused,
            self.received_bytes + other.received_bytes,
            self.hedges + other.hedges,
            self.hedged_bytes + other.hedged_bytes,
        )


class Host:
    """One source host. Guarded by the registry's lock, except the limits of GETs.

    The speed is measured by the GETs that the host answered. Latencies and rates are quantiles of
    the last `SAMPLES_KEPT` samples. The total throughput of all connections cannot be measured by a
    single GET: `ConcurrencyController` measures it in rounds. The highest throughput counts,
    because a round with few GETs does not show what the host can do. This value fades to a half in
    `TOTAL_HALF_LIFE_S`.

    :ivar name: the name of the host; empty until it has answered.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.controller = ConcurrencyController()
        self._kept_alive, self._new, self._rates = _Recent(), _Recent(), _Recent()
        self._total, self._total_at_s = 0.0, 0.0
        self._load, self._before, self._since_s = Load(), Load(), 0.0

    @property
    def concurrency_limit(self) -> int:
        """The number of GETs that may run on the host at once. It may change at any time."""
        return self.controller.width

    def urgent_extra(self, now_s: float) -> int:
        """See `ConcurrencyController.urgent_extra`."""
        return self.controller.urgent_extra(now_s)

    def learn(self, record: GetRecord, now_s: float) -> None:
        """Count a GET that has ended: one that this host answered, or that no host answered."""
        overloaded = record.outcome is Outcome.OVERLOADED
        load = self.load(now_s)
        load.gets += 1
        load.refused += overloaded
        load.received_bytes += record.received_bytes
        if record.first_byte_s is None or overloaded:
            return  # this GET does not show the speed of the host
        (self._new if record.new_connection else self._kept_alive).add(record.first_byte_s)
        flowing_s = record.seconds - record.first_byte_s
        if record.received_bytes >= MEASURABLE_BYTES and flowing_s > 0:
            self._rates.add(record.received_bytes / flowing_s)
        if not self.controller.placed:
            self.controller.start_for(self.first_byte_s() or record.first_byte_s, now_s)

    def learn_total(self, bytes_per_s: float, now_s: float) -> None:
        """Add the throughput of all connections in a round that ended now."""
        if bytes_per_s >= self.total_bytes_per_s(now_s):
            self._total, self._total_at_s = bytes_per_s, now_s

    @property
    def latencies_known(self) -> int:
        """The number of latencies measured on kept-alive connections, `SAMPLES_KEPT` at most."""
        return len(self._kept_alive.by_size)

    def first_byte_s(self, share: float = 0.5) -> float | None:
        """The time to the first byte on a kept-alive connection; this ``share`` of GETs is faster.

        If only new connections were measured, it is their time; None if nothing was measured.
        """
        known = self._kept_alive.quantile(share)
        return self._new.quantile(share) if known is None else known

    def connection_bytes_per_s(self, share: float = 0.5) -> float | None:
        """The rate of one connection while bytes flow; this ``share`` of GETs is not faster."""
        return self._rates.quantile(share)

    def total_bytes_per_s(self, now_s: float) -> float:
        """The recent throughput of all connections together; 0.0 if nothing was measured."""
        age_s = max(0.0, now_s - self._total_at_s)
        return float(self._total * 0.5 ** (age_s / TOTAL_HALF_LIFE_S))

    def stats(self, now_s: float) -> HostStats | None:
        """The figures for prefetch and disk admission; None until a rate was measured."""
        latency_s, rate = self.first_byte_s(), self._rates.quantile(0.5)
        if latency_s is None or rate is None:
            return None
        return HostStats(latency_s, rate, max(rate, self.total_bytes_per_s(now_s)))

    def load(self, now_s: float) -> Load:
        """The counts of the current period; the caller may add to them."""
        if now_s - self._since_s >= LOAD_WINDOW_S:
            recent = now_s - self._since_s < 2 * LOAD_WINDOW_S
            self._before, self._load = self._load if recent else Load(), Load()
            self._since_s = now_s
        return self._load

    def recent_load(self, now_s: float) -> Load:
        """The counts of the current period and the one before it."""
        return self.load(now_s) + self._before


class GetTotals(NamedTuple):
    """Counts of GETs since the mount began.

    :ivar begun: GETs that were sent: for reads and for sizes, including repeated GETs and hedges.
    :ivar fetched_bytes: bytes fetched for reads, including those of broken GETs; without the bytes
        fetched for sizes.
    :ivar outcomes: the number of ended GETs for each outcome.
    :ivar hedges: the number of hedges. :ivar hedges_won: hedges that brought a block first.
    """

    begun: int
    fetched_bytes: int
    outcomes: dict[Outcome, int]
    hedges: int
    hedges_won: int


class HostRegistry:
    """The host of each source. Any thread may call it.

    :ivar lock: guards the registry and the hosts; no I/O happens under it.
    :ivar hedges: the number of hedges. :ivar hedges_won: hedges that brought a block first.
    """

    def __init__(self, clock: Clock, tracing: Tracing | None = None) -> None:
        """Know no host yet.

        :param tracing: makes a span of each GET of a read; None: there is no tracing.
        """
        self._tracing = tracing
        self.lock = threading.RLock()
        self.hedges = self.hedges_won = 0
        self._clock = clock
        self._last = Host("")
        self._hosts: LRUCache[str, Host] = LRUCache(REMEMBERED_HOSTS)
        self._of_source: LRUCache[str, Host] = LRUCache(REMEMBERED_SOURCES)
        self._going: dict[str, list[Host]] = {}
        self._begun = self._fetched_bytes = 0
        self._outcomes: Counter[Outcome] = Counter()

    def host_of(self, embed_code: str) -> Host:
        """The host of a source; until the source has answered, the host that was used last."""
        with self.lock:
            return self._of_source.get(embed_code, self._last)

    @property
    def latest(self) -> Host:
        """The host that answered last; a host without a name before any has answered."""
        return self._last

    def stats(self, embed_code: str) -> HostStats | None:
        """The measured speed of a source's host; None until a rate was measured."""
        with self.lock:
            return self.host_of(embed_code).stats(self._clock.monotonic())

    def totals(self) -> GetTotals:
        """All counts at this moment."""
        with self.lock:
            return GetTotals(
                self._begun,
                self._fetched_bytes,
                dict(self._outcomes),
                self.hedges,
                self.hedges_won,
            )

    def began(self, embed_code: str, now_s: float) -> None:
        """Count a GET that is sent."""
        with self.lock:
            host = self._of_source.get(embed_code, self._last)
            # `ended` subtracts the GET from the same host, even if another host answers it.
            self._going.setdefault(embed_code, []).append(host)
            host.controller.began(now_s)
            self._begun += 1

    def ended(self, record: GetRecord) -> None:
        """Count a GET that has ended."""
        now_s = self._clock.monotonic()
        with self.lock:
            self._fetched_bytes += record.received_bytes
            self._outcomes[record.outcome] += 1
            going = self._going[record.embed_code]
            counted_on = going.pop()
            if not going:
                del self._going[record.embed_code]
            host = self._host_of_record(record)
            host.learn(record, now_s)
            latency_s = None if self._tracing is None else host.first_byte_s()
            total = counted_on.controller.ended(record, now_s)
            if total is not None:
                counted_on.learn_total(total, now_s)
        if self._tracing is not None:
            near = latency_s is not None and latency_s < NEAR_S
            self._tracing.request(
                seconds=now_s - record.started_s,
                first_byte_s=record.first_byte_s,
                received_bytes=record.received_bytes,
                new_connection=record.new_connection,
                outcome=record.outcome.value,
                host_class="unknown" if latency_s is None else "near" if near else "far",
            )

    def _host_of_record(self, record: GetRecord) -> Host:
        """Find or make the host that answered a GET. The caller holds the lock."""
        if not record.host:  # no host answered
            return self._of_source.get(record.embed_code, self._last)
        host = self._hosts.get(record.host)
        if host is None:
            # The first host that answers gets the counts of the GETs before its answer.
            host = self._last if not self._last.name else Host(record.host)
            host.name = record.host
            self._hosts[record.host] = host
        self._of_source[record.embed_code] = host
        self._last = host
        return host


class Fetch(Protocol):
    """One GET to be made."""

    @property
    def embed_code(self) -> str:
        """The source, which has the queue for this fetch."""

    @property
    def missing(self) -> ByteRange:
        """The bytes that this GET has to bring and that have not arrived."""

    def run(self) -> None:
        """Make the GET, on a worker's thread; raise nothing."""


@dataclass(slots=True)
class _SourceQueue:
    """The queued fetches of one source, and the number of running ones.

    :ivar served: the bytes of the fetches that were started. A new queue begins with the count of
        the queue that was served last; with a count of 0 it would go before all others for long.
    :ivar last_progress_s: when a fetch of this queue last ended, or began while none was running.
    """

    host: Host
    served: int
    urgent: deque[Fetch] = field(default_factory=deque)
    prefetch: deque[Fetch] = field(default_factory=deque)
    running: int = 0
    last_progress_s: float = 0.0


class _Moving(NamedTuple):
    """The queues and running fetches, without those of stalled queues.

    :ivar queues: the number of queues of each host.
    :ivar running: the number of running fetches of each host.
    :ivar stalled: the embed codes of the stalled queues.
    :ivar now_s: when they were counted.
    """

    queues: Counter[Host]
    running: Counter[Host]
    stalled: set[str]
    now_s: float


class FetchScheduler:
    """Starts fetches on the workers. Any thread may submit one."""

    def __init__(
        self,
        workers: Workers,
        host_of: Callable[[str], Host],
        clock: Clock,
        *,
        max_jobs: int = 256,
    ) -> None:
        """Start nothing yet.

        :param host_of: returns the host of a source; the result may change when a host answers.
        :param max_jobs: the number of fetches that the workers run at once.
        """
        self._workers = workers
        self._host_of = host_of
        self._clock = clock
        self._max_jobs = max_jobs
        self._lock = threading.Lock()
        self._queues: dict[str, _SourceQueue] = {}
        self._waiting: dict[str, _SourceQueue] = {}  # the queues with a fetch to start
        self._before_open: dict[Fetch, None] = {}  # for files that are not open, in their order
        self._running = 0
        self._served = 0  # the count of the queue that was served last

    def submit(self, fetch: Fetch, *, urgent: bool, before_open: bool = False) -> None:
        """Queue a fetch; it starts when the limits allow it.

        :param before_open: the fetch is for a file that is not open; ignored if it is urgent.
        """
        with self._lock:
            if before_open and not urgent:
                self._before_open[fetch] = None
            else:
                self._enqueue(fetch, urgent=urgent)
            jobs = self._due()
        for job in jobs:
            self._workers.submit(job)

    def _enqueue(self, fetch: Fetch, *, urgent: bool) -> None:
        """Add a fetch to the queue of its source. The caller locks."""
        queue = self._queue_of(fetch.embed_code)
        if fetch.embed_code not in self._waiting:
            queue.served = max(queue.served, self._served)  # like the count of a new queue
        (queue.urgent if urgent else queue.prefetch).append(fetch)
        self._waiting[fetch.embed_code] = queue

    def _queue_of(self, embed_code: str) -> _SourceQueue:
        """Return the queue of a source; make one if there is none. The caller locks."""
        queue = self._queues.get(embed_code)
        if queue is None:
            queue = _SourceQueue(self._host_of(embed_code), self._served)
            self._queues[embed_code] = queue
        return queue

    def promote(self, fetch: Fetch) -> None:
        """Move a queued prefetch before all prefetches, because a reader waits for it now."""
        with self._lock:
            queue = self._queues.get(fetch.embed_code)
            if fetch in self._before_open:
                del self._before_open[fetch]
                self._enqueue(fetch, urgent=True)
            elif queue is None or fetch not in queue.prefetch:
                return
            else:
                queue.prefetch.remove(fetch)
                queue.urgent.append(fetch)
            jobs = self._due()
        for job in jobs:
            self._workers.submit(job)

    def _due(self) -> list[Callable[[], None]]:
        """Return the fetches that may start now, as jobs. The caller locks."""
        jobs: list[Callable[[], None]] = []
        if not self._waiting and not self._before_open:
            return jobs
        now_s = self._clock.monotonic()
        moving = _Moving(Counter(), Counter(), set(), now_s)
        for embed_code, queue in self._queues.items():
            if queue.running and now_s - queue.last_progress_s >= STALLED_AFTER_S:
                moving.stalled.add(embed_code)
            else:
                moving.queues[queue.host] += 1
                moving.running[queue.host] += queue.running
        while True:
            # Queues with a waiting reader go first; among them the one that was served the least.
            able = [
                (not queue.urgent, queue.served, embed_code)
                for embed_code, queue in self._waiting.items()
                if self._may_start(embed_code, queue, moving)
            ]
            if able:
                embed_code = min(able, key=lambda rank: rank[:2])[2]
                queue = self._waiting[embed_code]
                fetch = (queue.urgent or queue.prefetch).popleft()
                if not queue.urgent and not queue.prefetch:
                    del self._waiting[embed_code]
            else:
                next_file = next(iter(self._before_open), None)
                if next_file is None or not self._may_start_before_open(next_file, moving):
                    return jobs
                fetch, embed_code = next_file, next_file.embed_code
                del self._before_open[fetch]
                queue = self._queue_of(embed_code)
            if embed_code not in moving.stalled:
                moving.running[queue.host] += 1
            if not queue.running:
                queue.last_progress_s = now_s
            queue.running += 1
            self._running += 1
            self._served = queue.served
            queue.served += fetch.missing.length
            jobs.append(partial(self._run, fetch))

    def _may_start(self, embed_code: str, queue: _SourceQueue, moving: _Moving) -> bool:
        """Whether the limits allow one more fetch of this queue."""
        if queue.urgent and not queue.running:  # the first fetch of a source waits for no other
            return True
        if self._running >= self._max_jobs * 3 // 4:
            return False
        limit = queue.host.concurrency_limit
        part = max(1, limit // max(1, moving.queues[queue.host]))
        if queue.urgent:
            return queue.running < part + queue.host.urgent_extra(moving.now_s)
        if queue.running and moving.running.total() >= PROCESS_WIDTH:
            return False
        spare = embed_code not in moving.stalled and moving.running[queue.host] < limit
        return queue.running < part or spare

    def _may_start_before_open(self, fetch: Fetch, moving: _Moving) -> bool:
        """Whether the limits allow one more fetch for a file that is not open."""
        if self._running >= self._max_jobs * 3 // 4 or moving.running.total() >= PROCESS_WIDTH:
            return False
        host = self._host_of(fetch.embed_code)
        return moving.running[host] < host.concurrency_limit

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
                # The first answer may have shown that the source is on another host.
                queue.host = self._host_of(fetch.embed_code)
                jobs = self._due()
            for number, job in enumerate(jobs):
                self._workers.submit(job, next_here=number == 0)  # this thread is free now
