# SPDX-License-Identifier: Apache-2.0
"""The inner layers of reading put together over a fetch that needs no network."""

from __future__ import annotations

from collections.abc import Callable

from backlotfs.cache.memory import BlockCache, BlockPool
from backlotfs.concurrency.workers import Workers
from backlotfs.fetch.hosts import FetchScheduler
from backlotfs.fetch.loader import BlockLoader, FetchSettings, RangeGet
from backlotfs.open_files.reader import HandleTable, SourceReader
from backlotfs.open_files.walk_prefetch import WalkPrefetcher
from backlotfs.prefetch.planner import PlanLimits
from backlotfs.prefetch.registry import PrefetcherRegistry
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.sources import OneHost, fetch_at_once
from tests.fakes.workers import InlineWorkers


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
        limits: PlanLimits | None = None,
        changed: Callable[[SourceVersion], None] | None = None,
    ) -> None:
        self.changed: list[SourceVersion] = []
        self.clock = ManualClock()
        self.pool = BlockPool(budget_bytes, block_bytes)
        self.cache = BlockCache(self.pool, keep_consumed=self.pool.slots)
        scheduler = FetchScheduler(workers or InlineWorkers(), OneHost(), self.clock)
        self.handles = HandleTable()
        self.store = BlockLoader(
            self.cache,
            FetchSettings(fetch, self.clock),
            scheduler,
            prefetch_budget_bytes=ahead_bytes,
            changed=changed or self.changed.append,
        )
        prefetchers = PrefetcherRegistry(
            self.clock, window_budget_bytes=1 << 20, block_bytes=block_bytes, limits=limits
        )
        walks = WalkPrefetcher(
            self.store,
            prefetchers,
            self.clock,
            version_of=lambda _code: None,
            stats_of=lambda _code: None,
            workers=InlineWorkers(),
        )
        self.reader = SourceReader(self.handles, self.store, prefetchers, walks)

    @property
    def cached_bytes(self) -> int:
        """What the cache keeps, in whole slots."""
        return len(self.cache) * self.pool.block_bytes
