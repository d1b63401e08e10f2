# SPDX-License-Identifier: Apache-2.0
"""The memory cache: keys of blocks, a pool of memory for them, and an LRU cache with eviction.

The pool is one mapping of fixed size, divided into slots that are reused. Fresh memory for each
block would cost a page fault for every 4 KiB (measured: a third of the time of a copy), and its
peak would have no limit. A slot is free when nothing refers to its `Block` any more: no cache, no
read whose answer is being written, no fetch and no write to the disk cache. CPython's reference
counts do that.

The cache has two LRU lists. Blocks that a reader has read to their end are evicted first, because
the kernel's page cache has them and blocks ahead of the reader are more useful. All other blocks
are evicted after them.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final, NamedTuple

#: A read found the block in memory, because it was prefetched or read before.
MEMORY: Final = 0
#: A read found the block in the disk cache.
DISK: Final = 1
#: A read found the block in no cache, so it waited for the source host.
NETWORK: Final = 2
#: The names of these tiers, in the order of their numbers.
TIERS: Final = ("memory", "disk", "network")


class BlockKey(NamedTuple):
    """The key of a block; the validator makes the keys of two versions of a source differ."""

    embed_code: str
    validator: str
    number: int


def runs_of(numbers: Iterable[int], longest: int) -> list[range]:
    """Split ascending numbers into runs of consecutive ones, at most ``longest`` numbers each."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number and len(runs[-1]) < longest:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


class Block:
    """The memory of one block; ``view`` is as long as the block.

    :ivar pooled: whether the memory is a slot of the pool.
    :ivar used: whether a read has received the block; guarded by the block loader's lock.
    :ivar before_open: whether it was fetched for a file that was not open yet.
    """

    __slots__ = ("_home", "_slot", "before_open", "pooled", "used", "view")

    def __init__(self, view: memoryview, slot: int = -1, home: deque[int] | None = None) -> None:
        self.view = view
        self.used = self.before_open = False
        self.pooled = home is not None
        self._slot = slot
        self._home = home

    def __del__(self) -> None:
        if self._home is not None:
            self._home.append(self._slot)  # atomic, because any thread may drop the last reference


class BlockPool:
    """A pool of memory slots of ``block_bytes`` each. Any thread may call it."""

    def __init__(self, budget_bytes: int, block_bytes: int) -> None:
        """Map slots of ``budget_bytes`` in all, at least one slot."""
        self.block_bytes = block_bytes
        self.slots = max(1, budget_bytes // block_bytes)
        self._memory = mmap.mmap(-1, self.slots * block_bytes, flags=mmap.MAP_PRIVATE)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            # A page fault for every 2 MiB instead of every 4 KiB halves the time of the first use.
            with contextlib.suppress(OSError):  # a kernel without huge pages
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._view = memoryview(self._memory)
        # The last freed slot is used first, then the lowest one, so little memory is touched.
        self._free = deque(range(self.slots - 1, -1, -1))

    @property
    def budget_bytes(self) -> int:
        """The size of all slots together."""
        return self.slots * self.block_bytes

    @property
    def free_slots(self) -> int:
        """The number of slots that nothing refers to."""
        return len(self._free)

    def take(self, length: int) -> Block | None:
        """Take a slot for ``length`` bytes, at most `block_bytes`; None if all slots are in use."""
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        start = slot * self.block_bytes
        return Block(self._view[start : start + length], slot, self._free)


class MemoryUse(NamedTuple):
    """How the memory is used at one moment, in bytes of whole slots.

    :ivar budget_bytes: all slots.
    :ivar cached_bytes: cached blocks, which are evicted when memory is needed.
    :ivar leased_bytes: blocks of running fetches, of answers and of the disk's write queue.
    :ivar in_flight_bytes: blocks whose fetch runs or is queued.
    """

    budget_bytes: int
    cached_bytes: int
    leased_bytes: int
    in_flight_bytes: int

    @classmethod
    def of(cls, pool: BlockPool, cached: int, in_flight: int) -> MemoryUse:
        """Convert counts of blocks to bytes. The caller holds the block loader's lock."""
        taken = pool.slots - pool.free_slots
        blocks = (pool.slots, cached, max(0, taken - cached), in_flight)
        return cls(*(count * pool.block_bytes for count in blocks))


class BlockCache:
    """An LRU cache of blocks. The caller holds `lock` unless a method says otherwise.

    :ivar pool: the memory of the blocks.
    :ivar lock: shared with the block loader.
    """

    __slots__ = ("_consumed", "_fresh", "_keep_consumed", "lock", "pool")

    def __init__(self, pool: BlockPool, keep_consumed: int) -> None:
        """Make an empty cache.

        :param keep_consumed: if more fully read blocks than this are cached, a new block replaces
            one of them, even if slots are free.
        """
        self.pool = pool
        self.lock = threading.Lock()
        self._keep_consumed = keep_consumed
        self._fresh: OrderedDict[BlockKey, Block] = OrderedDict()
        self._consumed: OrderedDict[BlockKey, Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._consumed)

    def __contains__(self, key: BlockKey) -> bool:
        """Whether the block is cached; this does not count as a use."""
        return key in self._fresh or key in self._consumed

    def get(self, key: BlockKey, *, to_its_end: bool = False) -> Block | None:
        """Return the block and record its use; None if it is not cached.

        :param to_its_end: also mark it as fully read, as `put` does.
        """
        block = self._fresh.pop(key, None)
        if block is not None:
            (self._consumed if to_its_end else self._fresh)[key] = block
            return block
        block = self._consumed.get(key)
        if block is not None:
            self._consumed.move_to_end(key)
        return block

    def put(self, key: BlockKey, block: Block, *, to_its_end: bool = False) -> None:
        """Cache a block, or replace the one with its key; only blocks of the pool are cached.

        :param to_its_end: mark it as fully read: it is evicted before all others.
        """
        if block.pooled:
            row, other = self._fresh, self._consumed
            if to_its_end:
                row, other = other, row
            other.pop(key, None)
            row[key] = block

    def numbers_of(self, embed_code: str, validator: str) -> list[int]:
        """The numbers of the cached blocks of a version. Takes the lock itself."""
        with self.lock:
            return [
                number
                for row in (self._fresh, self._consumed)
                for code, version, number in row
                if code == embed_code and version == validator
            ]

    def allocate(self, lengths: Iterable[int]) -> list[Block]:
        """Allocate blocks of these lengths; evict cached blocks for them if needed.

        Takes the lock itself.
        """
        blocks: list[Block] = []
        with self.lock:
            for length in lengths:
                if len(self._consumed) > self._keep_consumed:
                    self.evict()  # so that no more memory is used
                block = self.pool.take(length)
                while block is None and self.evict():
                    block = self.pool.take(length)
                # Memory outside the pool is used only if no cached block is left to evict.
                blocks.append(block or Block(memoryview(bytearray(length))))
        return blocks

    def evict(self) -> bool:
        """Evict one block; False if the cache is empty."""
        row = self._consumed or self._fresh
        if not row:
            return False
        row.popitem(last=False)
        return True
