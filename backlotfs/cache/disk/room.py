# SPDX-License-Identifier: Apache-2.0
"""Makes room in the disk cache: evicts the least recently used block or complete file.

The slots that take disk space and the complete files together stay within the capacity of the slot
table. The last uses of blocks and files are counted by the same counter. Pinned blocks and files
are not evicted, except that `Room.shrink` evicts pinned files last.
"""

from __future__ import annotations

import threading

from backlotfs.cache.disk.complete_files import CompleteFile, CompleteFiles, cost_of
from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.slab_files import SlabFiles

#: Attempts to make room. Only an attempt shows that a disk cannot punch holes; after that only
#: files are evicted to make room for files.
_TRIES = 3


class Room:
    """Evicts blocks and complete files. Any thread may call it.

    :ivar evicted: number of blocks that were evicted for others.
    """

    def __init__(self, slab: SlabFiles, complete: CompleteFiles, lock: threading.Lock) -> None:
        """Use this cache. :param lock: guards it; not held while the disk works."""
        self.evicted = 0
        self._slab = slab
        self._table = slab.table
        self._complete = complete
        self._lock = lock
        self._can_punch = True

    def slot(self) -> int | None:
        """Allocate a slot for a new block; None if everything is pinned."""
        table = self._table
        while True:
            with self._lock:
                slot = table.vacant()
                if slot is not None:
                    return slot
                oldest, entry = table.oldest(), self._complete.oldest()
                if entry is None or (oldest is not None and oldest <= entry.used):
                    slot = table.allocate()
                    self.evicted += slot is not None
                    return slot
            self._evict_file(entry)

    def for_file(self, pin: Pin, before: int) -> bool:
        """Reserve the room of a complete file, in addition to the room of its slots.

        :param before: only blocks and files that were not used since this time are evicted.
        :returns: False if there is not enough room; then nothing is reserved.
        """
        cost = cost_of(pin.size, self._slab.block_bytes)
        with self._lock:
            if not self._is_possible(pin, cost):
                return False
            self._complete.reserve(cost)
        for _ in range(_TRIES):
            while self._is_over():
                if not self._evict(before):
                    self.release(pin)
                    return False
            if self._fit():
                return True
        self.release(pin)
        return False

    def release(self, pin: Pin) -> None:
        """Release the room that `for_file` reserved."""
        with self._lock:
            self._complete.reserve(-cost_of(pin.size, self._slab.block_bytes))

    def shrink(self) -> None:
        """Evict until the cache is within its limit, which may be smaller than at the last start.

        Pinned files are evicted last.
        """
        for _ in range(_TRIES):
            while self._is_over():
                if not self._evict(2**64):
                    with self._lock:
                        entry = self._complete.any()
                    if entry is None:
                        break
                    self._evict_file(entry)
            if self._fit():
                return

    def punch(self) -> None:
        """Give the disk space of free slots back to the disk, if the disk supports that."""
        if not self._can_punch:
            return
        with self._lock:
            slots = self._table.take_free()
        if slots:
            try:
                self._slab.save(slots, ())  # no row may refer to a block that is gone
                self._can_punch = self._slab.punch(slots)
            except OSError:
                self._can_punch = False
            with self._lock:
                self._table.punched(slots, done=self._can_punch)

    def _fit(self) -> bool:
        """Punch free slots if their disk space is needed; False if that is not enough."""
        table = self._table
        for punched in (False, True):
            with self._lock:
                if table.on_disk + table.reserved <= table.capacity:
                    return True
            if not punched:
                self.punch()
        return False

    def _is_possible(self, pin: Pin, cost: int) -> bool:
        """Whether a file can fit when all that is not pinned is evicted. The caller locks."""
        table, block_bytes = self._table, self._slab.block_bytes
        slots = sum(table.blocks.get(word, 0) for word in table.pinned | {pin.word})
        if not self._can_punch:
            slots = table.on_disk
        room = (table.capacity - slots) * block_bytes - self._complete.pinned_bytes
        return cost <= room

    def _is_over(self) -> bool:
        """Whether the limit would be exceeded even after the free slots are punched."""
        table = self._table
        with self._lock:
            slots = table.used_slots if self._can_punch else table.on_disk
            return slots + table.reserved > table.capacity

    def _evict(self, before: int) -> bool:
        """Evict the least recently used block or file, if it was not used since ``before``.

        :returns: False if nothing was evicted.
        """
        table = self._table
        with self._lock:
            oldest = table.oldest() if self._can_punch else None
            entry = self._complete.oldest()
            if entry is None or (oldest is not None and oldest <= entry.used):
                if oldest is None or oldest >= before:
                    return False
                table.drop_oldest()
                self.evicted += 1
                return True
            if entry.used >= before:
                return False
        self._evict_file(entry)
        return True

    def _evict_file(self, entry: CompleteFile) -> None:
        blocks = self._complete.blocks_of(entry)
        if self._complete.remove(entry):
            with self._lock:
                self.evicted += blocks
                self._table.limit = min(self._table.capacity, self._table.limit + blocks)
