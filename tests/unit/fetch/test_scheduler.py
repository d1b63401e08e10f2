# SPDX-License-Identifier: Apache-2.0
"""Which fetch runs next: limits of hosts, fair shares, readers first, stalled sources."""

from __future__ import annotations

from functools import partial

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.fetch.hosts import (
    PROCESS_WIDTH,
    STALLED_AFTER_S,
    URGENT_EXTRA,
    FetchScheduler,
    Host,
)
from backlotfs.source.signed_get import GetRecord, Outcome
from tests.fakes.clocks import ManualClock
from tests.fakes.sources import OneHost
from tests.fakes.workers import HeldWorkers


class Piece:
    """A fetch of so many bytes, which records that it ran."""

    def __init__(self, name: str, embed_code: str, size: int, ran: list[str]) -> None:
        self.name = name
        self.embed_code = embed_code
        self.missing = ByteRange(0, size)
        self._ran = ran

    def run(self) -> None:
        self._ran.append(self.name)


class Queues:
    """A scheduler; the first letter of an embed code is its host. The clock stands still."""

    def __init__(self, *, max_jobs: int = 192, **limits: int) -> None:
        self.hosts = {letter: OneHost(limit) for letter, limit in limits.items()}
        self.workers = HeldWorkers()
        self.clock = ManualClock()
        self.scheduler = FetchScheduler(self.workers, self.host_of, self.clock, max_jobs=max_jobs)
        self.ran: list[str] = []

    def host_of(self, embed_code: str) -> Host:
        """The host of a source."""
        return self.hosts[embed_code[0]]

    def submit(
        self,
        embed_code: str,
        count: int = 1,
        *,
        name: str = "",
        size: int = 1000,
        urgent: bool = False,
        before_open: bool = False,
    ) -> Piece:
        """Submit so many fetches of one source; return the last."""
        for _ in range(count):
            piece = Piece(name or embed_code, embed_code, size, self.ran)
            self.scheduler.submit(piece, urgent=urgent, before_open=before_open)
        return piece

    def running(self, embed_code: str) -> int:
        """How many fetches of the source are with the workers."""
        queue = self.scheduler._queues.get(embed_code)
        return queue.running if queue else 0

    def end(self, embed_code: str, count: int = 1) -> None:
        """Let so many of the source's fetches end."""
        for _ in range(count):
            job = next(
                job
                for job in self.workers.jobs
                if isinstance(job, partial) and job.args[0].embed_code == embed_code
            )
            self.workers.jobs.remove(job)
            job()


def test_the_limit_of_a_host() -> None:
    """It may change while fetches run: the next one that ends makes room for more, or for none."""
    queues = Queues(a=3)
    queues.submit("a1", 20)
    assert queues.running("a1") == 3
    queues.hosts["a"].limit = 6
    queues.end("a1")
    assert queues.running("a1") == 6
    queues.hosts["a"].limit = 2
    queues.end("a1", 4)
    assert queues.running("a1") == 2


def test_sources_share_their_host() -> None:
    """A second source gets its half as the first one's fetches end; alone again, each has all."""
    queues = Queues(a=8)
    queues.submit("a1", 100)
    queues.submit("a2", 100)
    assert (queues.running("a1"), queues.running("a2")) == (8, 4)
    queues.end("a1", 4)
    assert (queues.running("a1"), queues.running("a2")) == (4, 4)
    queues.end("a2", 100)
    assert queues.running("a2") == 0
    queues.end("a1")
    assert queues.running("a1") == 8


def test_what_others_leave_is_used() -> None:
    """A source that needs one place does not keep another from the rest."""
    queues = Queues(a=8)
    queues.submit("a1")
    queues.submit("a2", 100)
    assert (queues.running("a1"), queues.running("a2")) == (1, 7)


def test_hosts_do_not_share_a_limit() -> None:
    """Each has its own."""
    queues = Queues(a=4, b=8)
    queues.submit("a1", 100)
    queues.submit("b1", 100)
    assert (queues.running("a1"), queues.running("b1")) == (4, 8)


def test_readers_exceed_the_limit() -> None:
    """Fetches that readers wait for start where prefetches may not, up to a number."""
    queues = Queues(a=2)
    queues.submit("a1", 10)
    queues.submit("a1", 20, urgent=True)
    assert queues.running("a1") == 2 + URGENT_EXTRA


def test_readers_keep_to_the_limit_of_a_host_that_refused() -> None:
    """Beside the first fetch of each source, which waits for no other."""
    queues = Queues(a=2)
    controller = queues.hosts["a"].controller
    now_s = queues.clock.monotonic()
    controller.began(now_s)
    controller.ended(GetRecord("a", "a0", False, now_s, 0.1, 0.1, 0, Outcome.OVERLOADED), now_s)
    queues.submit("a1", 20, urgent=True)
    queues.submit("a2", 1, urgent=True)
    assert (queues.running("a1"), queues.running("a2")) == (2, 1)


def test_readers_before_prefetches() -> None:
    """Fetches that readers wait for run first, in order; then the prefetches, in order."""
    queues = Queues(a=2)
    queues.submit("a1", 2 + URGENT_EXTRA, urgent=True)
    for name, urgent in (
        ("ahead 1", False),
        ("ahead 2", False),
        ("read 1", True),
        ("read 2", True),
    ):
        queues.submit("a1", name=name, urgent=urgent)
    queues.workers.run_all()
    assert queues.ran[-4:] == ["read 1", "read 2", "ahead 1", "ahead 2"]


def test_a_promoted_prefetch() -> None:
    """It runs once, before all other prefetches."""
    queues = Queues(a=2)
    queues.submit("a1", 2 + URGENT_EXTRA, urgent=True)
    queues.submit("a1", name="ahead 1")
    needed = queues.submit("a1", name="ahead 2")
    queues.scheduler.promote(needed)
    queues.scheduler.promote(needed)
    queues.workers.run_all()
    assert queues.ran[-2:] == ["ahead 2", "ahead 1"]
    assert queues.ran.count("ahead 2") == 1


def test_a_promoted_prefetch_may_exceed_the_limit() -> None:
    """It starts at once where another prefetch could not."""
    queues = Queues(a=2)
    needed = queues.submit("a1", 3)
    assert queues.running("a1") == 2
    queues.scheduler.promote(needed)
    assert queues.running("a1") == 3


def test_fair_by_bytes() -> None:
    """Where the process is full, a source of large fetches gets fewer of them."""
    queues = Queues(a=100, b=100, c=100)
    queues.submit("c1", 200)
    assert queues.running("c1") == PROCESS_WIDTH
    queues.submit("a1", 200, size=4000)
    queues.submit("b1", 200, size=1000)
    queues.hosts["c"].limit = 0
    queues.end("c1", 50)
    large, small = queues.running("a1"), queues.running("b1")
    assert large + small >= 50
    assert 3 <= small / large <= 5


def test_a_pause_gives_no_advantage() -> None:
    """A source that asked for nothing for a while does not then keep the others out."""
    queues = Queues(a=100, b=100, c=100)
    queues.submit("b1")
    queues.submit("a1", 1000)
    queues.end("a1", 300)  # 300 000 bytes, while b1 had one fetch
    queues.submit("b1", 200)
    before = queues.running("b1")
    queues.end("a1", 20)
    assert 8 <= queues.running("b1") - before <= 12


def test_a_stalled_source_is_not_counted() -> None:
    """Once nothing of it has ended for a while, the others use the host as if it were not there."""
    queues = Queues(a=8)
    queues.submit("a1", 100)
    queues.submit("a2", 100)
    queues.clock.advance(STALLED_AFTER_S)
    queues.submit("a3", 1)
    queues.end("a2", 4)
    assert queues.running("a1") == 8
    assert queues.running("a2") + queues.running("a3") == 8
    queues.end("a1")  # it moves again: its share is four, of which it has more
    assert queues.running("a1") == 7


def test_the_last_workers_are_for_readers_of_other_sources() -> None:
    """Even if many sources stall, the fetch of a reader of another one starts at once."""
    queues = Queues(max_jobs=40, a=16)
    for number in range(10):
        queues.submit(f"a{number}", 50, urgent=True)
    assert sum(queues.running(f"a{number}") for number in range(10)) < 40
    queues.submit("a-other", urgent=True)
    assert queues.running("a-other") == 1


def test_a_source_moves_to_its_host() -> None:
    """Its host is known once it has answered: from then on it counts there."""
    queues = Queues(a=4, b=2)
    queues.submit("a1", 100)
    queues.hosts["a"] = queues.hosts["b"]
    queues.end("a1", 4)
    assert queues.running("a1") == 2
    queues.end("a1", 96)
    assert queues.running("a1") == 0


def test_files_that_are_not_open_come_last() -> None:
    """In their order, as far as the limit of the host allows; open files go first."""
    queues = Queues(a=2)
    for number in range(4):
        queues.submit(f"a{number}", before_open=True)
    queues.submit("a-open")
    running = ("a0", "a1", "a2", "a3", "a-open")
    assert [queues.running(code) for code in running] == [1, 1, 0, 0, 1]
    queues.end("a0")
    assert [queues.running(code) for code in running] == [0, 1, 0, 0, 1]
    queues.end("a1")
    assert [queues.running(code) for code in running] == [0, 0, 1, 0, 1]


def test_a_file_that_is_opened_does_not_wait_for_those_before_it() -> None:
    """A reader waits for a fetch that was queued behind others."""
    queues = Queues(a=1)
    pieces = [queues.submit(f"a{number}", before_open=True) for number in range(4)]
    queues.scheduler.promote(pieces[3])
    assert [queues.running(f"a{number}") for number in range(4)] == [1, 0, 0, 1]
    assert queues.submit("a9", urgent=True, before_open=True)
    assert queues.running("a9") == 1


def test_a_fetch_that_raises() -> None:
    """It must not, but its place is free again."""
    queues = Queues(a=12)

    class Raising(Piece):
        def run(self) -> None:
            raise ValueError(self.name)

    queues.scheduler.submit(Raising("bad", "a1", 1, queues.ran), urgent=False)
    queues.submit("a1", 12)
    with pytest.raises(ValueError, match="bad"):
        queues.workers.jobs.popleft()()
    assert queues.running("a1") == 12
    queues.workers.run_all()
    assert queues.ran == ["a1"] * 12
