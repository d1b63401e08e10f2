"""Where the memory for blocks is: what `stats` tells of it."""

from __future__ import annotations

from typing import NamedTuple

from backlotfs.cache.block_pool import BlockPool


class MemoryUse(NamedTuple):
    """One look; bytes of whole slots. Without readers and transfers the last two are 0.

    :ivar budget_bytes: of all slots together.
    :ivar cached_bytes: kept for later reads; given up whenever others need it.
    :ivar leased_bytes: in use: received into, answered from, or waiting for the disk.
    :ivar under_way_bytes: blocks that a transfer is in charge of, begun or in the queue.
    """

    budget_bytes: int
    cached_bytes: int
    leased_bytes: int
    under_way_bytes: int

    @classmethod
    def of(cls, pool: BlockPool, cached: int, under_way: int) -> MemoryUse:
        """From counts of blocks; with the lock of the store held, whose cache it is."""
        taken = pool.slots - pool.free_slots
        blocks = (pool.slots, cached, max(0, taken - cached), under_way)
        return cls(*(count * pool.block_bytes for count in blocks))
