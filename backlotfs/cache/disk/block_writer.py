# SPDX-License-Identifier: Apache-2.0
"""The block writer writes blocks into slots, then their rows, and handles errors of the disk.

If the disk has no room for a new slot, the cache uses only the slots that it has, and tries to grow
again after `WRITE_PAUSE_S`. If the disk cannot write to those slots either, or fails, nothing is
written for `WRITE_PAUSE_S`. Each kind of error is logged once.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from backlotfs.cache.disk.complete_files import CompleteFiles
from backlotfs.cache.disk.key_hash import source_tag
from backlotfs.cache.disk.room import Room
from backlotfs.cache.disk.slab_files import SlabFiles
from backlotfs.cache.disk.slot_table import Row
from backlotfs.cache.disk.write_queue import PendingBlock
from backlotfs.concurrency.clock import Clock
from backlotfs.log import events

log = logging.getLogger(__name__)

#: Pause of writes, or of attempts to use more disk space, after the disk refused one.
WRITE_PAUSE_S = 60.0
#: How often the LRU order is saved while blocks are written; it is also saved at the end.
_SAVE_EVERY_S = 60.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BlockWriter:
    """Writes blocks. `write` runs on the queue's thread; any thread may call the other methods."""

    def __init__(
        self,
        path: Path,
        files: SlabFiles,
        complete: CompleteFiles,
        room: Room,
        lock: threading.Lock,
        clock: Clock,
    ) -> None:
        """Write to these files.

        :param path: of the folder, for the log.
        :param lock: guards the table of ``files``; never held while the disk works.
        """
        self._path = path
        self._files = files
        self._complete = complete
        self._room = room
        self._table = files.table
        self._lock = lock
        self._clock = clock
        self._paused_until_s = self._no_growth_until_s = -1.0
        self._saved_at_s = clock.monotonic()
        self._told: set[int | None] = set()

    @property
    def paused(self) -> bool:
        """Whether writes are paused after an error of the disk."""
        return self._clock.monotonic() < self._paused_until_s

    def write(self, batch: Sequence[PendingBlock]) -> None:
        """Allocate a slot for each block and write it; a block that fails is not cached."""
        for pending in batch:
            self._write(pending)
        self.save_changes()
        now_s = self._clock.monotonic()
        if now_s - self._saved_at_s >= _SAVE_EVERY_S:
            self._saved_at_s = now_s
            self.save_all()

    def _write(self, pending: PendingBlock) -> None:
        key, table = pending.key, self._table
        tag = source_tag(key.embed_code, key.validator)
        now_s = self._clock.monotonic()
        with self._lock:
            if now_s >= self._no_growth_until_s:
                table.limit = table.capacity
            if self._complete.has(tag.word, key.number) or table.find(tag.word, key.number) >= 0:
                return
            table.advance()
        slot = self._room.slot()
        if slot is None:
            return
        try:
            self._files.write(slot, pending.block)
        except OSError as error:
            self._give_back(slot, error, now_s)
            return
        with self._lock:
            row = Row(len(pending.block), pending.checksum)
            table.fill(slot, tag.word, key.number, row)

    def save_changes(self) -> None:
        """Write the rows and heads that changed since the last call."""
        table = self._table
        with self._lock:
            rows, table.dirty_rows = table.dirty_rows, set()
            heads, table.dirty_heads = table.dirty_heads, set()
        try:
            self._files.save(sorted(rows), sorted(heads))
        except OSError as error:
            self.pause(error)

    def save_all(self) -> None:
        """Write all rows and heads. The rows include the LRU order."""
        try:
            self._files.save_all()
            self._complete.save()
        except OSError as error:
            self.pause(error)

    def close(self) -> None:
        """Write everything that `save_all` writes, and record that the cache was closed."""
        try:
            self._files.save_all()
            self._complete.close()
        except OSError as error:
            self.pause(error)

    def tell(self, error: OSError) -> None:
        """Log a warning, once for each kind of error."""
        if error.errno not in self._told:
            self._told.add(error.errno)
            reason = os.strerror(error.errno) if error.errno else str(error)
            events.DISK_CACHE_PAUSED.log(log, path=self._path, reason=reason)

    def pause(self, error: OSError) -> None:
        """Pause writes for `WRITE_PAUSE_S`, because of this error."""
        self._paused_until_s = self._clock.monotonic() + WRITE_PAUSE_S
        self.tell(error)

    def _give_back(self, slot: int, error: OSError, now_s: float) -> None:
        with self._lock:
            stopped_growing = self._table.retract(slot)
        if stopped_growing and error.errno in _NO_ROOM:
            self._no_growth_until_s = now_s + WRITE_PAUSE_S
            self.tell(error)
        else:
            self.pause(error)
