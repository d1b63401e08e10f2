# SPDX-License-Identifier: Apache-2.0
"""Readers of the same block share one fetch, its bytes or its error; with gates, not sleeps."""

from __future__ import annotations

import threading
from collections import deque

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.workers import Workers
from backlotfs.errors import BacklotError, RemoteUnavailable
from backlotfs.fetch.loader import PendingRead
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion
from tests.fakes.records import source_version
from tests.fakes.sources import expected_bytes, fetch_at_once, result
from tests.fakes.workers import PATIENCE_S, in_threads, join_all
from tests.unit.open_files.stack import ReadingStack

SOURCE = source_version(size=100)
READERS = 32
#: Fetches of one source at a time.
PER_SOURCE = 12


class GatedFetch:
    """A `fetch.loader.RangeGet` that holds each GET until the test opens the gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.calls: list[tuple[str, ByteRange]] = []
        self.errors: deque[Exception] = deque()
        self._entered = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __call__(
        self,
        version: SourceVersion,
        wanted: ByteRange,
        landing: BufferSink,
        deadline: Deadline,
    ) -> None:
        landing.buffers()  # as the range fetcher does: raises when nobody wants it any more
        with self._lock:
            self.calls.append((version.embed_code, wanted))
        self._entered.release()
        assert self.gate.wait(PATIENCE_S), "the test never opened the gate"
        with self._lock:
            error = self.errors.popleft() if self.errors else None
        if error is not None:
            raise error
        fetch_at_once(version, wanted, landing, deadline)

    def wait_entered(self, count: int = 1) -> None:
        """Return once ``count`` more GETs have begun."""
        for _ in range(count):
            assert self._entered.acquire(timeout=PATIENCE_S), "no GET was begun"


class Gated:
    """A reading stack on real threads, over a fetch that the test holds."""

    def __init__(self) -> None:
        self.fetch = GatedFetch()
        self.stack = ReadingStack(fetch=self.fetch, workers=Workers(64, "transfer"))
        self.results: list[bytes] = []
        self.errors: list[BacklotError] = []
        self._lock = threading.Lock()

    def read(self, start: int, stop: int) -> None:
        """Demand and wait; bytes or the error are noted."""
        self._wait(self.stack.store.demand(SOURCE, ByteRange(start, stop)))

    def readers(self, count: int, start: int, stop: int) -> list[threading.Thread]:
        """As many readers of the same bytes, at once; returns when each has demanded."""
        demanded = threading.Barrier(count + 1)

        def read(_: int) -> None:
            demand = self.stack.store.demand(SOURCE, ByteRange(start, stop))
            demanded.wait(PATIENCE_S)
            self._wait(demand)

        threads = in_threads(count, read)
        demanded.wait(PATIENCE_S)
        return threads

    def _wait(self, demand: PendingRead) -> None:
        try:
            found = result(demand)
        except BacklotError as error:
            with self._lock:
                self.errors.append(error)
        else:
            with self._lock:
                self.results.append(found)


def test_32_readers_of_one_block_are_one_fetch() -> None:
    """All get its bytes."""
    gated = Gated()
    threads = gated.readers(READERS, 10, 20)
    gated.fetch.gate.set()
    join_all(threads)
    assert gated.results == [expected_bytes(SOURCE, ByteRange(10, 20))] * READERS
    assert gated.fetch.calls == [("E1", ByteRange(10, 20))]


def test_readers_of_overlapping_ranges_fetch_each_block_once() -> None:
    """However the threads interleave."""
    gated = Gated()
    gated.fetch.gate.set()
    spans = [(start, min(100, start + 30)) for start in range(0, 100, 5)]
    join_all(in_threads(len(spans), lambda number: gated.read(*spans[number])))
    fetched = sorted(at for _, wanted in gated.fetch.calls for at in range(*wanted))
    assert fetched == list(range(100))
    assert sorted(gated.results) == sorted(
        expected_bytes(SOURCE, ByteRange(*span)) for span in spans
    )


def test_an_error_is_shared_once_and_then_tried_again() -> None:
    """Those who waited get it; it sticks to nothing."""
    gated = Gated()
    gated.fetch.errors.append(RemoteUnavailable("down"))
    threads = gated.readers(READERS, 10, 20)
    gated.fetch.gate.set()
    join_all(threads)
    assert len(gated.errors) == READERS
    assert not gated.results
    gated.read(10, 20)
    assert gated.results == [expected_bytes(SOURCE, ByteRange(10, 20))]
    assert len(gated.fetch.calls) == 2


def test_a_failed_prefetch_is_never_seen_by_readers_who_join_it() -> None:
    """They fetch for themselves, together, and get their bytes."""
    gated = Gated()
    gated.stack.store.prefetch(SOURCE, ByteRange(0, 50), lambda _missing: True)
    gated.fetch.wait_entered()
    gated.fetch.errors.append(RemoteUnavailable("down"))
    threads = gated.readers(READERS, 10, 20)
    gated.fetch.gate.set()
    join_all(threads)
    assert not gated.errors
    assert gated.results == [expected_bytes(SOURCE, ByteRange(10, 20))] * READERS
    assert gated.fetch.calls == [("E1", ByteRange(0, 50)), ("E1", ByteRange(10, 20))]
