"""How much of a source is here, in memory or on disk; without the network, and in no time."""

from __future__ import annotations

from backlotfs.cache.disk.tier import DiskTier
from backlotfs.cache.memory import BlockCache, BlockKey
from backlotfs.source.version import SourceVersion


class CachedBytes:
    """Any thread may call it."""

    def __init__(self, cache: BlockCache, tier: DiskTier | None, block_bytes: int) -> None:
        self._cache = cache
        self._tier = tier
        self._block_bytes = block_bytes

    def bytes_of(self, identity: SourceVersion) -> int:
        """Of this version; what is in both counts once.

        Takes no look at each block: the tier knows how many it has of a version.
        """
        code, validator = identity.embed_code, identity.validator
        keys = [
            BlockKey(code, validator, number) for number in self._cache.numbers_of(code, validator)
        ]
        last = BlockKey(code, validator, (identity.size - 1) // self._block_bytes)
        has_last = last in keys
        count = len(keys)
        if self._tier is not None:
            count = self._tier.held_blocks(code, validator) + len(self._tier.missing(keys))
            has_last = has_last or (bool(identity.size) and last in self._tier)
        short = -identity.size % self._block_bytes if has_last else 0
        return min(identity.size, count * self._block_bytes - short)
