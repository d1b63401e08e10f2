"""How many GETs there were, what they brought, and how they ended."""

from __future__ import annotations

from backlotfs.fetch.get_counts import GetCounts, GetTotals
from backlotfs.source.timed_get import GetRecord, Outcome


class Noted:
    """A meter that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def began(self, embed_code: str, now_s: float) -> None:
        self.told.append((embed_code, now_s))

    def ended(self, record: GetRecord) -> None:
        self.told.append(record)


def test_counted_and_passed_on() -> None:
    """One that goes on is begun and not over; the next meter hears it all."""
    noted = Noted()
    counts = GetCounts(noted)
    whole = GetRecord("h", "E1", True, 0.0, 0.1, 0.2, 100, Outcome.WHOLE)
    cut = whole._replace(received_bytes=7, outcome=Outcome.CUT)
    for record in (whole, cut):
        counts.began("E1", 1.0)
        counts.ended(record)
    counts.began("E1", 2.0)
    assert counts.totals() == GetTotals(3, 107, {Outcome.WHOLE: 1, Outcome.CUT: 1})
    assert noted.told == [("E1", 1.0), whole, ("E1", 1.0), cut, ("E1", 2.0)]
