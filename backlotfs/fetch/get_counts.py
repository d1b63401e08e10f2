"""How many GETs went to source hosts, what they brought, and how they ended."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

from backlotfs.source.timed_get import GetMeter, GetRecord, Outcome


class GetTotals(NamedTuple):
    """Since the mount began.

    :ivar begun: GETs that went out: reads, probes of sizes, attempts again and hedges.
    :ivar fetched_bytes: for reads, also by GETs that were cut or given up; not the probes.
    :ivar outcomes: GETs that are over, by how they ended.
    """

    begun: int
    fetched_bytes: int
    outcomes: dict[Outcome, int]


class GetCounts:
    """A `GetMeter` that counts, and tells the next one. Any thread may call it."""

    def __init__(self, meter: GetMeter) -> None:
        """``meter``: is told all the same."""
        self._meter = meter
        self._lock = threading.Lock()
        self._begun = 0
        self._fetched_bytes = 0
        self._outcomes: Counter[Outcome] = Counter()

    def began(self, embed_code: str, now_s: float) -> None:
        """A GET goes out."""
        with self._lock:
            self._begun += 1
        self._meter.began(embed_code, now_s)

    def ended(self, record: GetRecord) -> None:
        """It is over."""
        with self._lock:
            self._fetched_bytes += record.received_bytes
            self._outcomes[record.outcome] += 1
        self._meter.ended(record)

    def totals(self) -> GetTotals:
        """All of one moment."""
        with self._lock:
            return GetTotals(self._begun, self._fetched_bytes, dict(self._outcomes))
