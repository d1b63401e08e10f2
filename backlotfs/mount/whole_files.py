# SPDX-License-Identifier: Apache-2.0
"""Builds a loader that reads whole files without a kernel: large blocks, no cached blocks.

Processes that copy files of a mount (`mount.direct`) and the workers of a cluster
(`cluster.worker`) use it. Each answer of a source host is checked against the version, as in a
mount.
"""

from __future__ import annotations

from backlotfs.cache.memory import BlockCache, BlockPool
from backlotfs.concurrency.clock import Clock
from backlotfs.concurrency.workers import Workers
from backlotfs.config.settings import MIB, Account
from backlotfs.config.time_limits import TimeLimits
from backlotfs.fetch.hedging import HedgePolicy
from backlotfs.fetch.hosts import FetchScheduler
from backlotfs.fetch.loader import BlockLoader, FetchSettings
from backlotfs.mount.transport import Transport
from backlotfs.source.etag_aliases import EtagAliases
from backlotfs.source.range_reader import RangeReader
from backlotfs.source.signed_get import UrlSource

#: Size of a block. Whole files are copied, so it is larger than that of a mount.
BLOCK_BYTES = 1 * MIB
#: Threads for transfers.
TRANSFER_THREADS = 64


def whole_file_loader(
    account: Account, urls: UrlSource, pool: BlockPool, clock: Clock
) -> BlockLoader:
    """A loader for `fetch.stream`.

    :param account: has the settings of connections; its key and secret are not used.
    :param pool: a pool of blocks of `BLOCK_BYTES`; several loaders may share it.
    :raises SettingsError: the account's ``ca_bundle`` cannot be used.
    """
    transport = Transport.of(account, clock)
    reader = RangeReader(transport.signed_get(urls), clock, aliases=EtagAliases(clock))
    scheduler = FetchScheduler(
        Workers(TRANSFER_THREADS, "transfer"),
        transport.hosts.host_of,
        clock,
        max_jobs=TRANSFER_THREADS,
    )
    return BlockLoader(
        BlockCache(pool, keep_consumed=0),
        FetchSettings(reader.fetch, clock, TimeLimits().source_s),
        scheduler,
        prefetch_budget_bytes=0,
        changed=lambda _version: None,
        hedges=HedgePolicy(transport.hosts, clock, lambda _code: False),
    )
