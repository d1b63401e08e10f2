"""Blocks that have arrived, by key, until their memory is wanted for others.

Two rows. What nobody has read to its end yet, or was asked for at random, leaves in the order of
its last use. What a reader has read to its end is let go before that: the kernel's page cache has
it, and the blocks ahead of the reader are worth more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from backlotfs.cache.block_key import BlockKey
from backlotfs.cache.block_pool import Block


class BlockCache:
    """Not thread-safe: its owner, the block store, holds its lock; who looks takes it.

    :ivar lock: the owner's, too.
    """

    __slots__ = ("_consumed", "_fresh", "_keep_consumed", "lock")

    def __init__(self, keep_consumed: int) -> None:
        """``keep_consumed``: blocks read to their end kept before memory never used is touched."""
        self.lock = threading.Lock()
        self._keep_consumed = keep_consumed
        self._fresh: OrderedDict[BlockKey, Block] = OrderedDict()
        self._consumed: OrderedDict[BlockKey, Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._consumed)

    def __contains__(self, key: BlockKey) -> bool:
        """Whether it is here, without counting as a use."""
        return key in self._fresh or key in self._consumed

    def get(self, key: BlockKey, *, to_its_end: bool = False) -> Block | None:
        """The block, now the most recently used of its row, or None.

        :param to_its_end: as if `consume` followed.
        """
        block = self._fresh.pop(key, None)
        if block is not None:
            (self._consumed if to_its_end else self._fresh)[key] = block
            return block
        block = self._consumed.get(key)
        if block is not None:
            self._consumed.move_to_end(key)
        return block

    def put(self, key: BlockKey, block: Block) -> None:
        """Keep it; what was there under its key is let go. Memory beside the pool is not kept."""
        if block.pooled:
            self._consumed.pop(key, None)
            self._fresh[key] = block

    def consume(self, key: BlockKey) -> None:
        """It was read to its end."""
        block = self._fresh.pop(key, None)
        if block is not None:
            self._consumed[key] = block

    def numbers_of(self, embed_code: str, validator: str) -> list[int]:
        """Which blocks of this version are here. For any thread: it takes the lock."""
        with self.lock:
            return [
                number
                for row in (self._fresh, self._consumed)
                for code, version, number in row
                if code == embed_code and version == validator
            ]

    @property
    def overfull(self) -> bool:
        """Whether more was read to its end than is worth new memory."""
        return len(self._consumed) > self._keep_consumed

    def evict(self) -> bool:
        """Let go of the block worth least. Whether there was one."""
        row = self._consumed or self._fresh
        if not row:
            return False
        row.popitem(last=False)
        return True
