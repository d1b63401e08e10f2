# SPDX-License-Identifier: Apache-2.0
"""Whatever is submitted, promoted and ended, in whatever order: bounds hold and nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backlotfs.byterange import ByteRange
from backlotfs.fetch.hosts import STALLED_AFTER_S, URGENT_EXTRA, FetchScheduler, Host
from tests.fakes.clocks import ManualClock
from tests.fakes.sources import OneHost
from tests.fakes.workers import HeldWorkers

SOURCES = 5
PLACES = 24


class Piece:
    """A transfer that notes how often it ran."""

    def __init__(self, embed_code: str, size: int) -> None:
        self.embed_code = embed_code
        self.missing = ByteRange(0, size)
        self.runs = 0

    def run(self) -> None:
        self.runs += 1


class Harness:
    """A queue over two lines, driven by numbers."""

    def __init__(self, widths: tuple[int, int]) -> None:
        self.lines = [OneHost(width) for width in widths]
        self.workers = HeldWorkers()
        self.clock = ManualClock()
        self.queue = FetchScheduler(self.workers, self.host_of, self.clock, max_jobs=PLACES)
        self.pieces: list[Piece] = []

    def host_of(self, embed_code: str) -> Host:
        """The host of a source."""
        return self.lines[int(embed_code) % 2]

    def step(self, kind: str, number: int) -> None:
        """One thing that may happen."""
        if kind in ("ahead", "urgent"):
            piece = Piece(str(number % SOURCES), 1000 * (number + 1))
            self.pieces.append(piece)
            self.queue.submit(piece, urgent=kind == "urgent")
        elif kind == "promote" and self.pieces:
            self.queue.promote(self.pieces[number % len(self.pieces)])
        elif kind == "end" and self.workers.jobs:
            self.workers.jobs.rotate(-number)
            self.workers.jobs.popleft()()
        elif kind == "pass":
            self.clock.advance(number / 40 * STALLED_AFTER_S)
        elif kind == "width":
            self.lines[number % 2].limit = 1 + number % 16

    def check(self) -> None:
        """What must hold at every moment."""
        queue = self.queue
        lanes = queue._queues.values()
        running = sum(lane.running for lane in lanes)
        assert running == queue._running == len(self.workers.jobs)
        for lane in lanes:
            assert lane.running <= 16 + URGENT_EXTRA
            assert lane.running or not lane.urgent  # a reader's first waits for no other source
        assert running <= PLACES * 3 // 4 + SOURCES


steps = st.lists(
    st.tuples(
        st.sampled_from(["ahead", "urgent", "promote", "end", "end", "pass", "width"]),
        st.integers(0, 40),
    ),
    max_size=120,
)


@given(widths=st.tuples(st.integers(1, 16), st.integers(1, 16)), steps=steps)
def test_bounds_and_nothing_lost(widths: tuple[int, int], steps: list[tuple[str, int]]) -> None:
    """Counts agree with what runs, no lane exceeds its places, each transfer runs once."""
    harness = Harness(widths)
    for kind, number in steps:
        harness.step(kind, number)
        harness.check()
    harness.workers.run_all()
    assert all(piece.runs == 1 for piece in harness.pieces)
    assert not harness.queue._queues
    assert not harness.queue._waiting
