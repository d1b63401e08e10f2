"""How many GETs run at once on one line: as many as make it faster, no more.

Theory of operation. GETs are counted in *rounds*: a round is over when as many GETs as the width
allows have begun and ended within it (and `ROUND_S` is over). Its throughput is the mean rate of
those GETs, latency included, times the mean number under way: unlike bytes over time, that does not
jump with the moment at which a large GET happens to end.

1. *Start* with a width that fits the latency: a host around the corner is saturated by a few.
2. *Ramp*: double while throughput follows by `WORTH` of what the growth promised; else step back.
3. *Steady*: after some rounds of rest try a quarter more, or a quarter less, in turn. More stays if
   throughput follows as above; less stays if it costs under `FREE` of the best seen (which fades),
   so that small losses do not add up. A trial that failed doubles the rest before the next.
4. A host that answers 429 or 503, or cuts several connections, takes a quarter off at once, once
   per load: GETs that began before the cut say nothing of it. The width at which it happened is a
   ceiling for a while, longer each time.

A round in which fewer GETs ran than the width allows (a player that is content) moves nothing.
Pure: time is handed in.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from backlotfs.source.timed_get import GetRecord, Outcome

#: Bounds of the width.
MIN_WIDTH, MAX_WIDTH = 2, 32
#: Latency up to which a start with the first width fits, and the width beyond the last.
START_WIDTHS = ((0.003, 4), (0.010, 8))
FAR_START_WIDTH = 16
#: While nothing is known of the line.
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


@dataclass(slots=True)
class _Round:
    """The GETs of the present width."""

    began_s: float
    ended: int = 0
    cut: int = 0
    received_bytes: int = 0
    get_s: float = 0.0
    #: Integral of the number under way, in GET seconds, up to ``counted_to_s``.
    load_s: float = 0.0
    counted_to_s: float = 0.0


class ConcurrencyController:
    """The width of one line. Any thread may call it; each call is a few operations."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = BLIND_START_WIDTH
        self._under_way = 0
        self._round = _Round(0.0)
        self._placed = False  # whether the width was ever set by what was seen
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
        """Begin with what fits this latency: the first one told, before anything was measured."""
        if self._placed:  # nearly always, and never taken back: no lock needed to see it
            return
        fitting = (width for limit_s, width in START_WIDTHS if first_byte_s <= limit_s)
        width = next(fitting, FAR_START_WIDTH)
        with self._lock:
            if not self._placed:
                self._placed = True
                self._width = width
                self._round = _Round(now_s, counted_to_s=now_s)

    def began(self, now_s: float) -> None:
        """A GET goes out."""
        with self._lock:
            # After a pause: what came before it was not all there was to ask.
            if not self._under_way and now_s - self._round.counted_to_s > ROUND_S:
                self._round = _Round(now_s, counted_to_s=now_s)
            self._count_load(now_s)
            self._under_way += 1

    def ended(self, record: GetRecord, now_s: float) -> float | None:
        """A GET is over.

        :returns: the throughput in bytes/s of the round that this GET completed; None otherwise.
        """
        with self._lock:
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
            self._placed = True
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
        """The host had enough of what was under way (this GET, which is over, included)."""
        load = max(MIN_WIDTH, min(self._width, self._under_way + 1))
        self._ceiling = max(MIN_WIDTH, load - 1)
        self._ceiling_until_s = now_s + self._ceiling_length_s
        self._ceiling_length_s = min(LONGEST_CEILING_S, 2 * self._ceiling_length_s)
        self._width = max(MIN_WIDTH, int(load * CUT_TO))
        self._placed = True
        self._ramping = False
        self._before = None
        self._upward = True
        self._rest = self._rest_length = FIRST_REST
        self._best = 0.0  # what the host gave before it refused is no measure of what it gives
        self._round = _Round(now_s, counted_to_s=now_s)
