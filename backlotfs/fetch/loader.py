# SPDX-License-Identifier: Apache-2.0
"""Loads blocks: from memory, from disk, by a fetch in flight, or by a new one.

Invariants, under one lock. A block is in memory, or in flight in exactly one fetch, or neither. So
each block is fetched once for all its readers. A pending read refers to every block that it was
given, so the memory of a block is used again only after the answer is written. If a prefetch fails,
the blocks that a reader waits for are fetched again, except if the source was replaced. The error
of any other fetch, or that of a replaced source, fails all reads that wait for the fetch.

A *hedge* is an exception: a second GET for blocks that a reader has waited for too long. A hedge
owns no block in flight. Each block is delivered by the GET that brings it first. If the first fetch
ends before its hedge, the hedge becomes the owner of the missing blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from backlotfs.byterange import ByteRange, block_range, block_span
from backlotfs.cache.admission import DiskAdmission
from backlotfs.cache.memory import (
    DISK,
    MEMORY,
    NETWORK,
    TIERS,
    Block,
    BlockCache,
    BlockKey,
    MemoryUse,
    runs_of,
)
from backlotfs.concurrency.clock import Clock, Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import MIB
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import BacklotError, ContentChanged, Interrupted
from backlotfs.fetch.hedging import HedgePolicy
from backlotfs.fetch.hosts import FetchScheduler
from backlotfs.log.traces import FetchSpan, ReadSpan, Tracing
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion

#: Time limit of one fetch; each reader that waits for it has its own deadline.
FETCH_DEADLINE_S = TimeLimits().source_s
#: The number of blocks that one system call receives; the first block of a fetch is received and
#: delivered alone. The number grows while such a group arrives within `QUICK_GROUP_S`, so that no
#: reader waits long for a group.
GROUP_BLOCKS = 8
MOST_GROUP_BLOCKS = 32
QUICK_GROUP_S = 0.002
#: If no more than this is left of a GET for a file that is not open, the GET is finished even if
#: the file is no longer expected: the bytes are on their way, and to drop the GET would close its
#: connection.
FINISHED_BYTES = MIB
#: Longest time between two checks for late fetches. In this time other fetches may begin, or
#: readers may begin to wait for running ones.
HEDGE_CHECK_S = 0.05

#: `RangeReader.fetch`: gets bytes of a version, in order, into a sink, within a deadline.
RangeGet = Callable[[SourceVersion, ByteRange, BufferSink, Deadline], None]

#: Whether any of these bytes of a prefetch is still wanted.
StillWanted = Callable[[ByteRange], bool]


def _no_look_ahead() -> None:
    """Plan no prefetch."""


def _no_watch(_fetch: BlockFetch) -> None:
    """Watch nothing."""


class PendingRead:
    """The blocks of one read. The block loader calls `deliver` and `fail`, under its lock.

    :ivar wanted: the bytes of the read, inside the source, not empty.
    :ivar numbers: the numbers of the blocks that contain them.
    :ivar complete: whether every block has arrived, or the read has failed.
    :ivar missed: whether a block was neither cached nor in flight when the read began.
    :ivar abandoned: whether nobody waits for the read any more.
    :ivar error: the reason of the failure; None if the read has not failed.
    :ivar full_blocks_before: blocks with a lower number are read to their end.
    :ivar look_ahead: plans the prefetch. Call it after the answer was written, or while the reader
        waits, so that it delays no answer.
    :ivar came_from: the number of blocks from each tier.
    :ivar first_use_bytes: bytes of those blocks that came from a host, for this read or by a
        prefetch, and that no other read used before.
    :ivar before_open_bytes: bytes of those blocks that were fetched before the file was opened and
        that no other read used before.
    :ivar span: for OpenTelemetry; None without tracing. The kernel adapter ends it.
    """

    __slots__ = (
        "_absent",
        "_block_bytes",
        "_blocks",
        "_done",
        "_lock",
        "abandoned",
        "before_open_bytes",
        "came_from",
        "complete",
        "doing",
        "embed_code",
        "error",
        "first_use_bytes",
        "full_blocks_before",
        "look_ahead",
        "missed",
        "numbers",
        "span",
        "wanted",
    )  # fmt: skip

    def __init__(
        self,
        wanted: ByteRange,
        block_bytes: int,
        lock: AbstractContextManager[object],
        doing: str,
        embed_code: str = "",
    ) -> None:
        """Make a read without any block.

        :param lock: the lock of the loader.
        :param doing: the name of the read in errors: ``read of <embed code>``.
        :param embed_code: the source; empty for a file without a source.
        """
        self.wanted = wanted
        self.embed_code = embed_code
        self.doing = doing
        self.complete = self.missed = False
        self.look_ahead: Callable[[], None] = _no_look_ahead
        self.abandoned = False
        self.error: BacklotError | None = None
        self.full_blocks_before = wanted.stop // block_bytes
        self.came_from = [0] * len(TIERS)
        self.first_use_bytes = self.before_open_bytes = 0
        self.span: ReadSpan | None = None
        self._block_bytes = block_bytes
        self._lock = lock
        self.numbers = block_span(wanted, block_bytes)
        self._blocks: list[Block | None] = [None] * len(self.numbers)
        self._absent = len(self.numbers)
        self._done: Callable[[], None] | None = None

    def deliver(self, number: int, block: Block, tier: int = NETWORK) -> None:
        """Add the block with this ``number``, which was found in this ``tier``."""
        place = number - self.numbers.start
        if self.error is None and self._blocks[place] is None:
            self._blocks[place] = block
            self._absent -= 1
            self.complete = not self._absent
            self.came_from[tier] += 1
            if not block.used:
                block.used = True
                self.first_use_bytes += len(block.view) if tier != DISK else 0
                self.before_open_bytes += len(block.view) if block.before_open else 0

    def fail(self, error: BacklotError) -> None:
        """Complete the read with an error."""
        self.error = error
        self.complete = True
        # The error's traceback refers to this read: a reference cycle. It must keep no blocks.
        self._blocks = []

    def finished(self) -> None:
        """Call the done callback. Call this without the lock, when the read has become complete."""
        # The callback may refer to this read, and the reference cycle would keep the memory.
        done, self._done = self._done, None
        if done is not None:
            done()

    def add_done_callback(self, done: Callable[[], None]) -> None:
        """Call ``done`` when the read is complete, on this thread or on that of a fetch.

        Call this at most once for a read.
        """
        with self._lock:
            if not self.complete:
                self._done = done
                return
        done()

    def abandon(self) -> None:
        """Note that nobody waits for the read any more."""
        self.abandoned = True
        self._done = None

    def views(self) -> list[memoryview]:
        """The wanted bytes, in order, without a copy; valid as long as this object exists."""
        views = [block.view for block in self._blocks if block is not None]
        start = self.wanted.start - self.numbers.start * self._block_bytes
        surplus = len(self._blocks) * self._block_bytes - start - self.wanted.length
        last = len(views[-1])
        if surplus > self._block_bytes - last:
            views[-1] = views[-1][: self._block_bytes - surplus]
        if start:
            views[0] = views[0][start:]
        return views

    def blocks(self) -> list[tuple[int, Block]]:
        """The blocks that have arrived, with their numbers."""
        numbered = zip(self.numbers, self._blocks, strict=False)
        return [(number, block) for number, block in numbered if block is not None]

    def wait(self, waiter: InterruptibleWait) -> None:
        """Wait for every block. :raises BacklotError: the read failed, or the wait ended."""
        if not self.complete:
            arrival: Future[None] = Future()
            self.add_done_callback(lambda: arrival.set_result(None))
            try:
                waiter.result(arrival, self.doing, self.embed_code)
            except BacklotError:
                self.abandon()
                raise
        if self.error is not None:
            raise self.error


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """The settings of all fetches of a loader.

    :ivar get: gets bytes from the source's host.
    :ivar deadline_s: time limit of one fetch.
    :ivar tracing: makes spans of prefetches; None: there is no tracing.
    """

    get: RangeGet
    clock: Clock
    deadline_s: float = FETCH_DEADLINE_S
    tracing: Tracing | None = None


class BlockFetch:
    """Gets adjacent blocks of one version of a source by one GET. It runs once, on one thread.

    It is the `BufferSink` of that GET, so blocks are delivered as they arrive.

    :ivar left: the keys of the blocks that this GET has not brought, in order.
    :ivar begun: whether a block has arrived.
    :ivar waiters: the reads that wait for each block number; guarded by the loader's lock.
    :ivar before_open: whether it began as a prefetch of a file that was not open.
    :ivar is_prefetch: whether it began as a prefetch. The failure of a prefetch fails no read,
        except if the source was replaced.
    :ivar urgent: whether a reader waits, or waited, for it. An urgent fetch is never dropped as
        unwanted.
    :ivar last_progress_s: when it began, or when its last block arrived; None before it begins.
    :ivar done: whether it has ended.
    :ivar hedge_peer: the hedge of this fetch, or the fetch that this hedge is for; None if there
        is none, or if one of the two has ended. Guarded by the loader's lock.
    :ivar was_hedged: whether it has or had a hedge peer, which may have brought its blocks.
    :ivar on_done: only for a hedge: a function to call with `contributed` when the hedge ends.
    :ivar contributed: whether it brought a block before its hedge peer did.
    :ivar span: for OpenTelemetry; None without tracing.
    """

    __slots__ = (
        "_blocks",
        "_group",
        "_loader",
        "_still_wanted",
        "before_open",
        "begun",
        "contributed",
        "done",
        "embed_code",
        "hedge_peer",
        "is_prefetch",
        "last_progress_s",
        "left",
        "on_done",
        "span",
        "urgent",
        "version",
        "waiters",
        "was_hedged",
    )  # fmt: skip

    def __init__(
        self,
        loader: BlockLoader,
        version: SourceVersion,
        run: range,
        still_wanted: StillWanted | None = None,
    ) -> None:
        """Prepare a fetch; `run` runs it.

        :param run: the numbers of the blocks.
        :param still_wanted: called before and during a prefetch; None if a reader waits.
        """
        self._loader = loader
        self._still_wanted = still_wanted
        self._blocks: list[Block] = []
        self._group = GROUP_BLOCKS
        self.version = version
        self.embed_code = version.embed_code
        self.left = [BlockKey(version.embed_code, version.validator, number) for number in run]
        self.begun = False
        self.waiters: dict[int, list[PendingRead]] = {}
        self.before_open = False
        self.is_prefetch = still_wanted is not None
        self.urgent = not self.is_prefetch
        self.last_progress_s: float | None = None
        self.done = False
        self.hedge_peer: BlockFetch | None = None
        self.was_hedged = False
        self.on_done: Callable[[bool], None] | None = None
        self.contributed = False
        self.span: FetchSpan | None = None

    @property
    def missing(self) -> ByteRange:
        """The bytes that this GET has to bring and that have not arrived."""
        # `left` is read only once, because another thread may replace the list meanwhile.
        left, block_bytes = self.left, self._loader.block_bytes
        if not left:
            return ByteRange(0, 0)
        stop = (left[-1].number + 1) * block_bytes
        return ByteRange(left[0].number * block_bytes, min(stop, self.version.size))

    @property
    def awaited(self) -> bool:
        """Whether a read waits for this fetch, and it has no hedge peer."""
        return bool(self.waiters) and self.hedge_peer is None

    @property
    def awaited_bytes(self) -> int:
        """The number of bytes that the next system call receives."""
        blocks = self._group if self.begun else 1
        return min(self.missing.length, self._loader.block_bytes * blocks)

    def waited_for(self, number: int) -> bool:
        """Whether a read still waits for this block. The caller holds the loader's lock."""
        return any(not read.abandoned for read in self.waiters.get(number, ()))

    def buffers(self) -> list[memoryview]:
        """See `BufferSink.buffers`: first one block, so that its reader continues, then several."""
        missing = self.missing
        wanted = self.urgent or self._still_wanted is None or self._still_wanted(missing)
        nearly_whole = self.before_open and self.begun and missing.length <= FINISHED_BYTES
        if not wanted and not nearly_whole:
            raise Interrupted("no reader wants this prefetch any more")
        if self.was_hedged and not self._loader.misses_any_of(self):
            raise Interrupted("another GET was faster")
        if not self._blocks:
            count = min(self._group, len(self.left)) if self.begun else 1
            size = self._loader.block_bytes
            last = min(size, missing.length - (count - 1) * size)
            self._blocks = self._loader.cache.allocate([size] * (count - 1) + [last])
        return [block.view for block in self._blocks]

    def commit(self, size: int) -> int:
        """See `BufferSink.commit`: whole blocks are kept; `buffers` returns the others again."""
        whole, kept = 0, 0
        for block in self._blocks:
            if kept + len(block.view) > size:
                break
            kept += len(block.view)
            whole += 1
        if whole:
            blocks, self._blocks = self._blocks[:whole], self._blocks[whole:]
            now_s = self._loader.settings.clock.monotonic()
            if self.begun and self.last_progress_s is not None:
                # Receive more blocks at once while a group arrives quickly, otherwise fewer.
                took_s = now_s - self.last_progress_s
                if took_s < QUICK_GROUP_S:
                    self._group = min(MOST_GROUP_BLOCKS, 2 * self._group)
                elif took_s > 2 * QUICK_GROUP_S:
                    self._group = max(GROUP_BLOCKS, self._group // 2)
            self.last_progress_s = now_s
            self.begun = True
            self._loader.arrived(self, blocks)
        return kept

    def run(self) -> None:
        """Make the GET. When it ends, no read waits for it any more.

        The reads that waited are complete, have failed, or wait for another fetch.
        """
        error: BacklotError | None = None
        settings = self._loader.settings
        self.last_progress_s = settings.clock.monotonic()
        try:
            deadline = Deadline(settings.deadline_s, settings.clock)
            with nullcontext() if self.span is None else self.span.running():
                settings.get(self.version, self.missing, self, deadline)
        except BacklotError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001  # a reader that waits must get an answer
            error = BacklotError(f"reading {self.embed_code}: {type(failure).__name__}")
            error.__cause__ = failure
        self._blocks = []
        if self.span is not None:
            self.span.ended(error)
        self._loader.ended(self, error)


class BlockLoader:
    """Loads blocks. Any thread may call it; no I/O happens under its lock."""

    def __init__(
        self,
        cache: BlockCache,
        settings: FetchSettings,
        scheduler: FetchScheduler,
        *,
        prefetch_budget_bytes: int,
        changed: Callable[[SourceVersion], None],
        disk: DiskAdmission | None = None,
        hedges: HedgePolicy | None = None,
    ) -> None:
        """Start no fetch yet.

        :param prefetch_budget_bytes: the limit for the bytes of prefetches in flight, for all files
            together; blocks of a prefetch that do not fit are left out.
        :param changed: called on a worker's thread when the host has another version of a source.
        :param hedges: decides when a GET is late and how often it is hedged; None: no hedges.
        """
        self.block_bytes = cache.pool.block_bytes
        self.settings = settings
        self.cache = cache
        self._lock = cache.lock
        self._scheduler = scheduler
        self._prefetch_budget = prefetch_budget_bytes
        self._changed = changed
        self._disk = disk
        self._watch = None if hedges is None else HedgeWatch(hedges, self._hedge, settings.clock)
        # Watches a fetch that a reader waits for, to hedge it when it is late.
        self._watch_late = _no_watch if self._watch is None else self._watch.add
        self._owners: dict[BlockKey, BlockFetch] = {}  # of the blocks in flight
        #: Bytes of prefetches that run or are queued, counted in whole blocks.
        self.prefetch_bytes = 0
        #: Bytes that prefetches for files that were not open have fetched.
        self.before_open_bytes = 0

    def memory_use(self) -> MemoryUse:
        """The current use of the memory for blocks."""
        with self._lock:
            return MemoryUse.of(self.cache.pool, len(self.cache), len(self._owners))

    def demand(
        self, version: SourceVersion, wanted: ByteRange, span: ReadSpan | None = None
    ) -> PendingRead:
        """Start to load ``wanted`` for a reader, without waiting.

        :param wanted: inside the source, not empty.
        :param span: of the read, for OpenTelemetry.
        """
        code, validator = version.embed_code, version.validator
        read = PendingRead(wanted, self.block_bytes, self._lock, f"read of {code}", code)
        read.span = span
        keys = [BlockKey(code, validator, number) for number in read.numbers]
        if self._disk is not None:
            keys = self._from_disk(self._disk, version, read, keys)
        nowhere: dict[int, list[PendingRead]] = {}
        promoted: list[BlockFetch] = []
        started: list[BlockFetch] = []
        joined: dict[FetchSpan, None] = {}
        with self._lock:
            for key in self._from_memory(read, keys):
                fetch = self._owners.get(key)
                if fetch is None:
                    nowhere[key.number] = [read]
                    continue
                fetch.waiters.setdefault(key.number, []).append(read)
                if span is not None and fetch.span is not None:
                    joined[fetch.span] = None
                if not fetch.urgent:
                    fetch.urgent = True
                    promoted.append(fetch)
                    self._watch_late(fetch)
            if nowhere:
                read.missed = True
                started = self._start(version, nowhere)
        if span is not None:
            for other in joined:
                span.waits_for(other)
        for fetch in promoted:
            self._scheduler.promote(fetch)
        for fetch in started:
            self._submit(fetch)
        return read

    def prefetch(
        self,
        version: SourceVersion,
        ahead: ByteRange,
        still_wanted: StillWanted,
        *,
        before_open: bool = False,
    ) -> None:
        """Fetch ``ahead`` before it is read; blocks that exceed the budget are left out.

        Each run of adjacent blocks that are neither cached nor in flight is fetched by one GET.

        :param still_wanted: called before and during the GET; returns whether the bytes that have
            not arrived are still wanted. If they are not and no reader waits, the GET is dropped,
            but see `FINISHED_BYTES`.
        :param before_open: the file is not open. Its fetches come after all others, and leave a
            quarter of the budget to open files.
        """
        tracing = self.settings.tracing
        numbers = block_span(ahead.clamped(version.size), self.block_bytes)
        keys = [BlockKey(version.embed_code, version.validator, number) for number in numbers]
        if self._disk is not None:
            keys = self._disk.missing(keys)
        with self._lock:
            absent = [
                key.number for key in keys if key not in self.cache and key not in self._owners
            ]
            budget = self._prefetch_budget * 3 // 4 if before_open else self._prefetch_budget
            room = (budget - self.prefetch_bytes) // self.block_bytes
            del absent[max(0, room) :]
            started: list[BlockFetch] = []
            for run in runs_of(absent, len(absent)):
                fetch = BlockFetch(self, version, run, still_wanted)
                fetch.before_open = before_open
                if tracing is not None:
                    missing = fetch.missing
                    fetch.span = tracing.prefetch(version.embed_code, missing.start, missing.length)
                self._owners.update(dict.fromkeys(fetch.left, fetch))
                self.prefetch_bytes += self.block_bytes * len(run)
                started.append(fetch)
        for fetch in started:
            # A reader may have joined the fetch since the lock was released.
            self._scheduler.submit(fetch, urgent=fetch.urgent, before_open=before_open)

    def arrived(self, fetch: BlockFetch, blocks: list[Block]) -> None:
        """Cache the next blocks of a fetch, and complete the reads that wait for them."""
        complete: list[PendingRead] = []
        kept: list[tuple[BlockKey, Block]] = []
        with self._lock:
            for key, block in zip(fetch.left, blocks, strict=False):
                owner = self._disown(key)
                if owner is None:
                    continue  # the hedge peer has brought this block already
                fetch.contributed = True
                if fetch.before_open:
                    block.before_open = True
                    self.before_open_bytes += len(block.view)
                kept.append((key, block))
                stop = key.number * self.block_bytes + len(block.view)
                waiters = owner.waiters.pop(key.number, ())
                to_its_end = any(read.wanted.stop >= stop for read in waiters)
                self.cache.put(key, block, to_its_end=to_its_end)
                for read in waiters:
                    read.deliver(key.number, block)
                    if read.complete:
                        complete.append(read)
            fetch.left = fetch.left[len(blocks) :]
        for read in complete:
            read.finished()
        if self._disk is not None:
            for key, block in kept:
                self._disk.put(key, block.view, block)

    def ended(self, fetch: BlockFetch, error: BacklotError | None) -> None:
        """Find another fetch for the missing blocks, or fail the reads that wait for them.

        The hedge peer takes them over, or (after a prefetch) they are fetched again. If the source
        was replaced, the reads fail.
        """
        replaced = isinstance(error, ContentChanged)
        failed: list[PendingRead] = []
        again: list[BlockFetch] = []
        if replaced:
            # This comes before a read fails: the program may close the file when its read fails,
            # and the close must fail too.
            self._changed(fetch.version)
        with self._lock:
            fetch.done = True
            peer, fetch.hedge_peer = fetch.hedge_peer, None
            if peer is not None:
                peer.hedge_peer = None
                if not replaced:
                    self._transfer_ownership(fetch, peer)
            for key in fetch.left:
                if self._owners.get(key) is fetch:
                    self._disown(key)
            waiters, fetch.waiters = fetch.waiters, {}
            if fetch.is_prefetch and not replaced:
                again = self._start(fetch.version, dict(sorted(waiters.items())))
            elif waiters:
                reason = error or BacklotError(f"a fetch of {fetch.embed_code} ended early")
                for read in {id(one): one for reads in waiters.values() for one in reads}.values():
                    if not read.complete:
                        read.fail(reason)
                        failed.append(read)
        if fetch.on_done is not None:
            fetch.on_done(fetch.contributed)
        for read in failed:
            read.finished()
        for fresh in again:
            self._submit(fresh)

    def _submit(self, fetch: BlockFetch) -> None:
        """Submit a fetch that a reader waits for, and watch it."""
        self._scheduler.submit(fetch, urgent=True)
        # Not on the worker's thread: to start the watch, once, takes so long that the GETs of
        # prefetches would take the idle connections first.
        self._watch_late(fetch)

    def misses_any_of(self, fetch: BlockFetch) -> bool:
        """Whether the fetch has blocks left that its hedge peer has not brought."""
        with self._lock:
            return any(key in self._owners for key in fetch.left)

    def _hedge(self, fetch: BlockFetch, policy: HedgePolicy) -> None:
        """Hedge the first run of blocks that readers wait for, if the policy allows it.

        A later hedge of the same fetch is for the first run of all missing blocks.
        """
        with self._lock:
            numbers = [key.number for key in fetch.left if fetch.waited_for(key.number)]
            if fetch.hedge_peer is not None or not numbers:
                return
            if fetch.was_hedged:
                numbers = [key.number for key in fetch.left if key in self._owners]
            run = runs_of(numbers, len(numbers))[0]
            size = min(run.stop * self.block_bytes, fetch.version.size)
            on_done = policy.begin(fetch.embed_code, size - run.start * self.block_bytes)
            if on_done is None:
                return
            hedge = BlockFetch(self, fetch.version, run)
            hedge.on_done = on_done
            hedge.hedge_peer, fetch.hedge_peer = fetch, hedge
            hedge.was_hedged = fetch.was_hedged = True
            if fetch.span is not None and fetch.span.read is not None:
                missing, read = hedge.missing, fetch.span.read
                hedge.span = read.fetch(fetch.embed_code, missing.start, missing.length, hedge=True)
        self._scheduler.submit(hedge, urgent=True)

    def _from_disk(
        self, disk: DiskAdmission, version: SourceVersion, read: PendingRead, keys: list[BlockKey]
    ) -> list[BlockKey]:
        """Deliver the blocks in memory and on disk to ``read``; return the keys of the others."""
        with self._lock:
            absent = self._from_memory(read, keys)
            wanted = [key for key in absent if key not in self._owners]
        missing = set(disk.missing(wanted)) if wanted else set()
        wanted = [key for key in wanted if key not in missing]
        if not wanted:
            return absent
        blocks = self.cache.allocate(
            block_range(key.number, self.block_bytes, version.size).length for key in wanted
        )
        found = disk.get(wanted, [block.view for block in blocks])
        with self._lock:
            for key, block, here in zip(wanted, blocks, found, strict=True):
                if here:
                    # A read to the end of a block is usually the last read of it.
                    to_its_end = key.number < read.full_blocks_before
                    self.cache.put(key, block, to_its_end=to_its_end)
                    read.deliver(key.number, block, DISK)
                    absent.remove(key)
        return absent

    def _from_memory(self, read: PendingRead, keys: list[BlockKey]) -> list[BlockKey]:
        """Deliver the blocks in memory to ``read``; return the other keys. The caller locks."""
        absent: list[BlockKey] = []
        for key in keys:
            block = self.cache.get(key, to_its_end=key.number < read.full_blocks_before)
            if block is None:
                absent.append(key)
            else:
                read.deliver(key.number, block, MEMORY)
        return absent

    def _start(
        self, version: SourceVersion, waiters: dict[int, list[PendingRead]]
    ) -> list[BlockFetch]:
        """Make fetches for blocks that are neither cached nor in flight. The caller locks.

        :param waiters: the reads that wait for each block number, in the order of the numbers.
        """
        started: list[BlockFetch] = []
        for run in runs_of(waiters, len(waiters)):
            fetch = BlockFetch(self, version, run)
            fetch.waiters = {number: waiters[number] for number in run}
            span = waiters[run.start][0].span
            if span is not None:
                missing = fetch.missing
                fetch.span = span.fetch(version.embed_code, missing.start, missing.length)
            self._owners.update(dict.fromkeys(fetch.left, fetch))
            started.append(fetch)
        return started

    def _disown(self, key: BlockKey) -> BlockFetch | None:
        """Remove a block in flight; return the fetch that owned it. The caller locks.

        :returns: None if the block is not in flight, because it has arrived already.
        """
        fetch = self._owners.pop(key, None)
        if fetch is not None and fetch.is_prefetch:
            self.prefetch_bytes -= self.block_bytes
        return fetch

    def _transfer_ownership(self, fetch: BlockFetch, hedge: BlockFetch) -> None:
        """Make ``hedge`` the owner of the blocks that both fetch, with their waiters."""
        for key in hedge.left:
            if self._owners.get(key) is fetch:
                self._disown(key)
                self._owners[key] = hedge
                if key.number in fetch.waiters:
                    hedge.waiters[key.number] = fetch.waiters.pop(key.number)
        self._watch_late(hedge)


class HedgeWatch:
    """Watches the fetches that readers wait for, and hedges those that are late.

    A daemon thread starts with the first fetch. It sleeps while there is no fetch to watch. Any
    thread may call `add`.
    """

    def __init__(
        self,
        policy: HedgePolicy,
        hedge: Callable[[BlockFetch, HedgePolicy], None],
        clock: Clock,
    ) -> None:
        """``hedge``: makes a second GET for missing blocks of a fetch, if the policy allows it."""
        self._policy = policy
        self._hedge = hedge
        self._clock = clock
        self._wake = threading.Condition()
        self._watched: set[BlockFetch] = set()
        self._started = False
        self._asleep = False  # whether the thread waits without a time limit

    def add(self, fetch: BlockFetch) -> None:
        """Watch a fetch until it has ended."""
        with self._wake:
            self._watched.add(fetch)
            if self._asleep:
                self._asleep = False
                self._wake.notify()
            if self._started:
                return
            self._started = True
        try:
            threading.Thread(target=self._watch, name="hedges", daemon=True).start()
        except RuntimeError:  # the system cannot start a thread now; the next fetch tries again
            self._started = False

    def look(self, now_s: float) -> float | None:
        """Hedge the late fetches; return when to check again, None if there is none to watch."""
        with self._wake:
            self._watched = {fetch for fetch in self._watched if not fetch.done}
            watched = list(self._watched)
        if not watched:
            return None
        next_s = again_s = now_s + HEDGE_CHECK_S
        for fetch in watched:
            if fetch.last_progress_s is None or not fetch.awaited:
                continue
            if self._policy.queued(fetch.embed_code):
                fetch.last_progress_s = now_s  # the GET has not been sent yet
                continue
            delay_s = self._policy.delay_s(fetch.embed_code, fetch.awaited_bytes)
            due_s = fetch.last_progress_s + delay_s
            if due_s <= now_s:
                self._hedge(fetch, self._policy)
                due_s = again_s
            next_s = min(next_s, due_s)
        return next_s

    def _watch(self) -> None:
        while True:
            with self._wake:
                while not self._watched:
                    self._asleep = True
                    self._wake.wait()
                next_s: float | None = self._clock.monotonic() + HEDGE_CHECK_S
            while next_s is not None:
                with self._wake:
                    self._wake.wait(max(0.0, next_s - self._clock.monotonic()))
                next_s = self.look(self._clock.monotonic())
