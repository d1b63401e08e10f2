# SPDX-License-Identifier: Apache-2.0
"""Each block fetched once; a failed fetch leaves no trace."""

from __future__ import annotations

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import BacklotError, DeadlineExceeded, Interrupted, RemoteUnavailable
from backlotfs.fetch import loader
from backlotfs.fetch.loader import FETCH_DEADLINE_S, PendingRead
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version
from tests.fakes.sources import StepFetch, expected_bytes, result
from tests.fakes.workers import HeldWorkers, waiter
from tests.unit.open_files.stack import ReadingStack

V1 = source_version(size=1000)


def wanted_always(_missing: ByteRange) -> bool:
    """Read-ahead that stays wanted."""
    return True


class Held:
    """A stack whose transfers run when the test says so."""

    def __init__(self, *, ahead_bytes: int = 10_000, budget_bytes: int = 10_000) -> None:
        self.fetch = StepFetch()
        self.workers = HeldWorkers()
        self.stack = ReadingStack(
            fetch=self.fetch,
            workers=self.workers,
            ahead_bytes=ahead_bytes,
            budget_bytes=budget_bytes,
        )
        self.store = self.stack.store

    def read(self, start: int, stop: int, source: SourceVersion = V1) -> bytes:
        """Run what is queued, and read."""
        demand = self.store.demand(source, ByteRange(start, stop))
        self.workers.run_all()
        return result(demand)


def test_missing_blocks_come_in_one_request_per_run() -> None:
    """What lies between cached blocks is asked for, and nothing else."""
    held = Held()
    held.read(30, 40)
    assert held.read(0, 75) == expected_bytes(V1, ByteRange(0, 75))
    assert held.fetch.ranges == [ByteRange(30, 40), ByteRange(0, 30), ByteRange(40, 80)]


def test_missed_says_whether_somebody_had_to_wait_for_a_new_fetch() -> None:
    """Not for cached blocks, and not for those under way."""
    held = Held()
    first = held.store.demand(V1, ByteRange(0, 10))
    joined = held.store.demand(V1, ByteRange(0, 10))
    held.workers.run_all()
    cached = held.store.demand(V1, ByteRange(0, 10))
    partly = held.store.demand(V1, ByteRange(0, 20))
    assert [demand.missed for demand in (first, joined, cached, partly)] == [
        True, False, False, True,
    ]  # fmt: skip
    held.workers.run_all()
    assert result(first) == result(joined) == result(cached)


def test_read_ahead_is_one_request() -> None:
    """Also where it begins and ends within blocks; the file's last is short; no more than once."""
    held = Held()
    for _ in range(2):
        held.store.prefetch(source_version(size=95), ByteRange(5, 45), wanted_always)
        held.store.prefetch(source_version(size=95), ByteRange(50, 1000), wanted_always)
    assert held.store.prefetch_bytes == 100
    held.workers.run_all()
    assert held.fetch.ranges == [ByteRange(0, 50), ByteRange(50, 95)]
    assert held.store.prefetch_bytes == 0
    held.store.prefetch(source_version(size=95), ByteRange(0, 1000), wanted_always)
    assert not held.workers.jobs


def test_read_ahead_beyond_the_budget_is_dropped() -> None:
    """It is a hint: what does not fit is nobody's, and a reader gets it all the same."""
    held = Held(ahead_bytes=35)
    for start in range(0, 100, 10):
        for source in (V1, source_version("E2")):
            held.store.prefetch(source, ByteRange(start, start + 10), wanted_always)
    assert held.store.prefetch_bytes == 30
    assert held.read(50, 60) == expected_bytes(V1, ByteRange(50, 60))
    assert held.store.prefetch_bytes == 0
    assert len(held.fetch.ranges) == 4


def test_a_block_is_kept_before_anybody_hears_of_it() -> None:
    """Whoever is woken and asks again finds it, instead of fetching it a second time."""
    held = Held()
    demand = held.store.demand(V1, ByteRange(0, 20))
    again: list[PendingRead] = []
    demand.add_done_callback(lambda: again.append(held.store.demand(V1, ByteRange(0, 20))))
    held.workers.run_all()
    assert [one.missed for one in again] == [False]
    assert again[0].complete
    assert held.fetch.ranges == [ByteRange(0, 20)]


def test_memory_of_a_demand_is_not_used_again() -> None:
    """Its answer may be being written while everything else is let go."""
    held = Held(budget_bytes=30)
    demand = held.store.demand(V1, ByteRange(0, 20))
    held.workers.run_all()
    views = demand.views()
    for start in range(100, 900, 10):
        held.read(start, start + 10)
    assert b"".join(views) == expected_bytes(V1, ByteRange(0, 20))
    del demand, views
    assert held.stack.pool.free_slots == 3 - len(held.stack.cache)


def test_a_failed_fetch_leaves_no_trace() -> None:
    """What had arrived is kept, the rest can be asked for again, the room is free again."""
    held = Held()
    held.fetch.fail_after(1, RemoteUnavailable("down"))
    held.store.prefetch(V1, ByteRange(0, 50), wanted_always)
    held.workers.run_all()
    assert held.store.prefetch_bytes == 0
    assert held.stack.cached_bytes == 10
    assert held.read(0, 50) == expected_bytes(V1, ByteRange(0, 50))
    assert held.fetch.ranges == [ByteRange(0, 50), ByteRange(10, 50)]


def test_a_foreign_error_is_an_answer_too() -> None:
    """A reader does not wait for a worker that died; the foreign text is not passed on."""
    held = Held()
    held.fetch.fail_after(0, KeyError("http://o/?Signature=abc"))
    with pytest.raises(BacklotError, match=r"^reading E1: KeyError$") as caught:
        held.read(0, 10)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_fetch_that_ends_early_is_an_error() -> None:
    """Whoever waits for the rest is told."""
    held = Held()
    held.fetch.stop_after(1)
    with pytest.raises(BacklotError, match="ended early"):
        held.read(0, 30)


def test_a_reader_who_joins_a_failing_read_ahead_fetches_himself() -> None:
    """Its failure is not his: he asked for one block, not for what somebody guessed."""
    held = Held()
    held.store.prefetch(V1, ByteRange(0, 50), wanted_always)
    held.fetch.fail_after(1, RemoteUnavailable("down"))
    demand = held.store.demand(V1, ByteRange(20, 30))
    assert not demand.missed
    held.workers.run_all()
    # his own fetch starts when he waits, and runs when the workers do
    patience = InterruptibleWait(Deadline(30.0, ManualClock()), held.workers.run_meanwhile)
    assert result(demand, patience) == expected_bytes(V1, ByteRange(20, 30))
    assert held.fetch.ranges == [ByteRange(0, 50), ByteRange(20, 30)]


def test_dropped_read_ahead_is_never_fetched() -> None:
    """A handle that was closed meanwhile wants nothing more."""
    held = Held()
    held.store.prefetch(V1, ByteRange(0, 50), lambda _missing: False)
    assert held.store.prefetch_bytes == 50
    held.workers.run_all()
    assert held.fetch.ranges == []
    assert held.store.prefetch_bytes == 0


@pytest.mark.parametrize(
    ("left_bytes", "before_open", "fetched_bytes"),
    [(40, True, 50), (30, True, 10), (40, False, 10)],
    ids=["little is left", "more is left", "of an open file"],
)
def test_read_ahead_that_is_dropped_meanwhile(
    monkeypatch: pytest.MonkeyPatch, left_bytes: int, before_open: bool, fetched_bytes: int
) -> None:
    """A GET for a file that is not open is finished when little is left; its bytes are kept."""
    monkeypatch.setattr(loader, "FINISHED_BYTES", left_bytes)
    held = Held()
    wanted = iter([True])
    held.store.prefetch(
        V1, ByteRange(0, 50), lambda _missing: next(wanted, False), before_open=before_open
    )
    held.workers.run_all()
    assert held.fetch.ranges == [ByteRange(0, 50)]
    assert held.stack.cached_bytes == fetched_bytes


def test_read_ahead_that_a_reader_needs_is_not_dropped() -> None:
    """Somebody else waits for what the closed handle wanted."""
    held = Held()
    held.store.prefetch(V1, ByteRange(0, 50), lambda _missing: False)
    assert held.read(20, 30) == expected_bytes(V1, ByteRange(20, 30))
    assert held.fetch.ranges == [ByteRange(0, 50)]


def test_an_ended_transfer_does_not_end_anothers() -> None:
    """A block that landed, was evicted and is being fetched again stays under way."""
    held = Held(budget_bytes=20)
    first = held.store.demand(V1, ByteRange(0, 30))
    again: list[PendingRead] = []

    def meanwhile() -> None:
        if len(again) < 4 and held.stack.cached_bytes:
            again.append(held.store.demand(V1, ByteRange(0, 10)))

    held.fetch.between = meanwhile
    held.workers.jobs.popleft()()
    joined = held.store.demand(V1, ByteRange(0, 10))
    assert not joined.missed, "the second fetch of block 0 is still under way"
    held.workers.run_all()
    assert result(first) == expected_bytes(V1, ByteRange(0, 30))
    assert result(joined) == expected_bytes(V1, ByteRange(0, 10))


def test_waiting_ends_for_the_waiter_alone() -> None:
    """Deadline or death of one reader: the fetch goes on, and its blocks are kept."""
    held = Held()
    demand = held.store.demand(V1, ByteRange(0, 10))
    with pytest.raises(DeadlineExceeded):
        result(demand, waiter(0))
    with pytest.raises(Interrupted):
        result(demand, InterruptibleWait(Deadline(30.0, ManualClock()), lambda: True))
    held.workers.run_all()
    assert result(demand, waiter(0)) == expected_bytes(V1, ByteRange(0, 10))


def test_each_transfer_has_a_deadline_of_its_own() -> None:
    """Counted from its start, not from when it was queued."""
    held = Held()
    demand = held.store.demand(V1, ByteRange(0, 10))
    held.stack.clock.advance(1000)
    held.workers.run_all()
    result(demand)
    assert held.fetch.remaining_s == [FETCH_DEADLINE_S]


def test_versions_are_fetched_apart() -> None:
    """A reader of the new version never joins a fetch of the old one."""
    held = Held()
    v2 = source_version(size=1000, etag='"v2"')
    demands = [held.store.demand(version, ByteRange(0, 10)) for version in (V1, v2)]
    held.workers.run_all()
    old, new = (result(demand) for demand in demands)
    assert (old, new) == (
        expected_bytes(V1, ByteRange(0, 10)),
        expected_bytes(v2, ByteRange(0, 10)),
    )
    assert old != new


def test_where_the_memory_is() -> None:
    """Booked to what is under way, then in use, then kept; nothing is left over in the end."""
    held = Held(budget_bytes=50)
    assert held.store.memory_use() == (50, 0, 0, 0)
    demand = held.store.demand(V1, ByteRange(0, 20))
    held.store.prefetch(V1, ByteRange(20, 30), wanted_always)
    assert held.store.memory_use() == (50, 0, 0, 30)
    held.workers.run_all()
    assert held.store.memory_use() == (50, 30, 0, 0)
    lent = held.store.cache.allocate([10] * 3)  # two blocks are the demand's still
    assert held.store.memory_use() == (50, 0, 50, 0)
    del demand, lent
    assert held.store.memory_use() == (50, 0, 0, 0)
