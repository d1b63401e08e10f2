# SPDX-License-Identifier: Apache-2.0
"""What applications have read: how much, out of which tier, and who."""

from __future__ import annotations

import threading

from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import DISK, MEMORY, NETWORK, Block
from backlotfs.errors import RemoteUnavailable
from backlotfs.fetch.loader import PendingRead
from backlotfs.kernel.callers import REMEMBERED_S
from backlotfs.kernel.read_requests import NAMES_KEPT, OTHERS, ReadCounts, Usage
from backlotfs.source.bandwidth import RecentRate
from tests.fakes.clocks import ManualClock
from tests.fakes.workers import in_threads, join_all


def demand(*blocks: tuple[Block, int]) -> PendingRead:
    """A read of these blocks of four bytes, all but the first and the last byte."""
    found = PendingRead(ByteRange(1, 4 * len(blocks) - 1), 4, threading.Lock(), "reading E1")
    for number, (block, tier) in enumerate(blocks):
        found.deliver(number, block, tier)
    return found


def block() -> Block:
    """Four bytes."""
    return Block(memoryview(b"four"))


def test_bytes_and_blocks() -> None:
    """Bytes as they were asked for, blocks by where they were."""
    noted: list[object] = []
    rate = RecentRate(ManualClock())
    counts = ReadCounts(
        lambda _pid: "cp", ManualClock(), rate=rate, note=lambda *what: noted.append(what)
    )
    counts.answered(1, demand((block(), MEMORY), (block(), DISK), (block(), NETWORK)))
    counts.answered(1, demand((block(), MEMORY)))
    error = RemoteUnavailable("down")
    counts.failed(1, 3, error)
    assert noted == [(3, error)]
    assert rate.bytes_per_s() == 12
    assert counts.by_name() == {"cp": Usage(2, 1, 12, [2, 1, 1])}


def test_a_fetched_block_is_used_once() -> None:
    """By whoever had it first; what came from the disk was not fetched, now or when read again."""
    counts = ReadCounts(lambda _pid: "cp", ManualClock())
    fetched, kept = block(), block()
    counts.answered(1, demand((fetched, NETWORK), (kept, DISK)))
    assert counts.used_bytes == 4
    counts.answered(1, demand((fetched, MEMORY), (kept, MEMORY)))
    assert counts.used_bytes == 4


def test_a_block_that_comes_twice_is_taken_once() -> None:
    """A hedge and its rival may both bring it."""
    found = demand((block(), NETWORK))
    found.deliver(0, block(), NETWORK)
    assert found.came_from == [0, 0, 1]


def test_who_asked_most_comes_first_and_late_names_share_one() -> None:
    """However many programs read, the memory is bounded, and the sum is right."""
    counts = ReadCounts(lambda pid: f"p{pid}", ManualClock())
    for pid in range(NAMES_KEPT + 5):
        counts.answered(pid, demand((block(), MEMORY)))
    counts.answered(7, demand((block(), MEMORY)))
    found = counts.by_name()
    assert len(found) == NAMES_KEPT + 1
    assert list(found)[:2] == [OTHERS, "p7"]
    assert found[OTHERS].reads == 5
    assert sum(usage.reads for usage in found.values()) == NAMES_KEPT + 6


def test_the_name_of_a_process_is_looked_up_now_and_then() -> None:
    """Not for each read; an id may come to mean another program."""
    clock, names = ManualClock(), iter(["sh", "cat"])
    counts = ReadCounts(lambda _pid: next(names), clock)
    for _ in range(3):
        counts.answered(1, demand((block(), MEMORY)))
    clock.advance(REMEMBERED_S + 0.1)
    counts.answered(1, demand((block(), MEMORY)))
    assert {name: usage.reads for name, usage in counts.by_name().items()} == {"sh": 3, "cat": 1}


def test_a_snapshot_stays_as_it_is() -> None:
    """It is rendered while reads go on."""
    counts = ReadCounts(lambda _pid: "cp", ManualClock())
    counts.answered(1, demand((block(), MEMORY)))
    before = counts.by_name()
    counts.answered(1, demand((block(), MEMORY)))
    assert before["cp"].blocks == [1, 0, 0]


def test_counted_from_many_threads() -> None:
    """Nothing is lost."""
    counts = ReadCounts(lambda _pid: "cp", ManualClock())
    one = demand((block(), MEMORY))

    def work(_number: int) -> None:
        for _ in range(500):
            counts.answered(1, one)

    join_all(in_threads(4, work))
    assert counts.by_name()["cp"].blocks == [2000, 0, 0]


def test_usages_add_up() -> None:
    """The sum is of all names."""
    total = Usage(1, 0, 10, [1, 2, 3])
    total.add(Usage(2, 1, 5, [10, 0, 1]))
    assert total == Usage(3, 1, 15, [11, 2, 4])
