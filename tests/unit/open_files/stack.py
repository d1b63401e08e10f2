"""The inner layers of reading put together over a fetch that needs no network."""

from __future__ import annotations

from collections.abc import Callable

from backlotfs.cache.memory import BlockCache, BlockPool
from backlotfs.concurrency.workers import Workers
from backlotfs.fetch.block_fetch import RangeGet
from backlotfs.fetch.loader import BlockLoader
from backlotfs.fetch.scheduler import FetchScheduler
from backlotfs.open_files.handles import HandleTable
from backlotfs.open_files.reader import SourceReader
from backlotfs.source.version import SourceVersion
from tests.unit.fakes import InlineWorkers, ManualClock, fetch_at_once


class ReadingStack:
    """A reader and its parts.

    :ivar changed: the identities that a transfer found to be replaced.
    """

    def __init__(
        self,
        *,
        fetch: RangeGet = fetch_at_once,
        workers: Workers | None = None,
        block_bytes: int = 10,
        budget_bytes: int = 10_000,
        ahead_bytes: int = 10_000,
        window_bytes: int = 1 << 20,
        changed: Callable[[SourceVersion], None] | None = None,
    ) -> None:
        self.changed: list[SourceVersion] = []
        self.clock = ManualClock()
        self.pool = BlockPool(budget_bytes, block_bytes)
        self.cache = BlockCache(keep_consumed=self.pool.slots)
        self.queue = FetchScheduler(workers or InlineWorkers())
        self.handles = HandleTable()
        self.store = BlockLoader(
            self.pool,
            self.cache,
            fetch,
            self.queue,
            self.clock,
            prefetch_budget_bytes=ahead_bytes,
            changed=changed or self.changed.append,
        )
        self.reader = SourceReader(self.handles, self.store, window_bytes)

    @property
    def held_bytes(self) -> int:
        """What the cache keeps, in whole slots."""
        return len(self.cache) * self.pool.block_bytes
