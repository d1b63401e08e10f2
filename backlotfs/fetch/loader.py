"""Loads blocks: from memory, from disk, by a fetch in flight, or by a new one.

Invariants, under one lock. A block is in memory, or in flight in exactly one fetch, or neither, so
each block is fetched once, whoever asks. A pending read refers to every block it was given, so the
memory of a block is used again only after the answer is written. A reader that joined a prefetch
which failed gets a fetch of its own; an error is shared only among the readers that asked.

The exception is a *hedge*: a second GET for blocks that a reader has waited for too long. It owns
no block in flight. Whichever GET brings a block first brings it for both; if the first fetch ends
before its hedge, the hedge takes over the blocks that are still missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backlotfs.byterange import ByteRange, block_range, block_span
from backlotfs.cache.admission import DiskAdmission
from backlotfs.cache.memory import (
    DISK,
    MEMORY,
    Block,
    BlockCache,
    BlockKey,
    BlockPool,
    MemoryUse,
    runs_of,
)
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError, ContentChanged
from backlotfs.fetch.block_fetch import FETCH_DEADLINE_S, BlockFetch, RangeGet, StillWanted
from backlotfs.fetch.hedge_watch import Hedges, HedgeWatch
from backlotfs.fetch.pending_read import PendingRead
from backlotfs.fetch.scheduler import FetchScheduler
from backlotfs.source.version import SourceVersion


class InFlightBlocks:
    """The blocks in flight; each belongs to exactly one fetch. Guarded by the block loader's lock.

    :ivar prefetch_bytes: how many of their bytes belong to prefetches, counted in whole blocks.
    """

    def __init__(self, block_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._owners: dict[BlockKey, BlockFetch] = {}
        self.prefetch_bytes = 0

    def __contains__(self, key: BlockKey) -> bool:
        return key in self._owners

    def __len__(self) -> int:
        return len(self._owners)

    def add(self, fetch: BlockFetch) -> None:
        """Make ``fetch`` the owner of all its blocks."""
        self._owners.update(dict.fromkeys(fetch.keys, fetch))
        if fetch.is_prefetch:
            self.prefetch_bytes += self._block_bytes * fetch.count

    def join(
        self, identity: SourceVersion, read: PendingRead, absent: list[int]
    ) -> list[BlockFetch]:
        """Let ``read`` wait for the blocks in flight, and remove their numbers from ``absent``.

        :return: the fetches that no reader waited for before.
        """
        newly_awaited: list[BlockFetch] = []
        left: list[int] = []
        for number in absent:
            fetch = self._owners.get(BlockKey(identity.embed_code, identity.validator, number))
            if fetch is None:
                left.append(number)
                continue
            fetch.waiters.setdefault(number, []).append(read)
            if not fetch.is_demand:
                fetch.is_demand = True
                newly_awaited.append(fetch)
        absent[:] = left
        return newly_awaited

    def remove(self, key: BlockKey) -> BlockFetch | None:
        """Remove a delivered block and return the fetch that owned it; None if it had arrived."""
        fetch = self._owners.pop(key, None)
        if fetch is not None and fetch.is_prefetch:
            self.prefetch_bytes -= self._block_bytes
        return fetch

    def remove_all(self, fetch: BlockFetch) -> None:
        """Remove every block that ``fetch`` still owns."""
        for number in fetch.left:
            key = fetch.key(number)
            if self._owners.get(key) is fetch:
                self.remove(key)

    def misses_any_of(self, fetch: BlockFetch) -> bool:
        """Whether any block that ``fetch`` has still to bring has not come from elsewhere."""
        return any(fetch.key(number) in self._owners for number in fetch.left)

    def transfer_ownership(self, fetch: BlockFetch, hedge: BlockFetch) -> None:
        """Make ``hedge`` the owner of the blocks that both bring, with their waiters."""
        for number in hedge.left:
            key = hedge.key(number)
            if self._owners.get(key) is fetch:
                self.remove(key)
                self._owners[key] = hedge
                if number in fetch.waiters:
                    hedge.waiters[number] = fetch.waiters.pop(number)


class BlockLoader:
    """Loads blocks. Any thread may call it; its lock is held for dictionary work only."""

    def __init__(
        self,
        pool: BlockPool,
        cache: BlockCache,
        get: RangeGet,
        scheduler: FetchScheduler,
        clock: Clock,
        *,
        prefetch_budget_bytes: int,
        changed: Callable[[SourceVersion], None],
        disk: DiskAdmission | None = None,
        hedges: Hedges | None = None,
        queued: Callable[[str], bool] = lambda _code: False,
        fetch_deadline_s: float = FETCH_DEADLINE_S,
    ) -> None:
        """Put the parts together.

        :param get: gets bytes from the source's host (`RangeReader.fetch`).
        :param prefetch_budget_bytes: of prefetches in flight, for all files together; a prefetch
            that does not fit is dropped.
        :param changed: called on a worker's thread when the host turns out to have another version.
        :param hedges: decides when a GET is late and how often it is hedged; None: never.
        :param queued: whether the URL of a source waits for an API credit: no GET is late then.
        :param fetch_deadline_s: how long one fetch may take; a reader has its own deadline.
        """
        self.block_bytes = pool.block_bytes
        self._pool = pool
        self._cache = cache
        self._get = get
        self._scheduler = scheduler
        self._clock = clock
        self._prefetch_budget = prefetch_budget_bytes
        self._fetch_deadline_s = fetch_deadline_s
        self._changed = changed
        self._disk = disk
        self._lock = cache.lock
        self._in_flight = InFlightBlocks(pool.block_bytes)
        self._queued = queued
        self._watch = HedgeWatch(hedges, self._hedge, clock) if hedges is not None else None

    @property
    def prefetch_bytes(self) -> int:
        """Bytes of prefetches that are in flight or queued."""
        return self._in_flight.prefetch_bytes

    def memory_use(self) -> MemoryUse:
        """How the memory for blocks is used now."""
        with self._lock:
            return MemoryUse.of(self._pool, len(self._cache), len(self._in_flight))

    def demand(self, identity: SourceVersion, wanted: ByteRange) -> PendingRead:
        """Start to load ``wanted`` for a reader. It never waits.

        :param wanted: inside the source, not empty.
        """
        code = identity.embed_code
        read = PendingRead(wanted, self.block_bytes, self._lock, f"read of {code}", code)
        numbers: Iterable[int] = block_span(wanted, self.block_bytes)
        if self._disk is not None:
            numbers = self._from_disk(self._disk, identity, read, numbers)
        with self._lock:
            absent = self._from_memory(identity, read, numbers)
            joined = self._in_flight.join(identity, read, absent) if absent else []
            started = self._start(identity, absent, None, len(absent)) if absent else []
            for fetch in started:
                fetch.waiters.update((number, [read]) for number in fetch.left)
            for fetch in joined + started:
                self._add_watch(fetch)
            read.missed = bool(started)
        for fetch in joined:
            self._scheduler.promote(fetch)
        for fetch in started:
            self._scheduler.submit(fetch, urgent=True)
        return read

    def prefetch(
        self,
        identity: SourceVersion,
        ahead: ByteRange,
        request_bytes: int,
        still_wanted: StillWanted,
    ) -> None:
        """Fetch ``ahead`` before anybody reads it; what does not fit into the budget is dropped.

        :param request_bytes: of one GET. :param still_wanted: asked before each GET and during it
            whether the bytes that have not arrived are still wanted.
        """
        code, validator = identity.embed_code, identity.validator
        numbers = block_span(ahead.clamped(identity.size), self.block_bytes)
        keys = [BlockKey(code, validator, number) for number in numbers]
        if self._disk is not None:
            keys = self._disk.missing(keys)
        per_request = max(1, request_bytes // self.block_bytes)
        with self._lock:
            absent = [
                key.number for key in keys if key not in self._cache and key not in self._in_flight
            ]
            room = (self._prefetch_budget - self._in_flight.prefetch_bytes) // self.block_bytes
            del absent[max(0, room) :]
            started = self._start(identity, absent, still_wanted, per_request)
        for fetch in started:
            # A reader may have joined between the registration and now.
            self._scheduler.submit(fetch, urgent=fetch.is_demand)

    def memory(self, lengths: Iterable[int]) -> list[Block]:
        """Allocate blocks of these lengths; other blocks are evicted for them."""
        blocks: list[Block] = []
        pool, cache = self._pool, self._cache
        with self._lock:
            for length in lengths:
                if cache.overfull:
                    cache.evict()
                block = pool.take(length)
                while block is None and cache.evict():
                    block = pool.take(length)
                # Outside the pool only when every slot is being received into or answered from.
                blocks.append(block or Block(memoryview(bytearray(length))))
        return blocks

    def arrived(self, fetch: BlockFetch, blocks: list[Block]) -> None:
        """Keep the next blocks of a fetch, and complete the reads that wait for them."""
        complete: list[PendingRead] = []
        kept: list[tuple[BlockKey, Block]] = []
        with self._lock:
            for key, block in zip(fetch.keys[fetch.arrived :], blocks, strict=False):
                owner = self._in_flight.remove(key)
                if owner is None:
                    continue  # the hedge, or the fetch that it hedges, was faster
                fetch.contributed = True
                kept.append((key, block))
                self._cache.put(key, block)
                if key.number in owner.waiters:
                    self._deliver(key, block, owner.waiters.pop(key.number), complete)
            fetch.arrived += len(blocks)
        for read in complete:
            read.finished()
        if self._disk is not None:
            for key, block in kept:
                self._disk.put(key, block.view, block)

    def ended(self, fetch: BlockFetch, error: BacklotError | None) -> None:
        """Fail, or fetch again, what a fetch did not bring."""
        identity = fetch.identity
        failed: list[PendingRead] = []
        again: list[BlockFetch] = []
        if isinstance(error, ContentChanged):
            # Before any read fails: a program may close at once, and close has to fail too.
            self._changed(identity)
        with self._lock:
            self._discard_watch(fetch)
            peer, fetch.hedge_peer = fetch.hedge_peer, None
            if peer is not None:
                peer.hedge_peer = None
                if not isinstance(error, ContentChanged):
                    self._in_flight.transfer_ownership(fetch, peer)
                    self._add_watch(peer)
            self._in_flight.remove_all(fetch)
            waiters, fetch.waiters = fetch.waiters, {}
            if fetch.is_prefetch and not isinstance(error, ContentChanged):
                again = self._start(identity, sorted(waiters), None, len(waiters))
                for fresh in again:
                    fresh.waiters.update((number, waiters[number]) for number in fresh.left)
                    self._add_watch(fresh)
            else:
                reason = error or BacklotError(f"a fetch of {identity.embed_code} ended early")
                for read in {id(one): one for reads in waiters.values() for one in reads}.values():
                    if not read.complete:
                        read.fail(reason)
                        failed.append(read)
        fetch.on_done(fetch.contributed)
        for read in failed:
            read.finished()
        for fresh in again:
            self._scheduler.submit(fresh, urgent=True)

    def misses_any_of(self, fetch: BlockFetch) -> bool:
        """Whether a fetch that has, or had, a hedge still brings a block that is missing."""
        with self._lock:
            return self._in_flight.misses_any_of(fetch)

    def _hedge(self, fetch: BlockFetch, hedges: Hedges) -> None:
        """Make a second GET for the blocks that readers wait for, if ``hedges`` allows it.

        The second hedge of a fetch is for every block that the fetch has still to bring.
        """
        if self._queued(fetch.embed_code):
            fetch.last_progress_s = self._clock.monotonic()  # it has not begun
            return
        with self._lock:
            numbers = [number for number in fetch.left if fetch.waited_for(number)]
            if fetch.hedge_peer is not None or not numbers:
                return
            if fetch.was_hedged:
                numbers = [n for n in fetch.left if fetch.key(n) in self._in_flight]
            run = runs_of(numbers, len(numbers))[0]
            size = min(run.stop * self.block_bytes, fetch.identity.size)
            on_done = hedges.begin_hedge(fetch.embed_code, size - run.start * self.block_bytes)
            if on_done is None:
                return
            hedge = self._new_fetch(fetch.identity, run, None)
            hedge.on_done = on_done
            hedge.hedge_peer, fetch.hedge_peer = fetch, hedge
            hedge.was_hedged = fetch.was_hedged = True
        self._scheduler.submit(hedge, urgent=True)

    def _from_disk(
        self,
        disk: DiskAdmission,
        identity: SourceVersion,
        read: PendingRead,
        numbers: Iterable[int],
    ) -> list[int]:
        """Give ``read`` the blocks in memory and on disk; return the numbers of the others."""
        code, validator = identity.embed_code, identity.validator
        with self._lock:
            absent = self._from_memory(identity, read, numbers)
            keys = [BlockKey(code, validator, number) for number in absent]
            keys = [key for key in keys if key not in self._in_flight]
        missing = set(disk.missing(keys)) if keys else set()
        keys = [key for key in keys if key not in missing]
        if not keys:
            return absent
        lengths = (block_range(key.number, self.block_bytes, identity.size).length for key in keys)
        blocks = self.memory(lengths)
        found = disk.get(keys, [block.view for block in blocks])
        with self._lock:
            for key, block, here in zip(keys, blocks, found, strict=True):
                if here:
                    self._cache.put(key, block)
                    read.deliver(key.number, block, DISK)
                    # A read to the end of a block is usually the last read of it.
                    if key.number < read.full_blocks_before:
                        self._cache.consume(key)
                    absent.remove(key.number)
        return absent

    def _from_memory(
        self, identity: SourceVersion, read: PendingRead, numbers: Iterable[int]
    ) -> list[int]:
        """Give ``read`` the blocks in memory; return the other numbers. The lock is held."""
        absent: list[int] = []
        for number in numbers:
            key = BlockKey(identity.embed_code, identity.validator, number)
            block = self._cache.get(key, to_its_end=number < read.full_blocks_before)
            if block is None:
                absent.append(number)
            else:
                read.deliver(number, block, MEMORY)
        return absent

    def _deliver(
        self, key: BlockKey, block: Block, waiting: list[PendingRead], complete: list[PendingRead]
    ) -> None:
        """Give a block to the reads that wait for it; add those that are whole to ``complete``."""
        stop = key.number * self.block_bytes + len(block.view)
        for read in waiting:
            read.deliver(key.number, block)
            if read.wanted.stop >= stop:
                self._cache.consume(key)
            if read.complete:
                complete.append(read)

    def _start(
        self,
        identity: SourceVersion,
        numbers: list[int],
        still_wanted: StillWanted | None,
        per_request: int,
    ) -> list[BlockFetch]:
        """Make fetches for blocks that are nowhere, and own them. The lock is held."""
        started: list[BlockFetch] = []
        for run in runs_of(numbers, per_request):
            fetch = self._new_fetch(identity, run, still_wanted)
            self._in_flight.add(fetch)
            started.append(fetch)
        return started

    def _new_fetch(
        self, identity: SourceVersion, run: range, still_wanted: StillWanted | None
    ) -> BlockFetch:
        return BlockFetch(
            self,
            self._get,
            identity,
            run,
            self._clock,
            still_wanted=still_wanted,
            deadline_s=self._fetch_deadline_s,
        )

    def _add_watch(self, fetch: BlockFetch) -> None:
        if self._watch is not None:
            self._watch.add(fetch)

    def _discard_watch(self, fetch: BlockFetch) -> None:
        if self._watch is not None:
            self._watch.discard(fetch)
