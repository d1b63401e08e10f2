"""The source hosts: how fast each is, how many GETs run on it at once, and how its GETs ended.

The host of a source is known only once it has answered. Until then the source is taken to be on the
host that was used last: an account's sources are nearly always on one host. `HostRegistry` is the
`source.signed_get.GetMeter`: every GET is reported to it when it begins and when it ends.

Theory of the concurrency limit. GETs are counted in *rounds*: a round is over when as many GETs as
the width allows have begun and ended within it (and `ROUND_S` is over). Its throughput is the mean
rate of those GETs, latency included, times the mean number under way: unlike bytes over time, that
does not jump with the moment at which a large GET happens to end.

1. *Start* with a width that fits the latency: a near host is saturated by a few GETs.
2. *Ramp*: double while throughput follows by `WORTH` of what the growth promised; else step back.
3. *Steady*: after some rounds of rest try a quarter more, or a quarter less, in turn. More stays if
   throughput follows as above; less stays if it costs under `FREE` of the best seen (which fades),
   so that small losses do not add up. A trial that failed doubles the rest before the next.
4. A host that answers 429 or 503, or cuts several connections, takes a quarter off at once, once
   per load: GETs that began before the cut say nothing of it. The width at which it happened is a
   ceiling for a while, longer each time.

A round in which fewer GETs ran than the width allows (a player with a pace of its own) moves
nothing.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple

from cachetools import LRUCache

from backlotfs.concurrency.clock import Clock
from backlotfs.source.bandwidth import HostStats
from backlotfs.source.signed_get import GetRecord, Outcome

#: Bounds of the width.
MIN_WIDTH, MAX_WIDTH = 2, 32
#: Latency up to which a start with the first width fits, and the width beyond the last.
START_WIDTHS = ((0.003, 4), (0.010, 8))
FAR_START_WIDTH = 16
#: While nothing is known of the host.
BLIND_START_WIDTH = 8
#: A round lasts at least this long: shorter ones measure the scheduler.
ROUND_S = 0.05
#: A round counts when at least this share of the width was under way.
SATURATED = 0.75
#: … and at most so many times it: readers' extra places, or GETs left over from a greater width.
CROWDED = 1.5
#: Growth by a factor 1 + g must bring a factor 1 + WORTH * g, and `NOTICEABLE` in any case.
WORTH = 0.3
NOTICEABLE = 1.04
#: A smaller width may cost this share of the best throughput.
FREE = 0.03
#: Share of the best that each round forgets.
FADE = 0.003
#: Rounds of rest before a trial: at first, and at most.
FIRST_REST, LONGEST_REST = 3, 48
#: What a refusal leaves of the width.
CUT_TO = 0.75
#: Connections cut within one round that count as a refusal.
CUTS = 3
#: For how long a width that was refused is not tried again, the first time and at most.
CEILING_S, LONGEST_CEILING_S = 15.0, 240.0

#: Samples of each kind that an estimate is made from.
KEPT = 64
#: A body smaller than this comes out of buffers: its rate is no rate of the connection.
MEASURABLE_BYTES = 256 * 1024
#: How fast the greatest total is forgotten.
TOTAL_HALF_LIFE_S = 30.0

#: The load of a host is known for the last so many seconds, up to twice that.
LOAD_WINDOW_S = 30.0
#: Sources whose host is remembered.
REMEMBERED_SOURCES = 4096
#: Hosts that are remembered; each takes a few kilobytes.
REMEMBERED_HOSTS = 16


@dataclass(slots=True)
class _Round:
    """The GETs since the present width was chosen."""

    began_s: float
    ended: int = 0
    cut: int = 0
    received_bytes: int = 0
    get_s: float = 0.0
    #: Integral of the number under way, in GET seconds, up to ``counted_to_s``.
    load_s: float = 0.0
    counted_to_s: float = 0.0


class ConcurrencyController:
    """Chooses how many GETs run at once on one host. Not thread-safe: its owner locks.

    :ivar placed: the width was chosen by what was measured.
    """

    def __init__(self) -> None:
        self.placed = False
        self._width = BLIND_START_WIDTH
        self._under_way = 0
        self._round = _Round(0.0)
        self._ramping = True
        self._before: tuple[int, float] | None = None  # width and throughput a trial goes against
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

    def start_for(self, first_byte_s: float, now_s: float) -> None:
        """Begin with what fits this latency; without effect once the width is `placed`."""
        if self.placed:
            return
        fitting = (width for limit_s, width in START_WIDTHS if first_byte_s <= limit_s)
        width = next(fitting, FAR_START_WIDTH)
        self.placed = True
        self._width = width
        self._round = _Round(now_s, counted_to_s=now_s)

    def began(self, now_s: float) -> None:
        """Count a GET that is sent."""
        # After a pause: what came before it was not all there was to ask.
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
            return None  # it ran, at least in part, under another width
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
        if SATURATED * self._width <= load <= CROWDED * self._width:
            self.placed = True
            self._judge(throughput, now_s)
        self._round = _Round(now_s, counted_to_s=now_s)
        return throughput

    def _judge(self, throughput: float, now_s: float) -> None:
        """Move the width by what a saturated round showed."""
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
        """Take the next width on trial, if there is one."""
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
        self._ramping = False  # at a bound: the other direction is next
        self._upward = not self._upward
        self._rest = self._rest_length

    def _refused(self, now_s: float) -> None:
        """Cut the width: the host refused what was under way (with this GET, which is over)."""
        load = max(MIN_WIDTH, min(self._width, self._under_way + 1))
        self._ceiling = max(MIN_WIDTH, load - 1)
        self._ceiling_until_s = now_s + self._ceiling_length_s
        self._ceiling_length_s = min(LONGEST_CEILING_S, 2 * self._ceiling_length_s)
        self._width = max(MIN_WIDTH, int(load * CUT_TO))
        self.placed = True
        self._ramping = False
        self._before = None
        self._upward = True
        self._rest = self._rest_length = FIRST_REST
        self._best = 0.0  # what the host gave before it refused is no measure of what it gives
        self._round = _Round(now_s, counted_to_s=now_s)


class _Recent:
    """The last `KEPT` numbers, by age and by size."""

    __slots__ = ("_by_age", "by_size")

    def __init__(self) -> None:
        self._by_age: deque[float] = deque()
        self.by_size: list[float] = []

    def add(self, number: float) -> None:
        if len(self._by_age) == KEPT:
            oldest = self._by_age.popleft()
            del self.by_size[bisect_left(self.by_size, oldest)]
        self._by_age.append(number)
        insort(self.by_size, number)

    def quantile(self, share: float) -> float | None:
        """The number that ``share`` of them do not exceed; None if there are none."""
        numbers = self.by_size
        return numbers[min(len(numbers) - 1, int(share * len(numbers)))] if numbers else None


class LinkEstimate:
    """The measured speed of one host, learned from the GETs that it answered.

    Latencies and rates are medians and percentiles over the last `KEPT` samples: exact, cheap at
    this number, and old ones drop out by themselves. What all connections carry together cannot be
    read off a single GET: `ConcurrencyController` measures it in rounds. Of those the greatest
    counts, fading by half in `TOTAL_HALF_LIFE_S`, because a round in which little was asked says
    nothing of what the host could bring. Not thread-safe: its owner locks.
    """

    def __init__(self) -> None:
        self._kept_alive = _Recent()
        self._new = _Recent()
        self._rates = _Recent()
        self._total = 0.0
        self._total_at_s = 0.0

    def observe(self, record: GetRecord) -> None:
        """Learn from a GET that has ended, if its answer says something of the host's speed."""
        if record.first_byte_s is None or record.outcome is Outcome.OVERLOADED:
            return
        (self._new if record.new_connection else self._kept_alive).add(record.first_byte_s)
        flowing_s = record.seconds - record.first_byte_s
        if record.received_bytes >= MEASURABLE_BYTES and flowing_s > 0:
            self._rates.add(record.received_bytes / flowing_s)

    def observe_total(self, bytes_per_s: float, now_s: float) -> None:
        """Learn what all connections together carried in a round that ended now."""
        if bytes_per_s >= self.total_bytes_per_s(now_s):
            self._total, self._total_at_s = bytes_per_s, now_s

    @property
    def latencies_known(self) -> int:
        """Samples of the first byte on kept-alive connections, `KEPT` at most."""
        return len(self._kept_alive.by_size)

    def first_byte_s(self, share: float = 0.5) -> float | None:
        """Seconds to the first byte on a kept-alive connection that ``share`` of GETs keep within.

        From new connections while there are no others; None while nothing is known.
        """
        known = self._kept_alive.quantile(share)
        return self._new.quantile(share) if known is None else known

    def connection_bytes_per_s(self, share: float = 0.5) -> float | None:
        """Rate of one connection while bytes flow: ``share`` of GETs were not faster."""
        return self._rates.quantile(share)

    def total_bytes_per_s(self, now_s: float) -> float:
        """What all connections together lately achieved; 0.0 while nothing is known."""
        age_s = max(0.0, now_s - self._total_at_s)
        return float(self._total * 0.5 ** (age_s / TOTAL_HALF_LIFE_S))

    def stats(self, now_s: float) -> HostStats | None:
        """What prefetch and disk admission go by; None until a connection's rate is known."""
        latency_s, rate = self.first_byte_s(), self._rates.quantile(0.5)
        if latency_s is None or rate is None:
            return None
        return HostStats(latency_s, rate, max(rate, self.total_bytes_per_s(now_s)))


@dataclass(slots=True)
class Load:
    """What a host was asked for, and how it took it."""

    gets: int = 0
    refused: int = 0
    received_bytes: int = 0
    hedges: int = 0
    hedged_bytes: int = 0

    def __add__(self, other: Load) -> Load:
        """Add up."""
        return Load(
            self.gets + other.gets,
            self.refused + other.refused,
            self.received_bytes + other.received_bytes,
            self.hedges + other.hedges,
            self.hedged_bytes + other.hedged_bytes,
        )


class Host:
    """One source host. Guarded by the registry's lock, except `concurrency_limit`.

    :ivar name: of the host; empty while it has not answered.
    """

    __slots__ = ("_before", "_load", "_since_s", "controller", "estimate", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.estimate = LinkEstimate()
        self.controller = ConcurrencyController()
        self._load, self._before, self._since_s = Load(), Load(), 0.0

    @property
    def concurrency_limit(self) -> int:
        """How many GETs may run on the host at once."""
        return self.controller.width

    def load(self, now_s: float) -> Load:
        """The load of this moment, to be added to."""
        if now_s - self._since_s >= LOAD_WINDOW_S:
            recent = now_s - self._since_s < 2 * LOAD_WINDOW_S
            self._before, self._load = self._load if recent else Load(), Load()
            self._since_s = now_s
        return self._load

    def recent_load(self, now_s: float) -> Load:
        """The load over the last `LOAD_WINDOW_S` to twice that."""
        return self.load(now_s) + self._before

    def learn(self, record: GetRecord, now_s: float) -> None:
        """Learn from a GET that the host answered, or that went to no other host."""
        self.estimate.observe(record)
        overloaded = record.outcome is Outcome.OVERLOADED
        load = self.load(now_s)
        load.gets += 1
        load.refused += overloaded
        load.received_bytes += record.received_bytes
        if not self.controller.placed and record.first_byte_s is not None and not overloaded:
            first_byte_s = self.estimate.first_byte_s()
            self.controller.start_for(first_byte_s or record.first_byte_s, now_s)


class GetTotals(NamedTuple):
    """What was counted of GETs since the mount began.

    :ivar begun: GETs that were sent: reads, probes of sizes, attempts again and hedges.
    :ivar fetched_bytes: for reads, also by GETs that were cut or given up; not the probes.
    :ivar outcomes: GETs that have ended, by how they ended.
    :ivar hedges: how many were hedges. :ivar hedges_won: how many of them brought a block first.
    """

    begun: int
    fetched_bytes: int
    outcomes: dict[Outcome, int]
    hedges: int
    hedges_won: int


class HostRegistry:
    """The host of each source. Any thread may call it.

    :ivar lock: guards the hosts, too; it is held for arithmetic only.
    :ivar hedges: hedges that were made. :ivar hedges_won: those that brought a block first.
    """

    def __init__(self, clock: Clock) -> None:
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
        """The host of a source; the one that was used last while the source has not answered."""
        with self.lock:
            return self._of_source.get(embed_code, self._last)

    def stats(self, embed_code: str) -> HostStats | None:
        """The measured speed of a source's host; None while too little is known."""
        with self.lock:
            return self.host_of(embed_code).estimate.stats(self._clock.monotonic())

    def totals(self) -> GetTotals:
        """All counts, of one moment."""
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
            # It is counted off the host that it was counted on, whichever host answers.
            self._going.setdefault(embed_code, []).append(host)
            host.controller.began(now_s)
            self._begun += 1

    def ended(self, record: GetRecord) -> None:
        """Learn from a GET that has ended."""
        now_s = self._clock.monotonic()
        with self.lock:
            self._fetched_bytes += record.received_bytes
            self._outcomes[record.outcome] += 1
            going = self._going[record.embed_code]
            counted_on = going.pop()
            if not going:
                del self._going[record.embed_code]
            self._host_of_record(record).learn(record, now_s)
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
