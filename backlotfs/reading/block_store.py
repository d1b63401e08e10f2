"""Blocks from the cache, from a transfer under way, or from a new one: each fetched once.

Invariants. A key is in `_under_way` from the moment somebody decides to fetch it until its block is
in the cache or its transfer has failed, so no two transfers carry the same block. A block is put
into the cache *before* its key leaves `_under_way` and its future is resolved. A reader that joined
a read-ahead which failed fetches for itself; an error is shared only among those who asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

from backlotfs.byterange import ByteRange, block_range, block_span
from backlotfs.clock import Clock
from backlotfs.errors import BacklotError, ContentChanged
from backlotfs.reading.block_cache import BlockCache
from backlotfs.reading.block_key import BlockKey
from backlotfs.reading.fetch_queue import FetchQueue
from backlotfs.reading.transfer import BlockTransfer, Fetch
from backlotfs.remote.identity import SourceIdentity
from backlotfs.waiting import Waiter


class Demand:
    """The blocks of one read, here or on their way. Belongs to the reading thread."""

    __slots__ = ("_identity", "_parts", "_store", "_wanted", "missed")

    def __init__(
        self,
        store: BlockStore,
        identity: SourceIdentity,
        wanted: ByteRange,
        parts: list[tuple[BlockKey, bytes | BlockTransfer]],
        *,
        missed: bool,
    ) -> None:
        self._store = store
        self._identity = identity
        self._wanted = wanted
        self._parts = parts
        #: Whether a block was neither cached nor under way.
        self.missed = missed

    def result(self, waiter: Waiter) -> bytes:
        """The wanted bytes. :raises BacklotError: what the fetch, or the waiting, ends with."""
        size, block_bytes = self._identity.size, self._store.block_bytes
        pieces: list[bytes | memoryview] = []
        for key, part in self._parts:
            block = part if isinstance(part, bytes) else self._wait(key, part, waiter)
            held = block_range(key.number, block_bytes, size)
            start = max(self._wanted.start, held.start) - held.start
            stop = min(self._wanted.stop, held.stop) - held.start
            whole = stop - start == len(block)
            pieces.append(block if whole else memoryview(block)[start:stop])
        if len(pieces) == 1:
            return bytes(pieces[0])  # no copy when it is bytes already
        return b"".join(pieces)

    def _wait(self, key: BlockKey, transfer: BlockTransfer, waiter: Waiter) -> bytes:
        doing = f"reading {key.embed_code}"
        try:
            return waiter.result(transfer.block(key), doing)
        except BacklotError as error:
            failed_for_us = transfer.block(key).done()
            if not (transfer.ahead and failed_for_us) or isinstance(error, ContentChanged):
                raise
        return self._store.demand(self._identity, self._range_of(key)).result(waiter)

    def _range_of(self, key: BlockKey) -> ByteRange:
        return block_range(key.number, self._store.block_bytes, self._identity.size)


class BlockStore:
    """Loads blocks. Any thread may call it; its lock is held for dictionary work only."""

    def __init__(
        self,
        cache: BlockCache,
        fetch: Fetch,
        queue: FetchQueue,
        clock: Clock,
        *,
        block_bytes: int,
        ahead_budget_bytes: int,
        changed: Callable[[SourceIdentity], None],
    ) -> None:
        """Put the parts together.

        :param ahead_budget_bytes: read-ahead under way for all files together; more is dropped.
        :param changed: told, from a worker's thread, that the host has another version.
        """
        self.block_bytes = block_bytes
        self._cache = cache
        self._fetch = fetch
        self._queue = queue
        self._clock = clock
        self._ahead_budget = ahead_budget_bytes
        self._changed = changed
        self._lock = threading.Lock()
        self._under_way: dict[BlockKey, BlockTransfer] = {}
        self._ahead_bytes = 0

    @property
    def ahead_bytes(self) -> int:
        """Bytes of read-ahead that are under way or queued."""
        return self._ahead_bytes

    def demand(self, identity: SourceIdentity, wanted: ByteRange) -> Demand:
        """Start whatever is missing of ``wanted`` (inside the source, not empty)."""
        parts: list[tuple[BlockKey, bytes | BlockTransfer]] = []
        absent: list[BlockKey] = []
        for index in block_span(wanted, self.block_bytes):
            key = BlockKey(identity.embed_code, identity.validator, index)
            block = self._cache.get(key)
            if block is None:
                absent.append(key)
            else:
                parts.append((key, block))
        if not absent:
            return Demand(self, identity, wanted, parts, missed=False)
        joined, started = self._join_or_start(identity, absent, None, len(absent))
        for transfer in {id(transfer): transfer for _, transfer in joined}.values():
            if not transfer.needed:
                transfer.needed = True
                self._queue.promote(transfer)
        missed = False
        for transfer in started:
            joined += [(key, transfer) for key in transfer.keys]
            # Blocks that landed between the look into the cache and the registration are there
            # now; after it, nobody else can be fetching them.
            landed = [self._cache.get(key) for key in transfer.keys]
            if None in landed:
                missed = True
                self._queue.submit(transfer, urgent=True)
            else:
                transfer.satisfy([block for block in landed if block is not None])
        parts += joined
        parts.sort(key=lambda part: part[0].number)
        return Demand(self, identity, wanted, parts, missed=missed)

    def prefetch(
        self,
        identity: SourceIdentity,
        ahead: ByteRange,
        request_bytes: int,
        still_wanted: Callable[[], bool],
    ) -> None:
        """Have ``ahead`` fetched if memory allows; what does not fit is dropped.

        :param still_wanted: asked once, before each GET is made.
        """
        keys = [
            BlockKey(identity.embed_code, identity.validator, index)
            for index in block_span(ahead.clamped(identity.size), self.block_bytes)
        ]
        absent = [key for key in keys if key not in self._cache]
        per_request = max(1, request_bytes // self.block_bytes)
        _, started = self._join_or_start(identity, absent, still_wanted, per_request)
        for transfer in started:
            # A reader may have joined between the registration and now.
            self._queue.submit(transfer, urgent=transfer.needed)

    def landed(self, key: BlockKey, block: bytes) -> None:
        """Keep a block that arrived (called by its transfer)."""
        self._cache.put(key, block)
        with self._lock:
            transfer = self._under_way.pop(key)
            if transfer.ahead:
                self._ahead_bytes -= self.block_bytes

    def ended(self, transfer: BlockTransfer, error: BacklotError | None) -> None:
        """Forget what a transfer did not bring (called by it)."""
        with self._lock:
            for key in transfer.keys:
                if self._under_way.get(key) is transfer:
                    del self._under_way[key]
                    if transfer.ahead:
                        self._ahead_bytes -= self.block_bytes
        if isinstance(error, ContentChanged):
            self._changed(transfer.identity)

    def _join_or_start(
        self,
        identity: SourceIdentity,
        keys: list[BlockKey],
        still_wanted: Callable[[], bool] | None,
        per_request: int,
    ) -> tuple[list[tuple[BlockKey, BlockTransfer]], list[BlockTransfer]]:
        """Those of ``keys`` that are under way, and new transfers, registered, for the others."""
        joined: list[tuple[BlockKey, BlockTransfer]] = []
        started: list[BlockTransfer] = []
        with self._lock:
            missing: list[BlockKey] = []
            for key in keys:
                transfer = self._under_way.get(key)
                if transfer is None:
                    missing.append(key)
                else:
                    joined.append((key, transfer))
            if still_wanted is not None:
                room = (self._ahead_budget - self._ahead_bytes) // self.block_bytes
                del missing[max(0, room) :]
            for run in _runs(missing, per_request):
                transfer = BlockTransfer(
                    self, self._fetch, identity, run, self.block_bytes, self._clock, still_wanted
                )
                self._under_way.update(dict.fromkeys(run, transfer))
                if transfer.ahead:
                    self._ahead_bytes += self.block_bytes * len(run)
                started.append(transfer)
        return joined, started


def _runs(keys: list[BlockKey], longest: int) -> list[list[BlockKey]]:
    """Split keys in ascending order into runs of neighbours, none longer than ``longest``."""
    runs: list[list[BlockKey]] = [[keys[0]]] if keys else []
    for before, key in pairwise(keys):
        if key.number == before.number + 1 and len(runs[-1]) < longest:
            runs[-1].append(key)
        else:
            runs.append([key])
    return runs
