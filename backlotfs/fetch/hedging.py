"""When to ask a second time for what a reader waits for, and how often at most.

A GET that takes longer than nearly all others did is asked for again, on another connection; the
first answer wins. What "longer than nearly all" means is learned: `TAIL` of the first bytes came
sooner, `TAIL` of the connections were faster. Never below `FLOOR_S`, which lies above the
handshakes of a new connection to a host 30 ms away: below it a hedge gains less than it costs.

Cost is bounded three ways, so that a host which is slow for everybody is not asked twice for
everything: by a share of the requests, by a share of the bytes (each over a sliding time, with a
small allowance, or the first GET that stalls could never be hedged), and by a number at once per
source. A host that refuses more than `REFUSED` of what it is asked is not helped by being asked
twice; one that refuses a GET now and then is, for the others it lets hang. Pure: time is handed in.
"""

from __future__ import annotations

import threading

from backlotfs.fetch.link_estimate import LinkEstimate
from backlotfs.source.timed_get import GetRecord, Outcome

#: The part of GETs that is not the slow tail.
TAIL = 0.95
#: A GET is late after this many times what the tail takes.
PATIENCE = 1.5
#: No hedge before this; and before so much while too little is known.
FLOOR_S = 0.15
BLIND_S = 1.0
#: Latencies that make an estimate of a tail.
ENOUGH_SAMPLES = 20
#: Hedges per request, hedged bytes per byte, over `WINDOW_S` to twice that.
SHARE = 0.05
WINDOW_S = 30.0
#: The part of the requests over the same time that a host may refuse (429, 503) and be hedged.
REFUSED = 0.05
#: What is allowed beyond the share.
ALLOWED_HEDGES = 2
ALLOWED_BYTES = 1024 * 1024
#: Hedges under way for one source.
AT_ONCE = 2


class _SlidingSum:
    """A sum over the last `WINDOW_S` to twice that."""

    __slots__ = ("_before", "_now", "_since_s")

    def __init__(self) -> None:
        self._before = 0
        self._now = 0
        self._since_s = 0.0

    def add(self, number: int, now_s: float) -> None:
        self.total(now_s)
        self._now += number

    def total(self, now_s: float) -> int:
        if now_s - self._since_s >= WINDOW_S:
            recent = now_s - self._since_s < 2 * WINDOW_S
            self._before, self._now = self._now if recent else 0, 0
            self._since_s = now_s
        return self._before + self._now


class Hedger:
    """Decides for one line. Any thread may call it."""

    def __init__(self, estimate: LinkEstimate) -> None:
        """``estimate``: of the same line; only read."""
        self._estimate = estimate
        self._lock = threading.Lock()
        self._requests = _SlidingSum()
        self._bytes = _SlidingSum()
        self._refused = _SlidingSum()
        self._hedges = _SlidingSum()
        self._hedged_bytes = _SlidingSum()
        self._under_way: dict[str, int] = {}
        #: Hedges ever made, and those that came first: for `stats`.
        self.made = 0
        self.won = 0

    def delay_s(self, length_bytes: int) -> float:
        """How long a reader waits for ``length_bytes``, from the GET's start, before a hedge."""
        estimate = self._estimate
        latency_s = estimate.first_byte_s(TAIL)
        if latency_s is None or estimate.latencies_known < ENOUGH_SAMPLES:
            return BLIND_S
        slow_bytes_per_s = estimate.connection_bytes_per_s(1 - TAIL)
        flowing_s = length_bytes / slow_bytes_per_s if slow_bytes_per_s else 0.0
        return max(FLOOR_S, PATIENCE * (latency_s + flowing_s))

    def record(self, get: GetRecord, now_s: float) -> None:
        """Count a GET that is over, hedges too: they are what the shares are taken of."""
        with self._lock:
            self._requests.add(1, now_s)
            self._bytes.add(get.received_bytes, now_s)
            self._refused.add(get.outcome is Outcome.OVERLOADED, now_s)

    def may_hedge(self, source: str, length_bytes: int, now_s: float) -> bool:
        """Whether a hedge of ``length_bytes`` is within the bounds; asking changes nothing."""
        with self._lock:
            return self._allowed(source, length_bytes, now_s)

    def begin(self, source: str, length_bytes: int, now_s: float) -> bool:
        """Book a hedge, if it is allowed; exactly one `end` must follow a True."""
        with self._lock:
            if not self._allowed(source, length_bytes, now_s):
                return False
            self._hedges.add(1, now_s)
            self._hedged_bytes.add(length_bytes, now_s)
            self._under_way[source] = self._under_way.get(source, 0) + 1
            self.made += 1
            return True

    def end(self, source: str, *, won: bool) -> None:
        """A hedge is over. ``won``: it brought what the first GET had not."""
        with self._lock:
            left = self._under_way.pop(source) - 1
            if left:
                self._under_way[source] = left
            self.won += won

    def _allowed(self, source: str, length_bytes: int, now_s: float) -> bool:
        """With the lock held."""
        if self._under_way.get(source, 0) >= AT_ONCE:
            return False
        requests = self._requests.total(now_s)
        if self._refused.total(now_s) > REFUSED * requests:
            return False
        hedges = self._hedges.total(now_s) + 1
        hedged_bytes = self._hedged_bytes.total(now_s) + length_bytes
        return (
            hedges <= ALLOWED_HEDGES + SHARE * requests
            and hedged_bytes <= ALLOWED_BYTES + SHARE * self._bytes.total(now_s)
        )
