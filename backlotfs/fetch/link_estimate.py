"""The measured speed of one source host, learned from the GETs that it answered.

Latencies and rates are medians and percentiles over the last `KEPT` samples: exact, cheap at this
number, and old ones drop out by themselves. What all connections carry together cannot be read off
a single GET: `ConcurrencyController` measures it in rounds. Of those the greatest counts, fading by
half in `TOTAL_HALF_LIFE_S`, because a round in which little was asked says nothing of what the
host could bring.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import deque

from backlotfs.source.timed_get import GetRecord, HostStats, Outcome

#: Samples of each kind.
KEPT = 64
#: A body smaller than this comes out of buffers: its rate is no rate of the line.
MEASURABLE_BYTES = 256 * 1024
#: How fast the greatest total is forgotten.
TOTAL_HALF_LIFE_S = 30.0


class _Recent:
    """The last `KEPT` numbers, by age and by size."""

    __slots__ = ("_by_age", "_by_size")

    def __init__(self) -> None:
        self._by_age: deque[float] = deque()
        self._by_size: list[float] = []

    def __len__(self) -> int:
        return len(self._by_size)

    def add(self, number: float) -> None:
        if len(self._by_age) == KEPT:
            oldest = self._by_age.popleft()
            del self._by_size[bisect_left(self._by_size, oldest)]
        self._by_age.append(number)
        insort(self._by_size, number)

    def quantile(self, share: float) -> float:
        """The number that ``share`` of them do not exceed; there must be one."""
        return self._by_size[min(len(self._by_size) - 1, int(share * len(self._by_size)))]


class LinkEstimate:
    """A running estimate. Any thread may call it; no method does more than sort one number in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept_alive = _Recent()
        self._new = _Recent()
        self._rates = _Recent()
        self._total = 0.0
        self._total_at_s = 0.0

    def observe(self, record: GetRecord) -> None:
        """Learn from a GET that is over; one that was refused still tells its latency."""
        if record.first_byte_s is None or record.outcome is Outcome.OVERLOADED:
            return
        flowing_s = record.seconds - record.first_byte_s
        with self._lock:
            (self._new if record.new_connection else self._kept_alive).add(record.first_byte_s)
            if record.received_bytes >= MEASURABLE_BYTES and flowing_s > 0:
                self._rates.add(record.received_bytes / flowing_s)

    def observe_total(self, bytes_per_s: float, now_s: float) -> None:
        """Learn what all connections together carried in a round that ended now."""
        with self._lock:
            faded = self._faded(now_s)
            if bytes_per_s >= faded:
                self._total, self._total_at_s = bytes_per_s, now_s

    @property
    def latencies_known(self) -> int:
        """Samples of the first byte on kept-alive connections, `KEPT` at most."""
        return len(self._kept_alive)

    def first_byte_s(self, share: float = 0.5) -> float | None:
        """Seconds to the first byte on a kept-alive connection that ``share`` of GETs keep within.

        From new connections while there are no others; None while nothing is known.
        """
        with self._lock:
            for samples in (self._kept_alive, self._new):
                if len(samples):
                    return samples.quantile(share)
            return None

    def connection_bytes_per_s(self, share: float = 0.5) -> float | None:
        """Rate of one connection while bytes flow: ``share`` of GETs were not faster."""
        with self._lock:
            return self._rates.quantile(share) if len(self._rates) else None

    def total_bytes_per_s(self, now_s: float) -> float | None:
        """What all connections together lately achieved; None while nothing is known."""
        with self._lock:
            return self._faded(now_s) or None

    def stats(self, now_s: float) -> HostStats | None:
        """What the read planner goes by; None until a connection's rate is known."""
        latency_s, rate = self.first_byte_s(), self.connection_bytes_per_s()
        if latency_s is None or rate is None:
            return None
        return HostStats(latency_s, rate, max(rate, self.total_bytes_per_s(now_s) or 0.0))

    def _faded(self, now_s: float) -> float:
        """With the lock held."""
        age_s = max(0.0, now_s - self._total_at_s)
        return float(self._total * 0.5 ** (age_s / TOTAL_HALF_LIFE_S))
