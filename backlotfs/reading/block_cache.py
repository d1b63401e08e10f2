"""Blocks in memory, least recently used out first, under one budget in bytes."""

from __future__ import annotations

import threading
from typing import Protocol

from cachetools import LRUCache

from backlotfs.reading.block_key import BlockKey


class BlockCache(Protocol):
    """What the block store needs of a cache; a disk tier has the same face."""

    @property
    def budget_bytes(self) -> int:
        """Bytes it may hold."""

    def get(self, key: BlockKey) -> bytes | None:
        """The block, now most recently used, or None."""

    def put(self, key: BlockKey, block: bytes) -> None:
        """Keep it, letting others go; a block larger than the budget is silently not kept."""

    def __contains__(self, key: BlockKey) -> bool:
        """Whether it is here, without counting as a use."""

    def discard_source(self, embed_code: str) -> None:
        """Let go of every block of this source, whatever its version."""


class MemoryBlockCache:
    """A `cachetools.LRUCache` by bytes and the lock that it lacks."""

    def __init__(self, budget_bytes: int) -> None:
        self._lock = threading.Lock()
        self._blocks: LRUCache[BlockKey, bytes] = LRUCache(budget_bytes, getsizeof=len)

    @property
    def budget_bytes(self) -> int:
        """Bytes it may hold."""
        return int(self._blocks.maxsize)

    @property
    def held_bytes(self) -> int:
        """Bytes it holds."""
        return int(self._blocks.currsize)

    def get(self, key: BlockKey) -> bytes | None:
        """The block, now most recently used, or None."""
        with self._lock:
            return self._blocks.get(key)

    def put(self, key: BlockKey, block: bytes) -> None:
        """Keep it, letting others go; a block larger than the budget is silently not kept."""
        if len(block) > self._blocks.maxsize:
            return
        with self._lock:
            self._blocks[key] = block

    def __contains__(self, key: BlockKey) -> bool:
        with self._lock:
            return key in self._blocks

    def discard_source(self, embed_code: str) -> None:
        """Let go of every block of this source, whatever its version."""
        with self._lock:
            for key in [key for key in self._blocks if key.embed_code == embed_code]:
                del self._blocks[key]
