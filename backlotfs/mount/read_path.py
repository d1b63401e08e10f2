# SPDX-License-Identifier: Apache-2.0
"""Builds the read path: reader, prefetch, block loader, caches and pins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from backlotfs.cache.admission import DiskAdmission
from backlotfs.cache.cached_bytes import CachedBytes
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockCache, BlockPool, MemoryUse
from backlotfs.cache.pins import Pins
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.workers import Workers
from backlotfs.config.settings import MIB, MountSettings
from backlotfs.errors import BadHandle, ContentChanged
from backlotfs.fetch.hedging import HedgePolicy
from backlotfs.fetch.hosts import FetchScheduler, HostRegistry
from backlotfs.fetch.loader import BlockLoader, FetchSettings
from backlotfs.fetch.pin_reconciler import PinReconciler
from backlotfs.fetch.warm import Warmer
from backlotfs.kernel.callers import program_of
from backlotfs.kernel.read_requests import ReadCounts
from backlotfs.log.traces import Tracing
from backlotfs.namespace.attributes import CacheState
from backlotfs.open_files.reader import HandleTable, SourceReader
from backlotfs.open_files.recent_errors import RecentErrors
from backlotfs.open_files.walk_prefetch import WalkPrefetcher
from backlotfs.prefetch.registry import PrefetcherRegistry
from backlotfs.source.bandwidth import BandwidthLimit, RecentRate
from backlotfs.source.etag_aliases import EtagAliases
from backlotfs.source.range_reader import RangeReader
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.url_resolver import UrlResolver
from backlotfs.source.version import SourceVersion

log = logging.getLogger(__name__)

#: Size of a block. It is small for random readers: a read of 4 KiB fetches 64 KiB.
BLOCK_BYTES = 64 * 1024
#: Blocks that were read whole may use only this part of the memory (1/8): the kernel caches them.
CONSUMED_PART = 8
#: Threads for transfers. There are many, so that stalled sources do not block the others.
TRANSFER_THREADS = 256
#: Further threads for transfers of sources whose URLs wait for API credits.
URL_WAITERS = 512
#: Memory of one step of warming: this, or this part (1/32) of the memory if that is less.
WARM_STEP_BYTES, WARM_STEP_PART = 8 * MIB, 32

#: Whether the kernel reads an open version itself: `Passthrough.is_used`.
PassesThrough = Callable[[SourceVersion], bool]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The counters of the read path.

    :ivar reads: reads of applications. :ivar failures: recent errors of reads and opens.
    :ivar read_rate: recent rate of the bytes that applications receive.
    :ivar fetch_rate: recent rate of the bytes that source hosts send.
    """

    reads: ReadCounts
    failures: RecentErrors
    read_rate: RecentRate
    fetch_rate: RecentRate

    @classmethod
    def of(cls, handles: HandleTable, clock: Clock) -> Metrics:
        """Make counters with the value 0. :param handles: give the file's name of a failed read."""
        failures, rate = RecentErrors(clock), RecentRate(clock)
        note = partial(_note_failure, handles, failures)
        reads = ReadCounts(lambda pid: program_of(pid).name, clock, rate=rate, note=note)
        return cls(reads, failures, rate, RecentRate(clock))


def _note_failure(handles: HandleTable, failures: RecentErrors, fh: int, error: Exception) -> None:
    with suppress(BadHandle):  # the file was closed during the read: no program needs the error
        handle = handles.get(fh)
        handle.stale |= isinstance(error, ContentChanged)
        failures.note(handle.version.embed_code, handle.name, error)


@dataclass(frozen=True, slots=True)
class ReadPath:
    """The parts of the read path, as `build_read_path` builds them.

    :ivar walks: the prefetch across files.
    :ivar disk: the disk cache; None if there is none.
    :ivar reconciler: keeps pinned files complete.
    """

    reader: SourceReader
    walks: WalkPrefetcher
    loader: BlockLoader
    warmer: Warmer
    memory_use: Callable[[], MemoryUse]
    reconciler: PinReconciler
    metrics: Metrics
    disk: DiskTier | None
    versions: SourceVersionCache
    cached: CachedBytes
    passes_through: PassesThrough

    def local(self, embed_code: str) -> CacheState:
        """The cache state of a source, from this mount only."""
        source, failure = self.versions.known(embed_code), self.metrics.failures.of(embed_code)
        version = None if source is None else source.version
        return CacheState(
            0 if version is None else self.cached.bytes_of(version),
            self.reconciler.pins.of(embed_code) is not None,
            f"{failure.errno}: {failure.reason}" if failure is not None else "",
            failure.at_s if failure is not None else 0.0,
            version is not None and self.passes_through(version),
        )


@dataclass(frozen=True, slots=True)
class SourceParts:
    """The parts for sources and their hosts that the read path uses.

    :ivar get: makes GETs of presigned URLs.
    :ivar urls: resolves the presigned URLs.
    :ivar aliases: knows which ETags name the same version.
    :ivar queued: returns whether the URL of a source waits for an API credit.
    """

    get: SignedGet
    urls: UrlResolver
    aliases: EtagAliases
    versions: SourceVersionCache
    hosts: HostRegistry
    queued: Callable[[str], bool]


def build_read_path(
    settings: MountSettings,
    handles: HandleTable,
    sources: SourceParts,
    disk: DiskTier | None,
    clock: Clock,
    passes_through: PassesThrough,
    tracing: Tracing | None,
) -> ReadPath:
    """Build the read path from the caches and the parts for sources."""
    metrics = Metrics.of(handles, clock)
    pool = BlockPool(settings.memory_bytes, BLOCK_BYTES)
    cache = BlockCache(pool, keep_consumed=pool.slots // CONSUMED_PART)
    loader = _build_loader(settings, sources, cache, disk, metrics.fetch_rate, clock, tracing)
    prefetchers = PrefetcherRegistry(
        clock,
        # Half is for blocks in flight and for prefetched blocks; the rest is for cached blocks.
        window_budget_bytes=pool.budget_bytes // 2,
        block_bytes=BLOCK_BYTES,
        stats_of=sources.hosts.stats,
    )
    walks = WalkPrefetcher(
        loader,
        prefetchers,
        clock,
        version_of=partial(_verified, sources.versions),
        stats_of=sources.hosts.stats,
        urls=sources.urls,
    )
    step_bytes = min(WARM_STEP_BYTES, pool.budget_bytes // WARM_STEP_PART)
    warmer = Warmer(loader, disk, step_bytes=step_bytes)
    pins = Pins(disk, settings.pin_quota)
    reconciler = PinReconciler(
        pins, warmer, partial(_verified, sources.versions), clock, sources.queued
    )
    if disk is not None:
        disk.on_loss = reconciler.check_all
    cached = CachedBytes(cache, disk)
    sources.aliases.cached = cached.sample
    return ReadPath(
        reader=SourceReader(handles, loader, prefetchers, walks, tracing),
        walks=walks,
        loader=loader,
        warmer=warmer,
        memory_use=loader.memory_use,
        reconciler=reconciler,
        metrics=metrics,
        disk=disk,
        versions=sources.versions,
        cached=cached,
        passes_through=passes_through,
    )


def _build_loader(
    settings: MountSettings,
    sources: SourceParts,
    cache: BlockCache,
    disk: DiskTier | None,
    rate: RecentRate,
    clock: Clock,
    tracing: Tracing | None,
) -> BlockLoader:
    limit = BandwidthLimit(settings.bandwidth_bytes_s) if settings.bandwidth_bytes_s else None
    range_reader = RangeReader(sources.get, clock, aliases=sources.aliases, limit=limit, rate=rate)
    scheduler = FetchScheduler(
        Workers(TRANSFER_THREADS + URL_WAITERS, "transfer"),
        sources.hosts.host_of,
        clock,
        max_jobs=TRANSFER_THREADS,
    )
    # If the user has set a cache size, blocks are written whatever the speed of their host is.
    stats_of = sources.hosts.stats if settings.cache_bytes is None else None
    return BlockLoader(
        cache,
        FetchSettings(range_reader.fetch, clock, settings.limits.source_s, tracing),
        scheduler,
        prefetch_budget_bytes=cache.pool.budget_bytes // 2,
        changed=sources.versions.on_mismatch,
        disk=None if disk is None else DiskAdmission(disk, clock, stats_of),
        # With a bandwidth limit, its pauses would look like a stalled host.
        hedges=None if limit else HedgePolicy(sources.hosts, clock, sources.queued),
    )


def _verified(versions: SourceVersionCache, embed_code: str) -> SourceVersion | None:
    """The verified version of a source; None if it is unknown or may have changed."""
    known = versions.known(embed_code)
    return known.version if known is not None and known.verified else None
