"""Has the disk tier hold a source before anybody reads it.

A step looks which blocks of a stretch the tier lacks, has those fetched as a reader would, and
hands them to the tier, however fast the line is: who warms a file wants it on the disk. What the
tier holds already costs a look at its table, so warming again goes on where it was cut short.
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
#: Blocks looked up at once: the tier's lock is held meanwhile.
LOOK_BLOCKS = 1024
#: A disk that makes us wait longer for room does not keep up with anything.
DISK_WAIT_S = 20.0


class Step(NamedTuple):
    """How far one step came.

    :ivar reached: the first byte that was not looked at; the size of the source at its end.
    :ivar fetched_bytes: of what the step waited for, what no read had had before.
    """

    reached: int
    fetched_bytes: int


class Warmer:
    """Any thread may call it."""

    def __init__(self, loader: BlockLoader, tier: DiskTier | None, *, step_bytes: int) -> None:
        """``step_bytes``: what one step has in memory at most."""
        self._loader = loader
        self._tier = tier
        self._block_bytes = loader.block_bytes
        self._step_blocks = max(1, step_bytes // self._block_bytes)
        self._lock = threading.Lock()
        self._fetched_bytes = 0

    @property
    def fetched_bytes(self) -> int:
        """By all steps since the mount began."""
        return self._fetched_bytes

    @property
    def room_bytes(self) -> int:
        """What the tier can hold. :raises CacheUnusable: there is none."""
        return required(self._tier).room_bytes

    @property
    def block_bytes(self) -> int:
        """What every file takes a multiple of."""
        return self._block_bytes

    def settle(self) -> None:
        """Wait until what was handed to the tier is written, or its disk takes too long."""
        required(self._tier).drain()

    def cached_bytes(self, version: SourceVersion) -> int:
        """How much of this version the tier holds.

        :raises CacheUnusable: there is no tier, its folder was removed and cannot be made again,
            or nothing of this version can be kept.
        """
        tier = self._keeping(version)
        held = sum(len(keys) - len(tier.missing(keys)) for keys in self._looks(version, 0))
        return min(version.size, held * self._block_bytes)

    def warm(
        self, version: SourceVersion, offset: int, length: int, waiter: InterruptibleWait
    ) -> Step:
        """Have the tier hold about ``length`` bytes from ``offset`` on; the caller goes on.

        What is accepted is on its way to the disk when this returns.

        :raises CacheUnusable: there is no tier, it does not take the blocks, or nothing of this
            version can be kept.
        :raises BacklotError: what fetching, or waiting, ends with.
        """
        tier = self._keeping(version)
        keys = next(self._looks(version, offset), [])
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

    def _looks(self, version: SourceVersion, offset: int) -> Iterator[list[BlockKey]]:
        """The blocks from ``offset`` on, in stretches."""
        code, validator = version.embed_code, version.validator
        stop = -(-version.size // self._block_bytes)
        for first in range(offset // self._block_bytes, stop, LOOK_BLOCKS):
            numbers = range(first, min(first + LOOK_BLOCKS, stop))
            yield [BlockKey(code, validator, number) for number in numbers]

    def _range(self, version: SourceVersion, run: range) -> ByteRange:
        start, stop = run.start * self._block_bytes, run.stop * self._block_bytes
        return ByteRange(start, min(stop, version.size))

    def _keeping(self, version: SourceVersion) -> DiskTier:
        tier = required(self._tier)
        if version.size and version.validator.startswith("/"):
            raise CacheUnusable(
                f"the host of {version.embed_code} gives neither ETag nor Last-Modified: "
                "nothing of it can be kept over restarts"
            )
        tier.remake_if_removed()
        return tier
