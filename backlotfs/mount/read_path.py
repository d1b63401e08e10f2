"""Puts the parts together that bytes pass on their way to a reader."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from backlotfs.api.signing import Credentials
from backlotfs.cache.admission import DiskAdmission
from backlotfs.cache.cached_bytes import CachedBytes
from backlotfs.cache.disk.tier import DiskTier, kept_budget
from backlotfs.cache.memory import BlockCache, BlockPool, MemoryUse
from backlotfs.cache.pins import Pins
from backlotfs.catalog.db.schema import LibraryIdentity
from backlotfs.catalog.versions import SourceVersionCache
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.workers import Workers
from backlotfs.config.settings import GIB, MIB, MountSettings
from backlotfs.errors import BadHandle, CacheUnusable
from backlotfs.fetch.block_fetch import FETCH_DEADLINE_S
from backlotfs.fetch.hosts import HostRegistry
from backlotfs.fetch.loader import BlockLoader
from backlotfs.fetch.pin_reconciler import PinReconciler
from backlotfs.fetch.scheduler import FetchScheduler
from backlotfs.fetch.warm import Warmer
from backlotfs.kernel.callers import ProcessNames
from backlotfs.log import events
from backlotfs.namespace.attributes import CacheState
from backlotfs.open_files.handles import HandleTable
from backlotfs.open_files.metrics import ReadCounts
from backlotfs.open_files.reader import SourceReader
from backlotfs.open_files.recent_errors import RecentErrors
from backlotfs.source.bandwidth import BandwidthLimit, RecentRate
from backlotfs.source.range_reader import RangeReader
from backlotfs.source.signed_get import SignedGet
from backlotfs.source.version import SourceVersion

log = logging.getLogger(__name__)

#: Small enough for random readers: a read of 4 KiB fetches 64.
BLOCK_BYTES = 64 * 1024
#: Of the memory, what blocks already read to their end may take: the kernel keeps them too.
CONSUMED_PART = 8
#: Threads for transfers: stalled sources may hold many of them without stopping the others.
TRANSFER_THREADS = 192
#: Threads beside those, for the first transfers of sources whose URLs wait for API credits.
URL_WAITERS = 512
#: The disk tier where no option says otherwise: this, or so much of the free disk.
DISK_BYTES, DISK_PART = 10 * GIB, 10
#: Blocks that may wait for the disk, in parts of the memory.
QUEUED_PART = 8
#: What one step of warming holds in memory: so much, or this part of it if that is less.
WARM_STEP_BYTES, WARM_STEP_PART = 8 * MIB, 32


class Metrics(NamedTuple):
    """What is noted while bytes pass.

    :ivar reads: what applications have asked for, and got. :ivar failures: what they did not get.
    :ivar read_rate: what they get now. :ivar fetch_rate: what comes over the line now.
    """

    reads: ReadCounts
    failures: RecentErrors
    read_rate: RecentRate
    fetch_rate: RecentRate


class ReadPath(NamedTuple):
    """What is put together here.

    :ivar local: what is known of a source without asking anybody.
    """

    reader: SourceReader
    warmer: Warmer
    memory_use: Callable[[], MemoryUse]
    keeper: PinReconciler
    observed: Metrics
    local: Callable[[str], CacheState]


def open_disk_tier(settings: MountSettings, clock: Clock) -> DiskTier | None:
    """The blocks that earlier mounts have kept; None, with a line in the log, where none can be."""
    account = settings.account
    identity = LibraryIdentity.of(
        account.api_url, Credentials(account.api_key, account.api_secret).account
    )
    folder = settings.cache_dir / "blocks" / identity.digest
    budget = settings.cache_bytes
    if budget is None:
        # The disk may be fuller than when files were pinned, not least by them: they stay.
        budget = max(default_disk_bytes(settings.cache_dir), kept_budget(folder, BLOCK_BYTES))
    if not budget:
        return None
    try:
        return DiskTier(
            folder,
            budget,
            clock,
            block_bytes=BLOCK_BYTES,
            queued_blocks=settings.memory_bytes // BLOCK_BYTES // QUEUED_PART,
        )
    except CacheUnusable as error:
        # Who has not asked for one is not alarmed that, say, another mount has it.
        level = logging.INFO if settings.cache_bytes is None else logging.WARNING
        events.DISK_CACHE_OFF.log(log, at=level, reason=error)
        return None


def default_disk_bytes(folder: Path) -> int:
    """10 GiB, or a tenth of the free disk if that is less; 0 where it cannot be found out."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return min(DISK_BYTES, shutil.disk_usage(folder).free // DISK_PART)
    except OSError:
        return 0


def build_reader(
    settings: MountSettings,
    handles: HandleTable,
    signed_get: SignedGet,
    book: SourceVersionCache,
    lines: HostRegistry,
    disk: DiskTier | None,
    clock: Clock,
    queued: Callable[[str], bool],
) -> ReadPath:
    """Reader, warmer and keeper of pins over memory, disk and GETs.

    :param queued: whether the URL of a source waits for an API credit.
    """
    pool = BlockPool(settings.memory_bytes, BLOCK_BYTES)
    figures = lines.stats if settings.cache_bytes is None else None

    observed = _observed(handles, clock)
    limit = BandwidthLimit(settings.bandwidth_bytes_s) if settings.bandwidth_bytes_s else None
    fetcher = RangeReader(signed_get, clock, limit=limit, rate=observed.fetch_rate)

    def current(embed_code: str) -> SourceVersion | None:
        known = book.known(embed_code)
        return known.version if known is not None and known.verified else None

    cache = BlockCache(keep_consumed=pool.slots // CONSUMED_PART)
    # A short --read-timeout does not shorten a fetch: later reads wait for what it brings. The
    # fetch must also outlast the API's time for a new URL.
    fetch_deadline_s = max(
        FETCH_DEADLINE_S, settings.read_timeout_s or 0.0, settings.account.limits.probe_s
    )
    store = BlockLoader(
        pool,
        cache,
        fetcher.fetch,
        FetchScheduler(
            Workers(TRANSFER_THREADS + URL_WAITERS, "transfer"),
            lines,
            clock,
            max_jobs=TRANSFER_THREADS,
        ),
        clock,
        # Half for what is in flight or not yet read, the rest for what is kept.
        prefetch_budget_bytes=pool.budget_bytes // 2,
        changed=book.on_mismatch,
        # With a bandwidth limit every pause would look like a stalled host.
        hedges=None if settings.bandwidth_bytes_s else lines,
        queued=queued,
        fetch_deadline_s=fetch_deadline_s,
        disk=None if disk is None else DiskAdmission(disk, clock, figures),
    )
    reader = SourceReader(
        handles,
        store,
        window_budget_bytes=pool.budget_bytes // 2,
        clock=clock,
        line_of=lambda identity: lines.stats(identity.embed_code),
    )
    step_bytes = min(WARM_STEP_BYTES, pool.budget_bytes // WARM_STEP_PART)
    warmer = Warmer(store, disk, step_bytes=step_bytes)
    pins = Pins(disk, settings.pin_quota)
    held = CachedBytes(cache, disk, BLOCK_BYTES)

    def local(embed_code: str) -> CacheState:
        known, failure = book.known(embed_code), observed.failures.of(embed_code)
        return CacheState(
            held.bytes_of(known.version) if known is not None else 0,
            pins.of(embed_code) is not None,
            f"{failure.errno}: {failure.reason}" if failure is not None else "",
            failure.at_s if failure is not None else 0.0,
        )

    keeper = PinReconciler(pins, warmer, current, clock, queued)
    return ReadPath(reader, warmer, store.memory_use, keeper, observed, local)


def _observed(handles: HandleTable, clock: Clock) -> Metrics:
    failures = RecentErrors(clock)

    def note(fh: int, error: Exception) -> None:
        with suppress(BadHandle):  # closed meanwhile: nobody waits for its bytes
            handle = handles.get(fh)
            failures.note(handle.identity.embed_code, handle.name, error)

    read_rate = RecentRate(clock)
    reads = ReadCounts(ProcessNames(clock).of, rate=read_rate, note=note)
    return Metrics(reads, failures, read_rate, RecentRate(clock))
