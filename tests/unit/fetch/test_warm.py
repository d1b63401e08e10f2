# SPDX-License-Identifier: Apache-2.0
"""The disk tier is made to hold a source, step by step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlotfs.byterange import ByteRange, block_span
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import Block, BlockKey
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import CacheUnusable, RemoteUnavailable
from backlotfs.fetch.loader import BlockLoader, PendingRead
from backlotfs.fetch.warm import LOOK_BLOCKS, Warmer
from backlotfs.log.traces import ReadSpan
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock

BLOCK = 4096
SOURCE = SourceVersion("E1", 10 * BLOCK + 5, '"v1"', None)


class Origin(BlockLoader):
    """A loader that has everything at once, or an error."""

    block_bytes = BLOCK

    def __init__(self) -> None:
        self.asked: list[range] = []
        self.error: RemoteUnavailable | None = None

    def demand(
        self, version: SourceVersion, wanted: ByteRange, span: ReadSpan | None = None
    ) -> PendingRead:
        numbers = block_span(wanted, BLOCK)
        self.asked.append(numbers)
        demand = PendingRead(wanted, BLOCK, threading.Lock(), "reading E1")
        demand.span = span
        for number in numbers:
            length = min(BLOCK, version.size - number * BLOCK)
            demand.deliver(number, Block(memoryview(bytes([number % 256]) * length)))
        if self.error is not None:
            demand.fail(self.error)
        return demand


class Warming:
    """A warmer over a real tier."""

    def __init__(self, tier: DiskTier | None) -> None:
        self.origin = Origin()
        self.warmer = Warmer(self.origin, tier, step_bytes=4 * BLOCK)

    def step(self, offset: int, source: SourceVersion = SOURCE) -> tuple[int, int]:
        """One step, as long as it may be."""
        waiter = InterruptibleWait(Deadline(5.0, ManualClock()), lambda: False)
        return tuple(self.warmer.warm(source, offset, 1 << 40, waiter))  # type: ignore[return-value]  # two numbers

    def all_of(self, source: SourceVersion = SOURCE) -> int:
        """Steps until its end; what they fetched."""
        offset, fetched = 0, 0
        while offset < source.size:
            offset, more = self.step(offset, source)
            fetched += more
        self.warmer.settle()
        return fetched


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[DiskTier]:
    """With room for a hundred blocks."""
    found = DiskTier(tmp_path / "blocks", 100 * (BLOCK + 100), ManualClock(), block_bytes=BLOCK)
    yield found
    found.close()


def test_a_source_is_held_whole(tier: DiskTier) -> None:
    """Its bytes, the last short block too; in steps that do not take more memory than they may."""
    warming = Warming(tier)
    assert warming.warmer.cached_bytes(SOURCE) == 0
    assert warming.step(0) == (4 * BLOCK, 4 * BLOCK)
    assert warming.all_of() == 6 * BLOCK + 5
    assert warming.warmer.cached_bytes(SOURCE) == SOURCE.size
    assert warming.warmer.fetched_bytes == SOURCE.size
    buffer = bytearray(BLOCK)
    last = BlockKey("E1", SOURCE.validator, 10)
    assert tier.get_many([last], [memoryview(buffer)]) == [5]
    assert buffer[:5] == b"\n" * 5


def test_what_is_held_is_not_asked_for(tier: DiskTier) -> None:
    """Neither all of it nor a part."""
    warming = Warming(tier)
    for number in (0, 1, 5):
        tier.put(BlockKey("E1", SOURCE.validator, number), bytes(BLOCK))
    tier.drain()
    warming.all_of()
    assert warming.origin.asked == [range(2, 5), range(6, 10), range(10, 11)]
    asked = len(warming.origin.asked)
    assert warming.all_of() == 0
    assert len(warming.origin.asked) == asked


def test_a_long_source_is_looked_through_in_stretches(tier: DiskTier) -> None:
    """No lock is held for all of it."""
    warming = Warming(tier)
    long = SourceVersion("E2", (LOOK_BLOCKS + 3) * BLOCK, '"v1"', None)
    tier.put(BlockKey("E2", long.validator, LOOK_BLOCKS + 1), bytes(BLOCK))
    tier.drain()
    assert warming.warmer.cached_bytes(long) == BLOCK


def test_an_empty_source_is_held(tier: DiskTier) -> None:
    """There is nothing to hold, whatever its host says of it."""
    empty = SourceVersion("E3", 0, None, None)
    assert Warming(tier).warmer.cached_bytes(empty) == 0
    assert Warming(tier).step(0, empty) == (0, 0)


def test_a_failing_origin(tier: DiskTier) -> None:
    """The error is the step's."""
    warming = Warming(tier)
    warming.origin.error = RemoteUnavailable("down")
    with pytest.raises(RemoteUnavailable, match="down"):
        warming.step(0)
    assert warming.warmer.cached_bytes(SOURCE) == 0


def test_what_cannot_be_kept_is_refused(tier: DiskTier) -> None:
    """No tier; a version that nothing tells from the next; a disk that takes no more."""
    with pytest.raises(CacheUnusable, match="--cache-size"):
        Warming(None).step(0)
    with pytest.raises(CacheUnusable, match="neither ETag nor Last-Modified"):
        Warming(tier).warmer.cached_bytes(SourceVersion("E1", 5, None, None))
    warming = Warming(tier)
    tier.close()
    with pytest.raises(CacheUnusable, match="does not accept"):
        warming.step(0)
