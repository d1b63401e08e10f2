# SPDX-License-Identifier: Apache-2.0
"""Warming: fetches a source into the disk cache before it is read.

A step finds the blocks of a range that are not in the disk cache, fetches them as a reader would,
and queues them to be written to the disk, even if the network is faster than the disk. Blocks that
are cached already cost only a look-up, so warming a file again continues where it was interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.cache.disk.tier import DiskTier, required
from backlotfs.cache.memory import BlockKey, runs_of
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import CacheUnusable
from backlotfs.fetch.loader import BlockLoader, PendingRead
from backlotfs.source.version import SourceVersion

#: Blocks of one GET.
GET_BLOCKS = 64
#: Blocks that are looked up together, under the lock of the disk cache.
LOOK_BLOCKS = 1024
#: Longest wait for room in the write queue of the disk.
DISK_WAIT_S = 20.0


class Step(NamedTuple):
    """The result of one step.

    :ivar reached: the byte at which the next step begins; the size of the source after the last
        one.
    :ivar fetched_bytes: bytes that came from the host and that no read used before.
    """

    reached: int
    fetched_bytes: int


class Warmer:
    """Fetches sources into the disk cache. Any thread may call it."""

    def __init__(self, loader: BlockLoader, tier: DiskTier | None, *, step_bytes: int) -> None:
        """``step_bytes``: the limit for the bytes that one step has in memory."""
        self._loader = loader
        self._tier = tier
        self._block_bytes = loader.block_bytes
        self._step_blocks = max(1, step_bytes // self._block_bytes)
        self._lock = threading.Lock()
        self._fetched_bytes = 0

    @property
    def fetched_bytes(self) -> int:
        """Bytes that all steps have fetched since the mount began."""
        return self._fetched_bytes

    @property
    def room_bytes(self) -> int:
        """Bytes that the disk cache has room for. :raises CacheUnusable: the mount has none."""
        return required(self._tier).room_bytes

    @property
    def block_bytes(self) -> int:
        """The size of a block; every file takes whole blocks on disk."""
        return self._block_bytes

    def settle(self) -> None:
        """Wait until all queued blocks are written, or the disk takes too long."""
        required(self._tier).drain()

    def cached_bytes(self, version: SourceVersion) -> int:
        """The bytes of this version that are in the disk cache.

        :raises CacheUnusable: the mount has no disk cache, its folder was removed and cannot be
            made again, or this version cannot be cached.
        """
        tier = self._tier_for(version)
        cached = sum(len(keys) - len(tier.missing(keys)) for keys in self._key_groups(version, 0))
        return min(version.size, cached * self._block_bytes)

    def warm(
        self, version: SourceVersion, offset: int, length: int, waiter: InterruptibleWait
    ) -> Step:
        """Make one step: fetch about ``length`` bytes from ``offset`` on into the disk cache.

        When this returns, the blocks are queued to be written to the disk.

        :raises CacheUnusable: see `cached_bytes`; or the disk cache does not accept the blocks.
        :raises BacklotError: fetching failed, or the wait ended.
        """
        tier = self._tier_for(version)
        keys = next(self._key_groups(version, offset), [])
        absent = [key.number for key in tier.missing(keys) if not tier.accepted(key)]
        first = offset // self._block_bytes
        reached = first + len(keys)
        blocks = min(self._step_blocks, max(1, length // self._block_bytes))
        if absent:
            reached = min(reached, absent[0] + blocks)
            absent = [number for number in absent if number < reached]
        runs = runs_of(absent, GET_BLOCKS) if absent else []
        reads = [self._loader.demand(version, self._range(version, run)) for run in runs]
        fetched_bytes = 0
        for read in reads:
            read.wait(waiter)
            fetched_bytes += read.first_use_bytes
        with self._lock:
            self._fetched_bytes += fetched_bytes
        for read in reads:
            self._put_on_disk(tier, version, read)
        return Step(min(version.size, reached * self._block_bytes), fetched_bytes)

    def _put_on_disk(self, tier: DiskTier, version: SourceVersion, read: PendingRead) -> None:
        for number, block in read.blocks():
            key = BlockKey(version.embed_code, version.validator, number)
            kept = tier.put(key, block.view, block, wait_s=DISK_WAIT_S)
            if not kept and not tier.accepted(key):
                raise CacheUnusable(
                    "the disk does not accept the warmed blocks; see the mount's "
                    "log for the reason, correct it, and warm again"
                )

    def _key_groups(self, version: SourceVersion, offset: int) -> Iterator[list[BlockKey]]:
        """The keys of the blocks from ``offset`` on, `LOOK_BLOCKS` at a time."""
        code, validator = version.embed_code, version.validator
        stop = -(-version.size // self._block_bytes)
        for first in range(offset // self._block_bytes, stop, LOOK_BLOCKS):
            numbers = range(first, min(first + LOOK_BLOCKS, stop))
            yield [BlockKey(code, validator, number) for number in numbers]

    def _range(self, version: SourceVersion, run: range) -> ByteRange:
        start, stop = run.start * self._block_bytes, run.stop * self._block_bytes
        return ByteRange(start, min(stop, version.size))

    def _tier_for(self, version: SourceVersion) -> DiskTier:
        """The disk cache. :raises CacheUnusable: see `cached_bytes`."""
        tier = required(self._tier)
        if version.size and version.validator.startswith("/"):
            raise CacheUnusable(
                f"the host of {version.embed_code} gives neither ETag nor Last-Modified: "
                "nothing of it can be kept over restarts"
            )
        tier.remake_if_removed()
        tier.check_complete(version.embed_code, version.validator)
        return tier
