# SPDX-License-Identifier: Apache-2.0
"""Which line a source is on, and what its GETs do to it."""

from __future__ import annotations

import pytest

from backlotfs.fetch.hosts import FAR_START_WIDTH, GetTotals, HostRegistry
from backlotfs.source.signed_get import GetRecord, Outcome
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import in_threads, join_all

MB = 1_000_000


class Known:
    """Lines, and GETs that take place at once."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.lines = HostRegistry(self.clock)

    def get(
        self,
        embed_code: str,
        host: str = "host",
        *,
        first_byte_s: float | None = 0.03,
        outcome: Outcome = Outcome.WHOLE,
    ) -> None:
        """One GET from beginning to end."""
        started_s = self.clock.monotonic()
        self.lines.began(embed_code, started_s)
        self.clock.advance(0.13)
        self.lines.ended(
            GetRecord(host, embed_code, False, started_s, first_byte_s, 0.13, 6 * MB, outcome)
        )


def test_sources_of_one_host_share_a_line() -> None:
    """What one taught, the next knows before its first GET."""
    known = Known()
    assert known.lines.stats("E1") is None
    known.get("E1")
    figures = known.lines.stats("never asked for")
    assert figures is not None
    assert figures.latency_s == 0.03
    assert figures.connection_bytes_per_s == pytest.approx(60 * MB)
    assert known.lines.host_of("E1") is known.lines.host_of("never asked for")
    assert known.lines.host_of("E1").concurrency_limit == FAR_START_WIDTH


def test_hosts_are_apart() -> None:
    """A slow host says nothing of a fast one, once each has answered."""
    known = Known()
    known.get("E1", "far", first_byte_s=0.1)
    known.get("E2", "near", first_byte_s=0.001)
    assert known.lines.host_of("E1").name == "far"
    assert known.lines.host_of("E2").name == "near"
    assert known.lines.host_of("E1").concurrency_limit == FAR_START_WIDTH
    assert known.lines.host_of("E2").concurrency_limit == 4
    assert known.lines.host_of("new").name == "near"  # the one used last
    known.get("E1", "near")  # its URLs may lead elsewhere one day
    assert known.lines.host_of("E1") is known.lines.host_of("E2")


def test_no_answer_is_no_line() -> None:
    """A GET that never got through leaves the source where it was taken to be."""
    known = Known()
    known.get("E1", "", first_byte_s=None, outcome=Outcome.CUT)
    assert known.lines.host_of("E1").name == ""
    known.get("E1", "host")
    known.get("E2", "", first_byte_s=None, outcome=Outcome.CUT)
    assert known.lines.host_of("E2").name == "host"


def test_counted_off_where_it_was_counted_on() -> None:
    """GETs that begin before the host is known end on the line they began on."""
    known = Known()
    known.get("E1", "one")
    now_s = known.clock.monotonic()
    for _ in range(2):
        known.lines.began("E2", now_s)
    for host in ("two", "two"):
        known.lines.ended(GetRecord(host, "E2", False, now_s, 0.1, 0.1, 1, Outcome.WHOLE))
    known.get("E2", "two")
    assert known.lines.host_of("E1").controller._under_way == 0
    assert known.lines.host_of("E2").controller._under_way == 0
    assert not known.lines._going
    known.lines.began("E1", now_s)
    assert known.lines.host_of("E1").controller._under_way == 1


def test_gets_are_counted() -> None:
    """One that goes on has begun and not ended; its bytes count when it ends."""
    known = Known()
    known.get("E1")
    known.get("E1", outcome=Outcome.CUT)
    known.lines.began("E2", 1.0)
    outcomes = {Outcome.WHOLE: 1, Outcome.CUT: 1}
    assert known.lines.totals() == GetTotals(3, 12 * MB, outcomes, hedges=0, hedges_won=0)


def test_many_threads() -> None:
    """Counts come out even."""
    lines = HostRegistry(ManualClock())

    def gets(thread: int) -> None:
        for number in range(200):
            code, host = f"E{(thread + number) % 3}", f"host{number % 2}"
            lines.began(code, 1.0)
            lines.ended(GetRecord(host, code, False, 1.0, 0.1, 0.2, 1, Outcome.WHOLE))

    threads = in_threads(4, gets)
    join_all(threads)
    assert not lines._going
    for code in ("E0", "E1", "E2"):
        assert lines.host_of(code).controller._under_way == 0
