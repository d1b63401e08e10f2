"""Blocks from memory, from the disk tier, from a transfer under way, or from a new one.

Invariants, under one lock. A block is in the cache, or in the charge of one transfer under way, or
neither; so each is fetched once, whoever asks. A demand holds every block it was given, so memory
is used again only when its answer is written. A reader that joined a read-ahead which failed is
given a transfer of its own; an error is shared only among those who asked.

The exception is a *hedge*: a second GET for blocks that a reader waits for in vain. It is in charge
of nothing. Whichever brings a block first brings it for both; if the first transfer ends before the
hedge does, the hedge takes over what it brings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backlotfs.byterange import ByteRange, block_range, block_span
from backlotfs.cache.block_cache import BlockCache
from backlotfs.cache.block_key import BlockKey
from backlotfs.cache.block_pool import Block, BlockPool
from backlotfs.cache.disk_face import DiskTier, NoDisk
from backlotfs.cache.memory_use import MemoryUse
from backlotfs.cache.runs import runs_of
from backlotfs.cache.tiers import DISK, MEMORY
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import BacklotError, ContentChanged
from backlotfs.fetch.block_fetch import BlockFetch, Fetch, StillWanted
from backlotfs.fetch.hedge_watch import Hedges, HedgeWatch, NoHedges
from backlotfs.fetch.in_flight import InFlightBlocks
from backlotfs.fetch.pending_read import PendingRead
from backlotfs.fetch.scheduler import FetchScheduler
from backlotfs.source.version import SourceVersion


class BlockLoader:
    """Loads blocks. Any thread may call it; its lock is held for dictionary work only."""

    def __init__(
        self,
        pool: BlockPool,
        cache: BlockCache,
        fetch: Fetch,
        queue: FetchScheduler,
        clock: Clock,
        *,
        ahead_budget_bytes: int,
        changed: Callable[[SourceVersion], None],
        disk: DiskTier | None = None,
        hedges: Hedges | None = None,
        queued: Callable[[str], bool] = lambda _code: False,
    ) -> None:
        """Put the parts together.

        :param ahead_budget_bytes: read-ahead under way for all files together; more is dropped.
        :param changed: told, from a worker's thread, that the host has another version.
        :param hedges: when a GET is late and how often it is made again; None: never.
        :param queued: whether the URL of a source waits for an API credit: no GET is late then.
        """
        self.block_bytes = pool.block_bytes
        self._pool = pool
        self._cache = cache
        self._fetch = fetch
        self._queue = queue
        self._clock = clock
        self._ahead_budget = ahead_budget_bytes
        self._changed = changed
        self._disk = disk or NoDisk()
        self._lock = cache.lock
        self._under_way = InFlightBlocks(pool.block_bytes)
        self._hedges = hedges or NoHedges()
        self._queued = queued
        self._watch = HedgeWatch(self._hedges, self.hedge, clock)

    @property
    def ahead_bytes(self) -> int:
        """Bytes of read-ahead that are under way or queued."""
        return self._under_way.ahead_bytes

    def memory_use(self) -> MemoryUse:
        """Where the memory for blocks is now."""
        with self._lock:
            return MemoryUse.of(self._pool, len(self._cache), len(self._under_way))

    def demand(self, identity: SourceVersion, wanted: ByteRange) -> PendingRead:
        """Start whatever is missing of ``wanted`` (inside the source, not empty); never waits."""
        code = identity.embed_code
        demand = PendingRead(wanted, self.block_bytes, self._lock, f"reading {code}", code)
        numbers: Iterable[int] = block_span(wanted, self.block_bytes)
        if not isinstance(self._disk, NoDisk):
            numbers = self._from_disk(identity, demand, numbers)
        with self._lock:
            absent = self._find(identity, demand, numbers)
            joined = self._under_way.join(identity, demand, absent) if absent else []
            started = self._start(identity, absent, None, len(absent)) if absent else []
            for transfer in started:
                transfer.waiters.update((number, [demand]) for number in transfer.left)
            for transfer in joined + started:
                self._watch.add(transfer)
            demand.missed = bool(started)
        for transfer in joined:
            self._queue.promote(transfer)
        for transfer in started:
            self._queue.submit(transfer, urgent=True)
        return demand

    def prefetch(
        self,
        identity: SourceVersion,
        ahead: ByteRange,
        request_bytes: int,
        still_wanted: StillWanted,
    ) -> None:
        """Have ``ahead`` fetched if memory allows; what does not fit is dropped.

        :param still_wanted: asked with what has not arrived, before each GET and during it.
        """
        code, validator = identity.embed_code, identity.validator
        numbers = block_span(ahead.clamped(identity.size), self.block_bytes)
        keys = self._disk.missing([BlockKey(code, validator, number) for number in numbers])
        per_request = max(1, request_bytes // self.block_bytes)
        with self._lock:
            absent = [
                key.number for key in keys if key not in self._cache and key not in self._under_way
            ]
            room = (self._ahead_budget - self._under_way.ahead_bytes) // self.block_bytes
            del absent[max(0, room) :]
            started = self._start(identity, absent, still_wanted, per_request)
        for transfer in started:
            # A reader may have joined between the registration and now.
            self._queue.submit(transfer, urgent=transfer.needed)

    def memory(self, lengths: Iterable[int]) -> list[Block]:
        """Memory for blocks of these lengths; others are let go for it."""
        blocks: list[Block] = []
        pool, cache = self._pool, self._cache
        with self._lock:
            for length in lengths:
                if cache.overfull:
                    cache.evict()
                block = pool.take(length)
                while block is None and cache.evict():
                    block = pool.take(length)
                # Beside the pool only when every slot is received into or answered from.
                blocks.append(block or Block(memoryview(bytearray(length))))
        return blocks

    def landed(self, transfer: BlockFetch, blocks: list[Block]) -> None:
        """Keep the next blocks of a run (called by the transfer)."""
        complete: list[PendingRead] = []
        kept: list[tuple[BlockKey, Block]] = []
        with self._lock:
            for key, block in zip(transfer.keys[transfer.arrived :], blocks, strict=False):
                in_charge = self._under_way.arrived(key)
                if in_charge is None:
                    continue  # a rival was faster
                transfer.won = True
                kept.append((key, block))
                self._cache.put(key, block)
                if key.number in in_charge.waiters:
                    self._hand_out(key, block, in_charge.waiters.pop(key.number), complete)
            transfer.arrived += len(blocks)
        for demand in complete:
            demand.finished()
        for key, block in kept:
            self._disk.put(key, block.view, block)

    def ended(self, transfer: BlockFetch, error: BacklotError | None) -> None:
        """Forget what a transfer did not bring, and tell who waits for it (called by it)."""
        identity = transfer.identity
        failed: list[PendingRead] = []
        again: list[BlockFetch] = []
        if isinstance(error, ContentChanged):
            # Before any read fails: a program may close at once, and close has to fail too.
            self._changed(identity)
        with self._lock:
            self._watch.discard(transfer)
            rival, transfer.rival = transfer.rival, None
            if rival is not None:
                rival.rival = None
                if not isinstance(error, ContentChanged):
                    self._under_way.hand_over(transfer, rival)
                    self._watch.add(rival)
            self._under_way.forget(transfer)
            waiters, transfer.waiters = transfer.waiters, {}
            if transfer.ahead and not isinstance(error, ContentChanged):
                again = self._start(identity, sorted(waiters), None, len(waiters))
                for fresh in again:
                    fresh.waiters.update((number, waiters[number]) for number in fresh.left)
                    self._watch.add(fresh)
            else:
                reason = error or BacklotError(f"a transfer of {identity.embed_code} ended early")
                for demand in {id(d): d for ds in waiters.values() for d in ds}.values():
                    if not demand.complete:
                        demand.fail(reason)
                        failed.append(demand)
        transfer.over(transfer.won)
        for demand in failed:
            demand.finished()
        for fresh in again:
            self._queue.submit(fresh, urgent=True)

    def misses_any_of(self, transfer: BlockFetch) -> bool:
        """Whether a transfer that has, or had, a rival is still of use (asked by it)."""
        with self._lock:
            return self._under_way.misses_any_of(transfer)

    def hedge(self, transfer: BlockFetch) -> None:
        """Make a second GET for what readers wait for (called by the watch), if it is allowed.

        A transfer that was hedged before and still brings nothing is given up for the most part:
        then the second GET is for all that it was to bring.
        """
        if self._queued(transfer.embed_code):
            transfer.moved_s = self._clock.monotonic()  # it has not begun
            return
        with self._lock:
            numbers = [number for number in transfer.left if transfer.waited_for(number)]
            if transfer.rival is not None or not numbers:
                return
            if transfer.raced:
                numbers = [n for n in transfer.left if transfer.key(n) in self._under_way]
            run = runs_of(numbers, len(numbers))[0]
            size = min(run.stop * self.block_bytes, transfer.identity.size)
            over = self._hedges.begin_hedge(
                transfer.embed_code, size - run.start * self.block_bytes
            )
            if over is None:
                return
            hedge = self._transfer(transfer.identity, run, None)
            hedge.over = over
            hedge.rival, transfer.rival = transfer, hedge
            hedge.raced = transfer.raced = True
        self._queue.submit(hedge, urgent=True)

    def _from_disk(
        self, identity: SourceVersion, demand: PendingRead, numbers: Iterable[int]
    ) -> list[int]:
        """Give ``demand`` what memory and the disk tier have; the numbers of the others."""
        code, validator = identity.embed_code, identity.validator
        with self._lock:
            absent = self._find(identity, demand, numbers)
            keys = [BlockKey(code, validator, number) for number in absent]
            keys = [key for key in keys if key not in self._under_way]
        elsewhere = set(self._disk.missing(keys)) if keys else set()
        keys = [key for key in keys if key not in elsewhere]
        if not keys:
            return absent
        lengths = (block_range(key.number, self.block_bytes, identity.size).length for key in keys)
        blocks = self.memory(lengths)
        found = self._disk.get(keys, [block.view for block in blocks])
        with self._lock:
            for key, block, here in zip(keys, blocks, found, strict=True):
                if here:
                    self._cache.put(key, block)
                    demand.take(key.number, block, DISK)
                    # A read to the end of a block is, as a rule, the last of it.
                    if key.number < demand.ended_before:
                        self._cache.consume(key)
                    absent.remove(key.number)
        return absent

    def _find(self, identity: SourceVersion, demand: PendingRead, numbers: Iterable[int]) -> list[int]:
        """Give ``demand`` what is in memory; the numbers of the others. With the lock held."""
        absent: list[int] = []
        for number in numbers:
            key = BlockKey(identity.embed_code, identity.validator, number)
            block = self._cache.get(key, to_its_end=number < demand.ended_before)
            if block is None:
                absent.append(number)
            else:
                demand.take(number, block, MEMORY)
        return absent

    def _hand_out(
        self, key: BlockKey, block: Block, waiting: list[PendingRead], complete: list[PendingRead]
    ) -> None:
        """To who waited for it; those that need nothing more join ``complete``."""
        stop = key.number * self.block_bytes + len(block.view)
        for demand in waiting:
            demand.take(key.number, block)
            if demand.wanted.stop >= stop:
                self._cache.consume(key)
            if demand.complete:
                complete.append(demand)

    def _start(
        self,
        identity: SourceVersion,
        numbers: list[int],
        still_wanted: StillWanted | None,
        per_request: int,
    ) -> list[BlockFetch]:
        """New transfers, registered, for blocks that are nowhere. With the lock held."""
        started: list[BlockFetch] = []
        for run in runs_of(numbers, per_request):
            transfer = self._transfer(identity, run, still_wanted)
            self._under_way.add(transfer)
            started.append(transfer)
        return started

    def _transfer(
        self, identity: SourceVersion, run: range, still_wanted: StillWanted | None
    ) -> BlockFetch:
        return BlockFetch(
            self, self._fetch, identity, run, self.block_bytes, self._clock, still_wanted
        )
