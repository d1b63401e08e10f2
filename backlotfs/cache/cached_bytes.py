# SPDX-License-Identifier: Apache-2.0
"""Finds out which bytes of a source are cached, without the network."""

from __future__ import annotations

import random
from collections.abc import Mapping

from backlotfs.byterange import ByteRange, block_range
from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockCache, BlockKey
from backlotfs.source.version import SourceVersion

#: The number of blocks of a large file that are looked up on disk to find some cached ones.
LOOKED_FOR = 64
#: The random numbers of the system, so that a seed or a fork does not decide what is compared.
_RANDOM = random.SystemRandom()


class CachedBytes:
    """Finds the bytes of a version in memory and on disk. Any thread may call it."""

    def __init__(self, cache: BlockCache, tier: DiskTier | None) -> None:
        self._cache = cache
        self._tier = tier
        self._block_bytes = cache.pool.block_bytes

    def bytes_of(self, version: SourceVersion) -> int:
        """The cached bytes of this version; a block in both caches counts once.

        Blocks on disk are not looked up one by one: the disk cache has their number.
        """
        code, validator = version.embed_code, version.validator
        keys = [
            BlockKey(code, validator, number) for number in self._cache.numbers_of(code, validator)
        ]
        last = BlockKey(code, validator, (version.size - 1) // self._block_bytes)
        has_last = last in keys
        count = len(keys)
        if self._tier is not None:
            count = self._tier.block_count(code, validator) + len(self._tier.missing(keys))
            has_last = has_last or (bool(version.size) and last in self._tier)
        short = -version.size % self._block_bytes if has_last else 0
        return min(version.size, count * self._block_bytes - short)

    def sample(self, version: SourceVersion, places: int, length: int) -> Mapping[ByteRange, bytes]:
        """Return some cached bytes by their ranges, to compare them with what the host sends now.

        :param places: the largest number of ranges.
        :param length: the largest length of a range.
        """
        code, validator = version.embed_code, version.validator
        numbers = set(self._cache.numbers_of(code, validator))
        if self._tier is not None and self._tier.block_count(code, validator):
            last = (version.size - 1) // self._block_bytes
            others = _RANDOM.sample(range(last + 1), min(LOOKED_FOR, last + 1))
            numbers.update(
                n for n in (0, last, *others) if BlockKey(code, validator, n) in self._tier
            )
        found: dict[ByteRange, bytes] = {}
        for number in _RANDOM.sample(sorted(numbers), len(numbers)):
            if len(found) == places:
                break
            block = self._block(BlockKey(code, validator, number), version.size)
            if block:
                skipped = _RANDOM.randrange(max(1, len(block) - length + 1))
                piece = block[skipped : skipped + length]
                start = number * self._block_bytes + skipped
                found[ByteRange(start, start + len(piece))] = piece
        return found

    def _block(self, key: BlockKey, size: int) -> bytes | None:
        """A copy of a cached block; None if it is no longer cached."""
        with self._cache.lock:
            block = self._cache.get(key)
            if block is not None:
                return bytes(block.view)
        if self._tier is None:
            return None
        buffer = memoryview(bytearray(block_range(key.number, self._block_bytes, size).length))
        (length,) = self._tier.get_many((key,), (buffer,))
        return None if length is None else bytes(buffer[:length])
