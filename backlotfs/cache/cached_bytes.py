"""Counts how many bytes of a source are cached, without the network."""

from __future__ import annotations

from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockCache, BlockKey
from backlotfs.source.version import SourceVersion


class CachedBytes:
    """Counts the bytes of a version in memory and on disk. Any thread may call it."""

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
