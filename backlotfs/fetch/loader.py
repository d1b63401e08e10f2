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

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
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
from backlotfs.errors import BacklotError, ContentChanged, Interrupted
from backlotfs.fetch.hedging import HedgePolicy
from backlotfs.fetch.scheduler import FetchScheduler
from backlotfs.source.range_reader import BufferSink
from backlotfs.source.version import SourceVersion

#: A fetch ends after this long; a reader that waits for it has a deadline of its own.
FETCH_DEADLINE_S = 30.0
#: Blocks received by one system call, after the first was delivered: at first …
GROUP_BLOCKS = 8
#: … and at most, where a group comes within `QUICK_S`, so that no reader waits for the others.
MOST_GROUP_BLOCKS = 32
QUICK_S = 0.002
#: How often fetches are looked at, beside the moment when one becomes late: others may have begun,
#: or got a waiting reader meanwhile.
LOOK_S = 0.05

#: Gets bytes of a version, in order, into a sink, until a deadline: `RangeReader.fetch`.
RangeGet = Callable[[SourceVersion, ByteRange, BufferSink, Deadline], None]

#: Whether any of these bytes is still wanted: asked of a prefetch.
StillWanted = Callable[[ByteRange], bool]


def _no_look_ahead() -> None:
    """Plan nothing."""


class PendingRead:
    """The blocks of one read. The block loader calls `deliver` and `fail`, under its lock.

    :ivar wanted: the bytes asked for, inside the source, not empty.
    :ivar numbers: of the blocks that hold them.
    :ivar complete: every block has arrived, or the read has failed.
    :ivar missed: a block was neither cached nor in flight when the read began.
    :ivar error: why the read fails; None while it may still succeed.
    :ivar full_blocks_before: blocks with a lower number are read to their end.
    :ivar look_ahead: plans the prefetch; to be called after the answer was written, or while the
        reader waits, so that no reader waits for it.
    :ivar came_from: how many blocks came from each tier.
    :ivar first_use_bytes: bytes of the blocks that came from a host, for this read or prefetched,
        and that no other read used before.
    """

    __slots__ = (
        "_absent",
        "_block_bytes",
        "_blocks",
        "_done",
        "_lock",
        "abandoned",
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
        """``doing``: what errors say was being done: ``read of <embed code>``.

        :param embed_code: of the source; empty for a file that has none.
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
        self.first_use_bytes = 0
        self._block_bytes = block_bytes
        self._lock = lock
        self.numbers = block_span(wanted, block_bytes)
        self._blocks: list[Block | None] = [None] * len(self.numbers)
        self._absent = len(self.numbers)
        self._done: Callable[[], None] | None = None

    def deliver(self, number: int, block: Block, tier: int = NETWORK) -> None:
        """Take block ``number`` of the source. ``tier``: where the block was found."""
        place = number - self.numbers.start
        if self.error is None and self._blocks[place] is None:
            self._blocks[place] = block
            self._absent -= 1
            self.complete = not self._absent
            self.came_from[tier] += 1
            if not block.used:
                block.used = True
                self.first_use_bytes += len(block.view) if tier != DISK else 0

    def fail(self, error: BacklotError) -> None:
        """Let the read fail."""
        self.error = error
        self.complete = True
        # The error's traceback will refer to this read: a cycle must not hold memory.
        self._blocks = []

    def finished(self) -> None:
        """Call the done callback. Call this without the lock, after the read became complete."""
        # Drop the callback: it may refer to this read, and so keep its memory.
        done, self._done = self._done, None
        if done is not None:
            done()

    def add_done_callback(self, done: Callable[[], None]) -> None:
        """Call ``done`` when the read is complete, on this thread or on a fetch's.

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
        """The wanted bytes, in order, without a copy; valid while the read is referred to."""
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
        """Wait for every block. :raises BacklotError: the read failed, or the wait was ended."""
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
    """What every fetch of a loader is made with.

    :ivar get: gets bytes from the source's host.
    :ivar deadline_s: how long one fetch may take; a reader has its own deadline.
    """

    get: RangeGet
    clock: Clock
    deadline_s: float = FETCH_DEADLINE_S


class BlockFetch:
    """Gets neighbouring blocks of one version of a source by one GET; runs once, on one thread.

    It is the `BufferSink` of that GET: blocks are delivered as they arrive.

    :ivar left: the keys of its blocks that have not arrived, in order.
    :ivar begun: a block has arrived.
    :ivar waiters: the reads that wait, by block number; guarded by the loader's lock.
    :ivar is_prefetch: it began as a prefetch: its failure fails no read.
    :ivar urgent: a reader waits for it, so it is not dropped any more.
    :ivar last_progress_s: when it began, or when its last block arrived; None before it begins.
    :ivar done: it has ended.
    :ivar hedge_peer: its hedge, or the fetch that it hedges, while both run; guarded by the
        loader's lock.
    :ivar was_hedged: it has, or had, a hedge peer: its blocks may have arrived by that.
    :ivar on_done: of a hedge: called at its end with `contributed`.
    :ivar contributed: it brought a block before its hedge peer did.
    """

    __slots__ = (
        "_blocks",
        "_group",
        "_loader",
        "_still_wanted",
        "begun",
        "contributed",
        "done",
        "embed_code",
        "hedge_peer",
        "is_prefetch",
        "last_progress_s",
        "left",
        "on_done",
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
        """Prepare a fetch; `run` makes it.

        :param run: the numbers of the blocks.
        :param still_wanted: asked before and during a prefetch; None for what a reader needs.
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
        self.is_prefetch = still_wanted is not None
        self.urgent = not self.is_prefetch
        self.last_progress_s: float | None = None
        self.done = False
        self.hedge_peer: BlockFetch | None = None
        self.was_hedged = False
        self.on_done: Callable[[bool], None] | None = None
        self.contributed = False

    @property
    def missing(self) -> ByteRange:
        """The bytes that have not arrived."""
        left, block_bytes = self.left, self._loader.block_bytes  # it is replaced by other threads
        if not left:
            return ByteRange(0, 0)
        stop = (left[-1].number + 1) * block_bytes
        return ByteRange(left[0].number * block_bytes, min(stop, self.version.size))

    @property
    def awaited(self) -> bool:
        """Whether a read waits for it, and it has no hedge peer."""
        return bool(self.waiters) and self.hedge_peer is None

    @property
    def awaited_bytes(self) -> int:
        """How many bytes it brings next, by one system call."""
        blocks = self._group if self.begun else 1
        return min(self.missing.length, self._loader.block_bytes * blocks)

    def waited_for(self, number: int) -> bool:
        """Whether a read still waits for this block. The caller holds the loader's lock."""
        return any(not read.abandoned for read in self.waiters.get(number, ()))

    def buffers(self) -> list[memoryview]:
        """As `BufferSink.buffers`: one block first, so that its reader goes on, then several."""
        missing = self.missing
        if not self.urgent and self._still_wanted is not None and not self._still_wanted(missing):
            raise Interrupted("no reader wants this prefetch any more")
        if self.was_hedged and not self._loader.misses_any_of(self):
            raise Interrupted("another GET was faster")
        if not self._blocks:
            count = min(self._group, len(self.left)) if self.begun else 1
            size = self._loader.block_bytes
            last = min(size, missing.length - (count - 1) * size)
            self._blocks = self._loader.cache.allocate([size] * (count - 1) + [last])
        return [block.view for block in self._blocks]

    def commit(self, size: int | None = None) -> int:
        """As `BufferSink.commit`: whole blocks are kept."""
        whole, kept = 0, 0
        for block in self._blocks:
            if size is not None and kept + len(block.view) > size:
                break
            kept += len(block.view)
            whole += 1
        if whole:
            blocks, self._blocks = self._blocks[:whole], self._blocks[whole:]
            now_s = self._loader.settings.clock.monotonic()
            if self.begun and self.last_progress_s is not None:
                # Receive more at once while a group comes quickly, fewer while it does not.
                took_s = now_s - self.last_progress_s
                if took_s < QUICK_S:
                    self._group = min(MOST_GROUP_BLOCKS, 2 * self._group)
                elif took_s > 2 * QUICK_S:
                    self._group = max(GROUP_BLOCKS, self._group // 2)
            self.last_progress_s = now_s
            self.begun = True
            self._loader.arrived(self, blocks)
        return kept

    def run(self) -> None:
        """Make the GET. In the end every read that waits is completed, failed or fetched again."""
        error: BacklotError | None = None
        settings = self._loader.settings
        self.last_progress_s = settings.clock.monotonic()
        try:
            deadline = Deadline(settings.deadline_s, settings.clock)
            settings.get(self.version, self.missing, self, deadline)
        except BacklotError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001  # a waiting reader must get an answer
            error = BacklotError(f"reading {self.embed_code}: {type(failure).__name__}")
            error.__cause__ = failure
        self._blocks = []
        self._loader.ended(self, error)


class BlockLoader:
    """Loads blocks. Any thread may call it; its lock is held for dictionary work only."""

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
        """Put the parts together.

        :param prefetch_budget_bytes: of prefetches in flight, for all files together; a prefetch
            that does not fit is dropped.
        :param changed: called on a worker's thread when the host turns out to have another version.
        :param hedges: decides when a GET is late and how often it is hedged; None: never.
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
        self._owners: dict[BlockKey, BlockFetch] = {}  # of the blocks in flight
        #: Bytes of prefetches that are in flight or queued, counted in whole blocks.
        self.prefetch_bytes = 0

    def memory_use(self) -> MemoryUse:
        """How the memory for blocks is used now."""
        with self._lock:
            return MemoryUse.of(self.cache.pool, len(self.cache), len(self._owners))

    def demand(self, version: SourceVersion, wanted: ByteRange) -> PendingRead:
        """Start to load ``wanted`` for a reader. It never waits.

        :param wanted: inside the source, not empty.
        """
        code, validator = version.embed_code, version.validator
        read = PendingRead(wanted, self.block_bytes, self._lock, f"read of {code}", code)
        keys = [BlockKey(code, validator, number) for number in read.numbers]
        if self._disk is not None:
            keys = self._from_disk(self._disk, version, read, keys)
        nowhere: dict[int, list[PendingRead]] = {}
        promoted: list[BlockFetch] = []
        started: list[BlockFetch] = []
        with self._lock:
            for key in self._from_memory(read, keys):
                fetch = self._owners.get(key)
                if fetch is None:
                    nowhere[key.number] = [read]
                    continue
                fetch.waiters.setdefault(key.number, []).append(read)
                if not fetch.urgent:
                    fetch.urgent = True
                    promoted.append(fetch)
                    if self._watch is not None:
                        self._watch.add(fetch)
            if nowhere:
                read.missed = True
                started = self._start(version, nowhere)
        for fetch in promoted:
            self._scheduler.promote(fetch)
        for fetch in started:
            self._scheduler.submit(fetch, urgent=True)
        return read

    def prefetch(
        self,
        version: SourceVersion,
        ahead: ByteRange,
        still_wanted: StillWanted,
    ) -> None:
        """Fetch ``ahead`` before anybody reads it; what does not fit into the budget is dropped.

        Its blocks come by one GET, but for those that are here or in flight.

        :param still_wanted: asked before the GET and during it whether the bytes that have not
            arrived are still wanted.
        """
        numbers = block_span(ahead.clamped(version.size), self.block_bytes)
        keys = [BlockKey(version.embed_code, version.validator, number) for number in numbers]
        if self._disk is not None:
            keys = self._disk.missing(keys)
        with self._lock:
            absent = [
                key.number for key in keys if key not in self.cache and key not in self._owners
            ]
            room = (self._prefetch_budget - self.prefetch_bytes) // self.block_bytes
            del absent[max(0, room) :]
            started: list[BlockFetch] = []
            for run in runs_of(absent, len(absent)):
                fetch = BlockFetch(self, version, run, still_wanted)
                self._owners.update(dict.fromkeys(fetch.left, fetch))
                self.prefetch_bytes += self.block_bytes * len(run)
                started.append(fetch)
        for fetch in started:
            # A reader may have joined between the registration and now.
            self._scheduler.submit(fetch, urgent=fetch.urgent)

    def arrived(self, fetch: BlockFetch, blocks: list[Block]) -> None:
        """Keep the next blocks of a fetch, and complete the reads that wait for them."""
        complete: list[PendingRead] = []
        kept: list[tuple[BlockKey, Block]] = []
        with self._lock:
            for key, block in zip(fetch.left, blocks, strict=False):
                owner = self._disown(key)
                if owner is None:
                    continue  # the hedge, or the fetch that it hedges, was faster
                fetch.contributed = True
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
        """Fail, or fetch again, what a fetch did not bring."""
        replaced = isinstance(error, ContentChanged)
        failed: list[PendingRead] = []
        again: list[BlockFetch] = []
        if replaced:
            # Before any read fails: a program may close at once, and close has to fail too.
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
            self._scheduler.submit(fresh, urgent=True)

    def misses_any_of(self, fetch: BlockFetch) -> bool:
        """Whether any block that a fetch has still to bring has not come from elsewhere."""
        with self._lock:
            return any(key in self._owners for key in fetch.left)

    def _hedge(self, fetch: BlockFetch, policy: HedgePolicy) -> None:
        """Make a second GET for the blocks that readers wait for, if the policy allows it.

        The second hedge of a fetch is for every block that the fetch has still to bring.
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
        self._scheduler.submit(hedge, urgent=True)

    def _from_disk(
        self, disk: DiskAdmission, version: SourceVersion, read: PendingRead, keys: list[BlockKey]
    ) -> list[BlockKey]:
        """Give ``read`` the blocks in memory and on disk; return the keys of the others."""
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
        """Give ``read`` the blocks in memory; return the other keys. The lock is held."""
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
        """Make fetches for blocks that are nowhere, by their numbers. The lock is held."""
        started: list[BlockFetch] = []
        for run in runs_of(waiters, len(waiters)):
            fetch = BlockFetch(self, version, run)
            fetch.waiters = {number: waiters[number] for number in run}
            self._owners.update(dict.fromkeys(fetch.left, fetch))
            if self._watch is not None:
                self._watch.add(fetch)
            started.append(fetch)
        return started

    def _disown(self, key: BlockKey) -> BlockFetch | None:
        """Remove a block in flight; return the fetch that owned it. The lock is held.

        None: the block is not in flight, because it has arrived already.
        """
        fetch = self._owners.pop(key, None)
        if fetch is not None and fetch.is_prefetch:
            self.prefetch_bytes -= self.block_bytes
        return fetch

    def _transfer_ownership(self, fetch: BlockFetch, hedge: BlockFetch) -> None:
        """Make ``hedge`` the owner of the blocks that both bring, with their waiters."""
        for key in hedge.left:
            if self._owners.get(key) is fetch:
                self._disown(key)
                self._owners[key] = hedge
                if key.number in fetch.waiters:
                    hedge.waiters[key.number] = fetch.waiters.pop(key.number)
        if self._watch is not None:
            self._watch.add(hedge)


class HedgeWatch:
    """Watches the fetches that readers wait for, and asks for a hedge of each that is late.

    One daemon thread starts with the first fetch, and sleeps while there is none to watch. Any
    thread may call `add`.
    """

    def __init__(
        self,
        policy: HedgePolicy,
        hedge: Callable[[BlockFetch, HedgePolicy], None],
        clock: Clock,
    ) -> None:
        """``hedge``: makes a second GET for what a fetch does not bring, if that is allowed."""
        self._policy = policy
        self._hedge = hedge
        self._clock = clock
        self._wake = threading.Condition()
        self._watched: set[BlockFetch] = set()
        self._started = False
        self._asleep = False  # without a time limit

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
        except RuntimeError:  # the system has no thread for us now; the next fetch may get one
            self._started = False

    def look(self, now_s: float) -> float | None:
        """Hedge what is late. Return when to look again; None while there is nothing to watch."""
        with self._wake:
            self._watched = {fetch for fetch in self._watched if not fetch.done}
            watched = list(self._watched)
        if not watched:
            return None
        next_s = again_s = now_s + LOOK_S
        for fetch in watched:
            if fetch.last_progress_s is None or not fetch.awaited:
                continue
            if self._policy.queued(fetch.embed_code):
                fetch.last_progress_s = now_s  # its GET has not been sent
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
                next_s: float | None = self._clock.monotonic() + LOOK_S
            while next_s is not None:
                with self._wake:
                    self._wake.wait(max(0.0, next_s - self._clock.monotonic()))
                next_s = self.look(self._clock.monotonic())
