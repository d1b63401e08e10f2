"""Lanes beside each other: the line's width, fair shares, stalled sources."""

from __future__ import annotations

from functools import partial

from backlotfs.byterange import ByteRange
from backlotfs.fetch.scheduler import (
    PROCESS_WIDTH,
    STALLED_AFTER_S,
    URGENT_EXTRA,
    FetchScheduler,
    HostLimit,
)
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import HeldWorkers


class Width:
    """A line whose width the test sets."""

    def __init__(self, width: int) -> None:
        self.concurrency_limit = width


class Piece:
    """A transfer of so many bytes."""

    def __init__(self, embed_code: str, size: int) -> None:
        self.embed_code = embed_code
        self.missing = ByteRange(0, size)

    def run(self) -> None:
        """Nothing to do."""


class Lanes:
    """A queue over lines by the first letter of the embed code, on a clock that stands still."""

    def __init__(self, *, max_jobs: int = 192, **widths: int) -> None:
        self.lines = {letter: Width(width) for letter, width in widths.items()}
        self.workers = HeldWorkers()
        self.clock = ManualClock()
        self.queue = FetchScheduler(self.workers, self.host_of, self.clock, max_jobs=max_jobs)
        self.begun: list[str] = []

    def host_of(self, embed_code: str) -> HostLimit:
        """The host of a source."""
        return self.lines[embed_code[0]]

    def submit(
        self, embed_code: str, count: int = 1, *, size: int = 1000, urgent: bool = False
    ) -> None:
        """Submit so many transfers of one source."""
        for _ in range(count):
            self.queue.submit(Piece(embed_code, size), urgent=urgent)

    def running(self, embed_code: str) -> int:
        """How many transfers of the source are with the workers."""
        lane = self.queue._queues.get(embed_code)
        return lane.running if lane else 0

    def end(self, embed_code: str, count: int = 1) -> None:
        """Let so many of the source's transfers end."""
        for _ in range(count):
            job = next(
                job
                for job in self.workers.jobs
                if isinstance(job, partial) and job.args[0].embed_code == embed_code
            )
            self.workers.jobs.remove(job)
            job()


def test_a_lane_is_as_wide_as_its_line() -> None:
    """And when the line takes more, the next that ends makes room for more."""
    lanes = Lanes(a=3)
    lanes.submit("a1", 20)
    assert lanes.running("a1") == 3
    lanes.lines["a"].concurrency_limit = 6
    lanes.end("a1")
    assert lanes.running("a1") == 6
    lanes.lines["a"].concurrency_limit = 2
    lanes.end("a1", 4)
    assert lanes.running("a1") == 2


def test_a_line_is_shared() -> None:
    """A second source gets its half as the first one's transfers end; alone again, each has all."""
    lanes = Lanes(a=8)
    lanes.submit("a1", 100)
    lanes.submit("a2", 100)
    assert (lanes.running("a1"), lanes.running("a2")) == (8, 4)
    lanes.end("a1", 4)
    assert (lanes.running("a1"), lanes.running("a2")) == (4, 4)
    lanes.end("a2", 100)
    assert lanes.running("a2") == 0
    lanes.end("a1")
    assert lanes.running("a1") == 8


def test_what_others_leave_is_used() -> None:
    """A source that needs one place does not keep another from the rest."""
    lanes = Lanes(a=8)
    lanes.submit("a1")
    lanes.submit("a2", 100)
    assert (lanes.running("a1"), lanes.running("a2")) == (1, 7)


def test_another_line_is_no_concern() -> None:
    """Two hosts do not share a width."""
    lanes = Lanes(a=4, b=8)
    lanes.submit("a1", 100)
    lanes.submit("b1", 100)
    assert (lanes.running("a1"), lanes.running("b1")) == (4, 8)


def test_readers_beyond_the_width() -> None:
    """What a reader waits for goes on where read-ahead may not."""
    lanes = Lanes(a=2)
    lanes.submit("a1", 10)
    lanes.submit("a1", 20, urgent=True)
    assert lanes.running("a1") == 2 + URGENT_EXTRA


def test_fair_by_bytes() -> None:
    """Where the process is full, a source of large transfers gets fewer of them."""
    lanes = Lanes(a=100, b=100, c=100)
    lanes.submit("c1", 200)
    assert lanes.running("c1") == PROCESS_WIDTH
    lanes.submit("a1", 200, size=4000)
    lanes.submit("b1", 200, size=1000)
    lanes.lines["c"].concurrency_limit = 0
    lanes.end("c1", 50)
    large, small = lanes.running("a1"), lanes.running("b1")
    assert large + small >= 50
    assert 3 <= small / large <= 5


def test_pausing_earns_no_credit() -> None:
    """A source that asked for nothing for a while does not then keep the others out."""
    lanes = Lanes(a=100, b=100, c=100)
    lanes.submit("b1")
    lanes.submit("a1", 1000)
    lanes.end("a1", 300)  # 300 000 bytes, while b1 had one transfer
    lanes.submit("b1", 200)
    before = lanes.running("b1")
    lanes.end("a1", 20)
    assert 8 <= lanes.running("b1") - before <= 12


def test_a_stalled_source_leaves_the_line() -> None:
    """Once nothing of it has ended for a while, the others are as wide as if it were not there."""
    lanes = Lanes(a=8)
    lanes.submit("a1", 100)
    lanes.submit("a2", 100)
    lanes.clock.advance(STALLED_AFTER_S)
    lanes.submit("a3", 1)
    lanes.end("a2", 4)
    assert lanes.running("a1") == 8
    assert lanes.running("a2") + lanes.running("a3") == 8
    lanes.end("a1")  # it moves again: its share is four, of which it has more
    assert lanes.running("a1") == 7


def test_the_last_workers_are_for_readers_of_other_sources() -> None:
    """However many sources stall, a reader of yet another is served at once."""
    lanes = Lanes(max_jobs=40, a=16)
    for number in range(10):
        lanes.submit(f"a{number}", 50, urgent=True)
    assert sum(lanes.running(f"a{number}") for number in range(10)) < 40
    lanes.submit("a-other", urgent=True)
    assert lanes.running("a-other") == 1


def test_a_source_moves_to_its_line() -> None:
    """Its host is known once it has answered: from then on it counts there."""
    lanes = Lanes(a=4, b=2)
    lanes.submit("a1", 100)
    lanes.lines["a"] = lanes.lines["b"]
    lanes.end("a1", 4)
    assert lanes.running("a1") == 2
    lanes.end("a1", 96)
    assert lanes.running("a1") == 0
