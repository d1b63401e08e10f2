# SPDX-License-Identifier: Apache-2.0
"""A block store whose transfers go on block by block, each when the test says so."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import BlockCache, BlockPool
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.workers import Workers
from backlotfs.errors import BacklotError, Interrupted
from backlotfs.fetch.hedging import HedgePolicy
from backlotfs.fetch.hosts import FetchScheduler, HostRegistry
from backlotfs.fetch.loader import BlockFetch, BlockLoader, FetchSettings, PendingRead
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version
from tests.fakes.sources import OneHost, expected_bytes, result
from tests.fakes.workers import PATIENCE_S

#: Short, so that ranges are easy to read.
BLOCK_BYTES = 10
#: Twenty blocks, the last one short.
V1 = source_version(size=195)
#: After this much silence a GET is hedged.
LATE_S = 0.2


class GatedGet:
    """One call of the fetch: it waits for the test before each step."""

    def __init__(self, identity: SourceVersion, wanted: ByteRange, landing: BufferSink) -> None:
        self.wanted = wanted
        self._identity = identity
        self._landing = landing
        self._room: Sequence[memoryview] = ()
        self._reached = wanted.start
        self._steps: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._over = threading.Event()

    def land(self) -> None:
        """Let it receive what it has room for. :raises BacklotError: what it ended with."""
        self._steps.put(self._receive)
        self._await_answer()

    def fail(self, error: BacklotError) -> None:
        """Let it end like this, and wait until it has."""

        def raising() -> None:
            raise error

        self._steps.put(raising)
        answer = self._answers.get(timeout=PATIENCE_S)
        assert answer is error
        self.wait_over()

    def finish(self) -> None:
        """Let it return, and wait until all is done."""
        self._steps.put(None)
        self.wait_over()

    def wait_over(self) -> None:
        """Return once its transfer has told its owner."""
        assert self._over.wait(PATIENCE_S), "a transfer did not end"

    @property
    def whole(self) -> bool:
        """Whether it has brought all that it was asked for."""
        return self._reached >= self.wanted.stop

    def ended(self) -> None:
        """Its transfer has run to its end (called by the harness)."""
        self._over.set()

    def run(self) -> None:
        """On the worker's thread: what the test orders."""
        while (step := self._steps.get(timeout=PATIENCE_S)) is not None:
            try:
                step()
            except BaseException as error:
                self._answers.put(error)
                raise
            self._answers.put(None)

    def begin(self) -> None:
        """Ask for room, as the range fetcher does before it asks the host."""
        self._room = self._landing.buffers()

    def _receive(self) -> None:
        for view in self._room:
            stop = self._reached + len(view)
            view[:] = expected_bytes(self._identity, ByteRange(self._reached, stop))
            self._reached = stop
        size = sum(map(len, self._room))
        self._room = ()
        self._landing.commit(size)
        if not self.whole:
            self.begin()

    def _await_answer(self) -> None:
        answer = self._answers.get(timeout=PATIENCE_S)
        if answer is not None:
            raise answer


class AllowedHedges(HedgePolicy):
    """Hedges as the test allows them.

    :ivar booked: (embed code, bytes) of each. :ivar won: how those that are over went.
    """

    def __init__(self) -> None:
        super().__init__(HostRegistry(ManualClock()), ManualClock())
        self.allowed = True
        self.late_s = LATE_S
        self.booked: list[tuple[str, int]] = []
        self.won: list[bool] = []

    def delay_s(self, embed_code: str, length_bytes: int) -> float:  # noqa: ARG002  # as HedgePolicy
        """As `HedgePolicy.delay_s`."""
        return self.late_s

    def begin(self, embed_code: str, length_bytes: int) -> Callable[[bool], None] | None:
        """As `HedgePolicy.begin`."""
        if not self.allowed:
            return None
        self.booked.append((embed_code, length_bytes))
        return self.won.append


class _WatchedWorkers(Workers):
    """Tells each GET when its job has returned."""

    def __init__(self) -> None:
        super().__init__(64, "gated")
        self.current = threading.local()
        self._settled = threading.Condition()
        self._unsettled = 0

    def submit(self, job: Callable[[], None], *, next_here: bool = False) -> None:
        with self._settled:
            self._unsettled += 1

        def run() -> None:
            self.current.get, self.current.waits = None, False
            job()
            if not self.current.waits:
                self.waits()
            if self.current.get is not None:
                self.current.get.ended()

        super().submit(run, next_here=next_here)

    def waits(self) -> None:
        """The job of this thread has come to its gate, or to its end."""
        self.current.waits = True
        with self._settled:
            self._unsettled -= 1
            self._settled.notify_all()

    def wait_settled(self) -> None:
        """Return once every job is at its gate or at its end."""
        with self._settled:
            assert self._settled.wait_for(lambda: not self._unsettled, PATIENCE_S)


class GatedStore:
    """The store, its gates, and a clock that only the test moves."""

    def __init__(self, *, watched: bool = True) -> None:
        """``watched``: hedged by the test's call of `look` instead of the watch's thread."""
        self.clock = ManualClock()
        self.hedges = AllowedHedges()
        self.changed: list[SourceVersion] = []
        self.pool = BlockPool(50 * BLOCK_BYTES, BLOCK_BYTES)
        self.cache = BlockCache(self.pool, keep_consumed=50)
        self._workers = _WatchedWorkers()
        self._gets: queue.SimpleQueue[GatedGet] = queue.SimpleQueue()
        self.store = BlockLoader(
            self.cache,
            FetchSettings(self._fetch, self.clock),
            FetchScheduler(self._workers, OneHost(), self.clock),
            prefetch_budget_bytes=1000,
            changed=self.changed.append,
            hedges=self.hedges,
        )
        assert self.store._watch is not None
        self.watch = self.store._watch
        # The test looks: no thread is started for it.
        self.watch._started = watched

    def next_get(self) -> GatedGet:
        """The next GET that was begun."""
        return self._gets.get(timeout=PATIENCE_S)

    def wait_begun(self) -> None:
        """Return once every transfer that has a place has begun, or has ended."""
        self._workers.wait_settled()

    def begun(self) -> list[GatedGet]:
        """Those that the test does not know yet."""
        gets: list[GatedGet] = []
        while not self._gets.empty():
            gets.append(self._gets.get())
        return gets

    def none_begun(self) -> bool:
        """Whether every GET that was begun is known to the test."""
        self.wait_begun()
        return self._gets.empty()

    def look(self, after_s: float = 0.0) -> None:
        """Let so much time pass, and have late transfers hedged."""
        self.clock.advance(after_s)
        self.watch.look(self.clock.monotonic())

    def transfers(self) -> set[BlockFetch]:
        """Those that are in charge of a block."""
        return set(self.store._owners.values())

    def check_at_rest(self) -> None:
        """Nothing is under way, watched or booked any more."""
        assert not self.transfers()
        assert self.store.prefetch_bytes == 0
        assert self.watch.look(self.clock.monotonic()) is None
        assert len(self.hedges.won) == len(self.hedges.booked)
        assert self.pool.free_slots == self.pool.slots - len(self.cache)

    def _fetch(
        self,
        identity: SourceVersion,
        wanted: ByteRange,
        landing: BufferSink,
        deadline: Deadline,  # noqa: ARG002  # as Fetch
    ) -> None:
        get = GatedGet(identity, wanted, landing)
        self._workers.current.get = get
        get.begin()
        self._gets.put(get)
        self._workers.waits()
        get.run()


def wanted_always(_missing: ByteRange) -> bool:
    """Read-ahead that stays wanted."""
    return True


def begin(gated: GatedStore, start: int, stop: int) -> tuple[PendingRead, GatedGet]:
    """A read whose GET has begun."""
    demand = gated.store.demand(V1, ByteRange(start, stop))
    return demand, gated.next_get()


def ahead(gated: GatedStore, start: int, stop: int) -> GatedGet:
    """A read-ahead by one GET, which has begun."""
    gated.store.prefetch(V1, ByteRange(start, stop), wanted_always)
    return gated.next_get()


def check(demand: PendingRead) -> None:
    """It was given the right bytes."""
    assert result(demand) == expected_bytes(V1, demand.wanted)


def stopped(get: GatedGet) -> None:
    """It goes on, and finds that there is nothing left to bring."""
    with pytest.raises(Interrupted):
        get.land()
    get.wait_over()
