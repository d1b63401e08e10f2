# SPDX-License-Identifier: Apache-2.0
"""The file maker moves complete versions from the slab into files, on a thread of its own.

The file maker reads the blocks from their slots, verified, into a file under another name, syncs
the file, gives it its final name, records it in the index, and frees the slots. If the process is
killed between two of these steps, the blocks are still in their slots, or the file is in the index.
Anything else that is left is removed after the next start. The file maker also verifies files again
if they cannot be trusted after a start.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from backlotfs.cache.disk.block_reader import BlockReader
from backlotfs.cache.disk.complete_files import MADE_NS, CompleteFile, CompleteFiles
from backlotfs.cache.disk.key_hash import source_tag
from backlotfs.cache.disk.locked_directory import close_file
from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.room import Room
from backlotfs.cache.disk.slab_files import SlabFiles, write_at
from backlotfs.cache.memory import BlockKey

#: The number of blocks that are copied or verified together, and the number of slots that are freed
#: without releasing the lock.
_GROUP = 16
_FREED = 512
#: Longest time that `FileJobs.close` waits for the thread.
_CLOSE_TIMEOUT_S = 10.0
#: Most versions in the queue; a version that found no room is queued again when it is opened.
_MOST_JOBS = 4096
#: While blocks arrive, the thread pauses for this many times the time that it has worked. Without
#: the pause it would take processor time from the copy that brings the blocks.
_REST = 4


class FileJobs:
    """A queue of versions and one daemon thread, started with the first. Thread-safe."""

    def __init__(
        self, run: Callable[[Pin], None], first: Callable[[], None], busy: Callable[[], bool]
    ) -> None:
        """Start no thread yet.

        :param first: called once on the thread, before it handles the first version.
        :param busy: whether blocks arrive now.
        """
        self._run, self._first, self._busy = run, first, busy
        self._draining = 0
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Pin, None] = OrderedDict()
        self._current: Pin | None = None
        self._thread: threading.Thread | None = None
        self.closing = False

    def submit(self, pin: Pin) -> None:
        """Queue a version, if it is not queued and the queue is not full."""
        with self._changed:
            if self.closing or len(self._waiting) >= _MOST_JOBS or pin in self._waiting:
                return
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="cached-files", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system has no thread now; a later call tries again
                    return
                self._thread = thread
            self._waiting[pin] = None
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until the queue is empty; False if that takes too long."""
        with self._changed:
            self._draining += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(
                    lambda: not self._waiting and not self._current, timeout_s
                )
            finally:
                self._draining -= 1

    def close(self) -> bool:
        """End the thread after its current step; False if it does not end. Idempotent."""
        with self._changed:
            self.closing = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is None:
            return True
        self._thread.join(_CLOSE_TIMEOUT_S)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        self._first()
        worked_s = 0.0
        while True:
            with self._changed:
                self._current = None
                self._changed.notify_all()
                if self._busy():
                    rest_s = _REST * worked_s
                    self._changed.wait_for(lambda: self._draining or self.closing, rest_s)
                self._changed.wait_for(lambda: self._waiting or self.closing)
                if self.closing:
                    return
                self._current, _ = self._waiting.popitem(last=False)
            began_s = time.monotonic()
            self._run(self._current)
            worked_s = time.monotonic() - began_s


class FileMaker:
    """Makes and verifies the files of one open cache, on the thread of the jobs.

    :ivar making: the word of the version whose file is being made or whose slots are being freed
        after that; 0 if there is none.
    """

    def __init__(
        self,
        slab: SlabFiles,
        complete: CompleteFiles,
        reader: BlockReader,
        room: Room,
        lock: threading.Lock,
        stopped: Callable[[], bool],
    ) -> None:
        """Use the files of this cache.

        :param lock: guards these files; not held while the disk works.
        :param stopped: whether the cache is being closed; then unfinished work is given up.
        """
        self.making = 0
        self._dropped = False
        self._slab = slab
        self._complete = complete
        self._reader = reader
        self._room = room
        self._lock = lock
        self._stopped = stopped
        self._buffer = memoryview(bytearray(_GROUP * slab.block_bytes))

    def run(self, pin: Pin, name: str) -> None:
        """Make a version's file, or verify it again if there is one.

        :param name: the file name of the asset.
        :raises OSError: the disk is full or fails; no file was made.
        """
        with self._lock:
            entry = self._complete.get(pin.word)
            if self._complete.is_leaving(pin.word):
                return
        if entry is not None:
            self._verify(pin, entry)
            return
        with self._lock:
            self._slab.table.advance()
            began = self._slab.table.now
        if not self._is_whole(pin) or not self._room.for_file(pin, began):
            return
        added = False
        with self._lock:
            self.making, self._dropped = pin.word, False
        try:
            added = self._make(pin, name)
            if added:
                self._free_slots(pin)
                self._remove_dropped(pin)
                self._room.punch()
        finally:
            self.making = 0
            if not added:
                self._complete.discard_new()
                self._room.release(pin)

    def versions_dropped(self, words: AbstractSet[int]) -> None:
        """Note that the blocks of these versions are deleted. Any thread; the caller locks."""
        self._dropped |= self.making in words

    def _remove_dropped(self, pin: Pin) -> None:
        """Remove the new file if its version was dropped meanwhile, and not pinned again."""
        with self._lock:
            dropped = self._dropped and pin.word not in self._slab.table.pinned
            entry = self._complete.get(pin.word) if dropped else None
        if entry is not None:
            self._complete.remove(entry)

    def _is_whole(self, pin: Pin) -> bool:
        """Whether every block has a slot. Records a use of the slots, so that they are kept."""
        table, block_bytes = self._slab.table, self._slab.block_bytes
        count = -(-pin.size // block_bytes)
        for first in range(0, count, _FREED):
            with self._lock:
                for number in range(first, min(first + _FREED, count)):
                    slot = table.find(pin.word, number)
                    length = min(block_bytes, pin.size - number * block_bytes)
                    if slot < 0 or table.row(slot).length != length:
                        return False
                    table.touch(slot)
        return count > 0

    def _make(self, pin: Pin, name: str) -> bool:
        """Copy the blocks into a file and record it.

        :returns: False if a block is missing or the cache is being closed.
        """
        file = self._complete.create()
        try:
            checksums = array("Q")
            block_bytes, tag = self._slab.block_bytes, source_tag(*pin)
            count = -(-pin.size // block_bytes)
            for first in range(0, count, _GROUP):
                numbers = range(first, min(first + _GROUP, count))
                views = self._views(pin, numbers)
                keys = [BlockKey(*pin, number) for number in numbers]
                if self._stopped() or self._reader.read(keys, views) != list(map(len, views)):
                    return False
                checksums.extend(map(tag.checksum, numbers, views))
                write_at(file, self._buffer[: sum(map(len, views))], first * block_bytes)
            os.fdatasync(file)
            with contextlib.suppress(OSError):  # without this time the file has no proof
                os.utime(file, ns=(MADE_NS, MADE_NS))
            self._complete.publish(pin, name, checksums)
            self._complete.add(pin, os.fstat(file))
        finally:
            close_file(file)
        return True

    def _verify(self, pin: Pin, entry: CompleteFile) -> None:
        """Read a whole file; record a new proof if every block is right, or remove the file."""
        opened = self._complete.open(pin)
        if opened is None:
            self._reader.lost(entry)
            return
        file, listed, seen = opened
        try:
            if self._complete.is_proven(entry, seen):
                return
            try:
                os.utime(file, ns=(MADE_NS, MADE_NS))
            except OSError:
                return  # without this time, later writes could not be noticed
            before = os.fstat(file)
            block_bytes, tag = self._slab.block_bytes, source_tag(*pin)
            right = before.st_size == pin.size
            for first in range(0, len(listed.checksums) if right else 0, _GROUP):
                numbers = range(first, min(first + _GROUP, len(listed.checksums)))
                views = self._views(pin, numbers)
                if self._stopped():
                    return
                count = os.preadv(file, views, first * block_bytes)
                found = list(map(tag.checksum, numbers, views))
                right = count == sum(map(len, views)) and found == [
                    listed.checksums[number] for number in numbers
                ]
                if not right:
                    break
            after = os.fstat(file)
        finally:
            close_file(file)
        if not right:
            self._reader.lost(entry)
        elif (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns):
            self._complete.prove(entry, after)

    def _free_slots(self, pin: Pin) -> None:
        table = self._slab.table
        count = -(-pin.size // self._slab.block_bytes)
        for first in range(0, count, _FREED):
            with self._lock:
                for number in range(first, min(first + _FREED, count)):
                    slot = table.find(pin.word, number)
                    if slot >= 0:
                        table.drop(slot)

    def _views(self, pin: Pin, numbers: range) -> list[memoryview]:
        """A part of the buffer for each block, as long as the block."""
        block_bytes = self._slab.block_bytes
        return [
            self._buffer[at * block_bytes :][: min(block_bytes, pin.size - number * block_bytes)]
            for at, number in enumerate(numbers)
        ]
