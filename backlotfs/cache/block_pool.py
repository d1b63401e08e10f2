"""The memory that blocks lie in: one mapping of fixed size, cut into slots.

Made once and used again and again: fresh memory for each block would cost a page fault for every
4 KiB (measured: a third of the time of a copy), and its peak would be nobody's decision.

A slot is free again when nobody refers to its `Block` any more, be it the cache, a reader whose
answer is being written or a transfer; CPython's reference counts do that without a call.
"""

from __future__ import annotations

import contextlib
import mmap
from collections import deque


class Block:
    """Memory of one block. ``view`` is as long as the block.

    :ivar used: whether a read has had it; the block store's lock guards it.
    """

    __slots__ = ("_home", "_slot", "used", "view")

    def __init__(self, view: memoryview, slot: int = -1, home: deque[int] | None = None) -> None:
        self.view = view
        self.used = False
        self._slot = slot
        self._home = home

    @property
    def pooled(self) -> bool:
        """Whether it takes a slot, and not memory beside the pool."""
        return self._home is not None

    def __del__(self) -> None:
        if self._home is not None:
            self._home.append(self._slot)  # atomic: the last reference may end on any thread


class BlockPool:
    """Slots of ``block_bytes``. Any thread may call it."""

    def __init__(self, budget_bytes: int, block_bytes: int) -> None:
        """``budget_bytes``: the most that all slots together take; at least one slot."""
        self.block_bytes = block_bytes
        self.slots = max(1, budget_bytes // block_bytes)
        self._memory = mmap.mmap(-1, self.slots * block_bytes, flags=mmap.MAP_PRIVATE)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            # A page fault for every 2 MiB instead of every 4 KiB: half of the time of a first pass.
            with contextlib.suppress(OSError):  # a kernel without them
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._view = memoryview(self._memory)
        # The lowest first, and the last freed first: memory never needed is never touched.
        self._free = deque(range(self.slots - 1, -1, -1))

    @property
    def budget_bytes(self) -> int:
        """What all slots together take."""
        return self.slots * self.block_bytes

    @property
    def free_slots(self) -> int:
        """Slots that nobody refers to."""
        return len(self._free)

    def take(self, length: int) -> Block | None:
        """A block of ``length`` bytes (at most a slot's), or None when all slots are in use."""
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        start = slot * self.block_bytes
        return Block(self._view[start : start + length], slot, self._free)
