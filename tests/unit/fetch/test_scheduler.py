"""Which transfer runs next."""

from __future__ import annotations

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.fetch.scheduler import URGENT_EXTRA, FetchScheduler
from tests.fakes.clocks import ManualClock
from tests.fakes.sources import OneHost
from tests.fakes.workers import HeldWorkers

#: Fetches of one source at a time.
PER_SOURCE = 12


class Named:
    """A transfer that only says that it ran."""

    def __init__(self, name: str, embed_code: str, ran: list[str]) -> None:
        self.name = name
        self.embed_code = embed_code
        self.missing = ByteRange(0, 1000)
        self._ran = ran

    def run(self) -> None:
        self._ran.append(self.name)


class Lanes:
    """A queue whose workers run one transfer when they are told to."""

    def __init__(self) -> None:
        self.workers = HeldWorkers()
        self.queue = FetchScheduler(self.workers, OneHost(PER_SOURCE), ManualClock())
        self.ran: list[str] = []

    def submit(self, name: str, *, urgent: bool = False, embed_code: str = "E1") -> Named:
        """Submit one transfer."""
        transfer = Named(name, embed_code, self.ran)
        self.queue.submit(transfer, urgent=urgent)
        return transfer

    def fill(self, count: int, *, urgent: bool = False) -> None:
        """Submit as many that stall: they are with the workers, and stay there."""
        for number in range(count):
            self.submit(f"stalled {number}", urgent=urgent)

    def finish(self, name: str) -> None:
        """Let the workers run what they hold, up to and with this transfer."""
        while name not in self.ran:
            self.workers.jobs.popleft()()


def test_a_source_has_so_many_places() -> None:
    """Read-ahead gets its places, readers a few more, and the rest waits."""
    lanes = Lanes()
    lanes.fill(PER_SOURCE + 5)
    assert len(lanes.workers.jobs) == PER_SOURCE
    for number in range(URGENT_EXTRA + 5):
        lanes.submit(f"urgent {number}", urgent=True)
    assert len(lanes.workers.jobs) == PER_SOURCE + URGENT_EXTRA


def test_a_stalled_source_does_not_hold_up_another() -> None:
    """The other source's first transfer goes to the workers at once."""
    lanes = Lanes()
    lanes.fill(100, urgent=True)
    before = len(lanes.workers.jobs)
    lanes.submit("other", embed_code="E2")
    assert len(lanes.workers.jobs) == before + 1


def test_readers_before_read_ahead() -> None:
    """Whoever waits is served first, in order; then what was guessed."""
    lanes = Lanes()
    lanes.fill(PER_SOURCE + URGENT_EXTRA, urgent=True)
    for name in ("ahead 1", "ahead 2"):
        lanes.submit(name)
    for name in ("urgent 1", "urgent 2"):
        lanes.submit(name, urgent=True)
    lanes.workers.run_all()
    assert lanes.ran[-4:] == ["urgent 1", "urgent 2", "ahead 1", "ahead 2"]


def test_promoted() -> None:
    """Read-ahead that a reader has come to wait for goes before all other read-ahead."""
    lanes = Lanes()
    lanes.fill(PER_SOURCE + URGENT_EXTRA, urgent=True)
    lanes.submit("ahead 1")
    needed = lanes.submit("ahead 2")
    lanes.queue.promote(needed)
    lanes.queue.promote(needed)
    lanes.workers.run_all()
    assert lanes.ran[-2:] == ["ahead 2", "ahead 1"]
    assert lanes.ran.count("ahead 2") == 1


def test_promoted_into_a_free_extra_place() -> None:
    """It starts at once where read-ahead could not."""
    lanes = Lanes()
    lanes.fill(PER_SOURCE)
    needed = lanes.submit("ahead")
    assert len(lanes.workers.jobs) == PER_SOURCE
    lanes.queue.promote(needed)
    assert len(lanes.workers.jobs) == PER_SOURCE + 1


def test_promoting_what_runs_or_is_done_changes_nothing() -> None:
    """A reader may come at any moment."""
    lanes = Lanes()
    running = lanes.submit("one")
    lanes.queue.promote(running)
    lanes.workers.run_all()
    lanes.queue.promote(running)
    lanes.workers.run_all()
    assert lanes.ran == ["one"]


def test_a_place_is_free_again_even_after_a_failure() -> None:
    """A transfer that raises, which it must not, does not shrink the lane."""
    lanes = Lanes()

    class Raising(Named):
        def run(self) -> None:
            raise ValueError(self.name)

    lanes.queue.submit(Raising("bad", "E1", lanes.ran), urgent=False)
    lanes.fill(PER_SOURCE)
    with pytest.raises(ValueError, match="bad"):
        lanes.workers.jobs.popleft()()
    assert len(lanes.workers.jobs) == PER_SOURCE
    lanes.workers.run_all()
    assert len(lanes.ran) == PER_SOURCE


def test_an_empty_lane_is_forgotten() -> None:
    """A library of a million assets leaves no million lanes."""
    lanes = Lanes()
    lanes.submit("one")
    lanes.workers.run_all()
    assert not lanes.queue._queues
    assert not lanes.queue._waiting
