# SPDX-License-Identifier: Apache-2.0
"""The files of the disk cache: the slab, the index, and the slot table read from the index."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

from backlotfs.cache.disk.locked_directory import LockedDirectory
from backlotfs.cache.disk.slot_table import MOST_SLOTS, ROW_BYTES, SlotTable
from backlotfs.cache.memory import runs_of
from backlotfs.errors import CacheUnusable

#: Version of the format; a cache in a format of another version is emptied.
FORMAT_VERSION = 2

_HEADER = struct.Struct("=8sIIQ")  # magic, version, block bytes, checksum of those before
_MAGIC = b"backlot\n"
_ROWS_AT = 4096
#: Allowance for the file system's metadata (ext4: 4 KiB for each 340 extents) and for the partly
#: used blocks of the small files.
_OVERHEAD_BYTES = 64 * 1024
_OVERHEAD_SHARE = 1024
#: Up to this many slots (4 GiB of blocks of 64 KiB) the chains are rebuilt at each start, which
#: takes about 50 ms. Without that, after a kill between the writes of rows and of heads, some
#: blocks could not be found.
RELINKED_SLOTS = 65_536

_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # <linux/falloc.h>


def capacity_of(budget_bytes: int, block_bytes: int) -> int:
    """The number of slots that fit with rows, heads and the file system's overhead; may be 0."""
    room = budget_bytes - budget_bytes // _OVERHEAD_SHARE - _OVERHEAD_BYTES - _ROWS_AT
    slots = max(0, room // (block_bytes + ROW_BYTES + 4))
    while slots and slots * (block_bytes + ROW_BYTES) + 4 * _heads_of(slots) > room:
        slots -= max(1, slots // 1000)  # the number of heads is a power of two
    return min(slots, MOST_SLOTS)


def budget_of(slots: int, block_bytes: int) -> int:
    """A budget that is large enough for this many slots, and hardly larger than needed."""
    budget = slots * (block_bytes + ROW_BYTES + 4) + _OVERHEAD_BYTES + _ROWS_AT
    while capacity_of(budget, block_bytes) < min(slots, MOST_SLOTS):
        budget += budget // 512
    return budget


class SlabFiles:
    """Slots and rows on disk. Any thread may read and write. The folder closes the files.

    :ivar block_bytes: size of a slot.
    :ivar table: the table of the index; the caller locks it.
    """

    def __init__(
        self, folder: LockedDirectory, budget_bytes: int, block_bytes: int, pinned: set[int]
    ) -> None:
        """Open the files, or empty them if they have another format.

        If the budget is smaller than before, the slots beyond it are dropped.

        :param pinned: words of the pinned versions.
        :raises CacheUnusable: the budget is smaller than a block.
        :raises OSError: the files cannot be read or created.
        """
        capacity = capacity_of(budget_bytes, block_bytes)
        if not capacity:
            raise CacheUnusable(
                f"a block cache of {budget_bytes} bytes has no room for a block; "
                "raise --cache-size, or set it to 0"
            )
        self.block_bytes = block_bytes
        self._slab = folder.open("slab")
        self._index = folder.open("index")
        self._heads = folder.open("heads")
        self.table = SlotTable(capacity, pinned)
        header = _HEADER.pack(_MAGIC, FORMAT_VERSION, block_bytes, 0)[:-8]
        header += xxh3_64_intdigest(header).to_bytes(8, "little")
        if os.pread(self._index, len(header), 0) != header:
            for file in (self._slab, self._index, self._heads):
                os.ftruncate(file, 0)
            write_at(self._index, header, 0)
        self._load()

    def read(self, slot: int, buffers: Sequence[memoryview]) -> int:
        """Read from ``slot`` on into ``buffers``; return the number of bytes read.

        :raises OSError: the disk fails.
        """
        return os.preadv(self._slab, buffers, slot * self.block_bytes)

    def write(self, slot: int, block: bytes | bytearray | memoryview) -> None:
        """Write a block into its slot. :raises OSError: the disk is full or fails."""
        write_at(self._slab, block, slot * self.block_bytes)

    def punch(self, slots: Sequence[int]) -> bool:
        """Give the disk space of these ascending slots back; False if the disk cannot do it."""
        return all(
            punch_hole(self._slab, run.start * self.block_bytes, len(run) * self.block_bytes)
            for run in runs_of(slots, len(slots))
        )

    def save(self, rows: Sequence[int], heads: Sequence[int]) -> None:
        """Write these rows and heads. :raises OSError: see `write`."""
        table = self.table
        for slot in rows:
            if slot < table.high_water_mark:
                at = slot * ROW_BYTES
                write_at(self._index, table.row_bytes[at : at + ROW_BYTES], _ROWS_AT + at)
        for head in heads:
            write_at(self._heads, table.head_bytes[head * 4 : head * 4 + 4], head * 4)

    def save_all(self) -> None:
        """Write all rows and heads. :raises OSError: see `write`."""
        table = self.table
        write_at(self._index, table.row_bytes[: table.high_water_mark * ROW_BYTES], _ROWS_AT)
        write_at(self._heads, table.head_bytes, 0)

    def _load(self) -> None:
        table, block = self.table, self.block_bytes
        rows = max(0, os.fstat(self._index).st_size - _ROWS_AT) // ROW_BYTES
        slots = -(-os.fstat(self._slab).st_size // block)
        high_water_mark = min(rows, slots, table.capacity)
        if slots > high_water_mark:
            os.ftruncate(self._slab, high_water_mark * block)
        if rows > high_water_mark:
            os.ftruncate(self._index, _ROWS_AT + high_water_mark * ROW_BYTES)
        high_water_mark = _read(
            self._index, table.row_bytes[: high_water_mark * ROW_BYTES], _ROWS_AT
        )
        high_water_mark //= ROW_BYTES
        # Chains are rebuilt if the table is small, grew, or shrank (they may lead to dropped
        # slots).
        size = len(table.head_bytes)
        kept = high_water_mark == rows and os.fstat(self._heads).st_size == size
        kept = kept and high_water_mark > RELINKED_SLOTS
        kept = kept and _read(self._heads, table.head_bytes, 0) == size
        on_disk = -(-os.fstat(self._slab).st_blocks * 512 // block)
        table.loaded(high_water_mark, heads=kept, on_disk=on_disk)
        if not kept:
            os.ftruncate(self._heads, 0)
            # If the disk is full, the file is too short, so the next start rebuilds the chains.
            with contextlib.suppress(OSError):
                self.save_all()


def punch_hole(file: int, at: int, length: int) -> bool:
    """Give the disk space of a part of a file back; False if the disk cannot do it.

    After that the part reads as zeros.
    """
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return False
    offset = ctypes.c_int64 if ctypes.sizeof(ctypes.c_long) == 8 else ctypes.c_long
    return not fallocate(file, _PUNCH_HOLE | _KEEP_SIZE, offset(at), offset(length))


def _heads_of(slots: int) -> int:
    return 1 << (slots - 1).bit_length()


def _read(file: int, into: memoryview, at: int) -> int:
    done = 0
    while done < len(into):
        count = os.preadv(file, [into[done:]], at + done)
        if not count:
            break
        done += count
    return done


def write_at(file: int, data: bytes | bytearray | memoryview, at: int) -> None:
    """Write all of ``data`` at this place of a file. :raises OSError: the disk is full or fails."""
    count = os.pwrite(file, data, at)
    while count < len(data):  # a write to an almost full disk may be partial
        count += os.pwrite(file, memoryview(data)[count:], at + count)
