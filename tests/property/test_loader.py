# SPDX-License-Identifier: Apache-2.0
"""The block store beside a dictionary: whatever is asked, run, dropped or fails in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backlotfs.byterange import ByteRange, block_span
from backlotfs.cache.memory import BlockCache, BlockKey, BlockPool
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import BacklotError, ContentChanged, RemoteUnavailable
from backlotfs.fetch.hosts import Fetch, FetchScheduler
from backlotfs.fetch.loader import BlockFetch, BlockLoader, FetchSettings, PendingRead
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version
from tests.fakes.sources import OneHost, StepFetch, expected_bytes, result
from tests.fakes.workers import HeldWorkers
from tests.support.long_runs import runs

BLOCK, SIZE, BUDGET, AHEAD = 10, 155, 60, 70
BLOCKS = -(-SIZE // BLOCK)

ranges = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(
    lambda ends: ByteRange(ends[0], max(ends[0] + 1, ends[1]))
)

sources = st.sampled_from([source_version("E1", SIZE), source_version("E2", SIZE)])


class PendingQueue(FetchScheduler):
    """Keeps transfers until the machine runs one."""

    def __init__(self) -> None:
        super().__init__(HeldWorkers(), OneHost(), ManualClock())
        self.pending: list[BlockFetch] = []

    def submit(self, transfer: Fetch, *, urgent: bool, before_open: bool = False) -> None:
        """Keep it."""
        found = cast(BlockFetch, transfer)
        assert urgent or found.is_prefetch
        assert found.before_open is before_open
        self.pending.append(found)

    def promote(self, transfer: Fetch) -> None:
        """The machine chooses what runs, whatever its rank."""


class StoreMachine(RuleBasedStateMachine):
    """Demands and read-ahead for two sources; their transfers run, fail and are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = PendingQueue()
        self.fetch = StepFetch()
        self.fetch.between = self._look
        self.pool = BlockPool(BUDGET, BLOCK)
        self.cache = BlockCache(self.pool, keep_consumed=2)
        self.changed: list[SourceVersion] = []
        self.store = BlockLoader(
            self.cache,
            FetchSettings(self.fetch, ManualClock()),
            self.queue,
            prefetch_budget_bytes=AHEAD,
            changed=self.changed.append,
        )
        self.demands: list[tuple[SourceVersion, ByteRange, PendingRead]] = []
        self.running: BlockFetch | None = None
        #: What comes in between the pieces of the running fetch, and before how many of them.
        self.in_between: Callable[[], None] = lambda: None
        self.pieces_before = 0

    def _look(self) -> None:
        """Between two pieces of a running fetch: the invariants hold there too."""
        self.one_fetch_per_block()
        self.budgets()
        if self.pieces_before == 0:
            self.in_between()
        self.pieces_before -= 1

    @rule(source=sources, wanted=ranges)
    def demand(self, source: SourceVersion, wanted: ByteRange) -> None:
        """A reader comes; what is cached must be right at once."""
        under_way = self._under_way()
        demand = self.store.demand(source, wanted)
        self.demands.append((source, wanted, demand))
        keys = [
            BlockKey(source.embed_code, source.validator, index)
            for index in block_span(wanted, BLOCK)
        ]
        if demand.missed:
            assert [key for key in keys if key not in under_way]
        assert demand.complete or any(key in self._under_way() for key in keys)

    @rule(source=sources, ahead=ranges, wanted=st.booleans())
    def prefetch(self, source: SourceVersion, ahead: ByteRange, wanted: bool) -> None:
        """Read-ahead, perhaps of a handle that is closed before it runs."""
        self.store.prefetch(source, ahead, lambda _missing: wanted)

    @precondition(lambda self: self.queue.pending)
    @rule(
        which=st.integers(0, 1000),
        pieces=st.integers(0, 8),
        error=st.sampled_from([None, None, RemoteUnavailable, ContentChanged, KeyError]),
        source=sources,
        meanwhile=ranges,
        moment=st.integers(0, 12),
    )
    def run(
        self,
        which: int,
        pieces: int,
        error: type[Exception] | None,
        source: SourceVersion,
        meanwhile: ByteRange,
        moment: int,
    ) -> None:
        """Some transfer runs; in its middle a reader comes, and perhaps it fails."""
        transfer = self.queue.pending.pop(which % len(self.queue.pending))
        self.running = transfer
        self.in_between, self.pieces_before = lambda: self.demand(source, meanwhile), moment
        if error is not None:
            self.fetch.fail_after(pieces, error("planned"))
        transfer.run()
        self.fetch.stop_after(10**9)  # a failure that came too late is not the next one's
        self.running, self.pieces_before = None, -1
        assert not transfer.waiters

    @rule()
    def results(self) -> None:
        """Whoever has all blocks reads the expected bytes; errors were planned ones."""
        waiting = self.demands
        self.demands = []
        for source, wanted, demand in waiting:
            if not demand.complete:
                self.demands.append((source, wanted, demand))
                continue
            # a read-ahead that failed is fetched anew: let that finish
            patience = InterruptibleWait(Deadline(30.0, ManualClock()), self._run_everything)
            try:
                found = result(demand, patience)
            except BacklotError as error:
                if "planned" not in str(error) and "KeyError" not in str(error):
                    raise
            else:
                assert found == expected_bytes(source, wanted)

    @invariant()
    def one_fetch_per_block(self) -> None:
        """No block is carried by two transfers."""
        keys = [key for transfer in self._transfers() for key in self._outstanding(transfer)]
        assert len(keys) == len(set(keys))

    @invariant()
    def budgets(self) -> None:
        """What is kept and what is guessed stay within their budgets; the count is right."""
        assert len(self.cache) <= self.pool.slots
        assert self.pool.free_slots <= self.pool.slots - len(self.cache)
        ahead = [transfer for transfer in self._transfers() if transfer.is_prefetch]
        outstanding = sum(len(self._outstanding(transfer)) for transfer in ahead)
        assert self.store.prefetch_bytes == outstanding * BLOCK <= AHEAD

    @invariant()
    def only_expected_bytes_are_kept(self) -> None:
        """Whatever is in the cache is what the source holds there."""
        for source in (source_version("E1", SIZE), source_version("E2", SIZE)):
            for index in range(BLOCKS):
                key = BlockKey(source.embed_code, source.validator, index)
                block = self.cache._fresh.get(key) or self.cache._consumed.get(key)
                held = None if block is None else bytes(block.view)
                span = ByteRange(index * BLOCK, (index + 1) * BLOCK).clamped(SIZE)
                assert held in (None, expected_bytes(source, span))

    def teardown(self) -> None:
        """Once everything has run, nothing is under way and no room is taken."""
        self._run_everything()
        assert self.store.prefetch_bytes == 0
        assert not self.store._owners

    def _run_everything(self) -> bool:
        while self.queue.pending:
            self.queue.pending.pop().run()
        return False

    def _transfers(self) -> list[BlockFetch]:
        return self.queue.pending + ([self.running] if self.running is not None else [])

    def _outstanding(self, transfer: BlockFetch) -> list[BlockKey]:
        return transfer.left

    def _under_way(self) -> set[BlockKey]:
        return {key for transfer in self._transfers() for key in self._outstanding(transfer)}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backlotfs.concurrency.interruptible_wait.POLL_S", 0.0)


StoreMachine.TestCase.settings = settings(
    max_examples=runs(60), stateful_step_count=40, deadline=None
)
TestStoreMachine = StoreMachine.TestCase
