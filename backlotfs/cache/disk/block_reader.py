# SPDX-License-Identifier: Apache-2.0
"""The block reader copies blocks from their slots or complete files into buffers and verifies them.

Blocks are looked up under the lock and read without it. If the checksum of a block in a slot is
wrong, the row of the slot is read again. If its last use is still that of this read, the block is
damaged, and the slot is freed. Otherwise the slot was reused meanwhile, or another thread reads it
too; then the read is a normal miss. A complete file is never written again. So if one of its blocks
is wrong or missing, the file is damaged and is removed, unless it was removed already.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from backlotfs.cache.disk.complete_files import CompleteFile, CompleteFiles
from backlotfs.cache.disk.key_hash import KeyHash, source_tag
from backlotfs.cache.disk.locked_directory import close_file
from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.slab_files import SlabFiles
from backlotfs.cache.disk.slot_table import Row
from backlotfs.cache.memory import BlockKey
from backlotfs.log import events

log = logging.getLogger(__name__)

#: The largest number of adjacent blocks that one system call reads (the kernel's limit is 1024).
_LONGEST_RUN = 64


class _Hit(NamedTuple):
    """A block to be read; ``place`` counts blocks from the start of the slab or file."""

    at: int
    tag: KeyHash
    number: int
    place: int
    row: Row
    use: int


class BlockReader:
    """Reads and verifies blocks on any number of threads.

    :ivar damaged: number of damaged blocks and complete files so far.
    :ivar on_loss: called after a complete file of a pinned version was lost.
    """

    def __init__(
        self,
        path: Path,
        files: SlabFiles,
        complete: CompleteFiles,
        lock: threading.Lock,
        tell: Callable[[OSError], None],
    ) -> None:
        """Read from these files.

        :param path: of the folder, for the log.
        :param lock: guards the table of ``files``; never held while the disk works.
        :param tell: called with each error of the disk; a block that was not read is a miss.
        """
        self.damaged = 0
        self.on_loss: Callable[[], None] = lambda: None
        self._files = files
        self._complete = complete
        self._table = files.table
        self._lock = lock
        self._tell = tell
        self._path = path

    def read(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[int | None]:
        """Read blocks into the buffers; return their lengths, None for those not cached."""
        lengths: list[int | None] = [None] * len(keys)
        moved = self._read_found(keys, buffers, lengths)
        if moved:  # perhaps to a complete file, which was made meanwhile
            found: list[int | None] = [None] * len(moved)
            self._read_found([keys[at] for at in moved], [buffers[at] for at in moved], found)
            for at, length in zip(moved, found, strict=True):
                lengths[at] = length
        return lengths

    def _read_found(
        self,
        keys: Sequence[BlockKey],
        buffers: Sequence[memoryview],
        lengths: list[int | None],
    ) -> list[int]:
        """Read the blocks that are cached; return the indexes of those whose slot was freed."""
        moved: list[int] = []
        with self._lock:
            hits, whole = self._look_up(keys, buffers)
        if hits:
            damaged = self._read(hits, buffers, lengths, self._files.read)
            if damaged:
                moved = self._drop(damaged)
        for entry, ats in whole.values():
            self._read_complete(entry, keys, ats, buffers, lengths)
        return moved

    def lost(self, entry: CompleteFile) -> None:
        """Remove a complete file that is damaged or absent."""
        if self._complete.remove(entry):
            with self._lock:
                self.damaged += 1
            events.CACHE_CORRUPTION.log(log, path=self._path)
            if entry.word in self._table.pinned:
                self.on_loss()

    def _look_up(
        self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]
    ) -> tuple[list[_Hit], dict[int, tuple[CompleteFile, list[int]]]]:
        """Find the slots of blocks, and the complete files with the indexes of their keys."""
        hits: list[_Hit] = []
        whole: dict[int, tuple[CompleteFile, list[int]]] = {}
        table, complete = self._table, self._complete
        table.advance()
        for at, (embed_code, validator, number) in enumerate(keys):
            tag = source_tag(embed_code, validator)
            entry = complete.get(tag.word)
            if entry is not None:
                if tag.word not in whole:
                    complete.touch(entry)
                    whole[tag.word] = entry, []
                if 0 <= number < complete.blocks_of(entry):
                    whole[tag.word][1].append(at)
                continue
            slot = table.find(tag.word, number)
            if slot < 0:
                continue
            row = table.row(slot)
            if 0 < row.length <= min(self._files.block_bytes, len(buffers[at])):
                hits.append(_Hit(at, tag, number, slot, row, table.touch(slot)))
            else:
                table.drop(slot)
                self.damaged += 1
        return hits, whole

    def _read_complete(
        self,
        entry: CompleteFile,
        keys: Sequence[BlockKey],
        ats: Sequence[int],
        buffers: Sequence[memoryview],
        lengths: list[int | None],
    ) -> None:
        """Read blocks of one complete file."""
        if not ats:
            return
        pin, block_bytes = Pin(*keys[ats[0]][:2]), self._files.block_bytes
        try:
            opened = self._complete.open(pin)
        except OSError as error:
            self._tell(error)
            return
        if opened is None:
            self.lost(entry)
            return
        file, listed, _ = opened
        try:
            tag, hits = source_tag(*pin), []
            for at in ats:
                number = keys[at].number
                length = min(block_bytes, entry.size - number * block_bytes)
                row = Row(length, listed.checksums[number])
                hits.append(_Hit(at, tag, number, number, row, 0))

            def read(number: int, into: Sequence[memoryview]) -> int:
                return os.preadv(file, into, number * block_bytes)

            damaged = self._read(hits, buffers, lengths, read)
        finally:
            close_file(file)
        if damaged:
            self.lost(entry)

    def _read(
        self,
        hits: list[_Hit],
        buffers: Sequence[memoryview],
        lengths: list[int | None],
        read: Callable[[int, Sequence[memoryview]], int],
    ) -> list[_Hit]:
        """Read neighbouring blocks together; return the blocks with a wrong checksum."""
        failed = []
        for run in _runs(hits, buffers, self._files.block_bytes):
            into = [buffers[hit.at] for hit in run]
            into[-1] = into[-1][: run[-1].row.length]
            try:
                read(run[0].place, into)
            except OSError as error:
                self._tell(error)  # the checksums of blocks that were not read are wrong
            for hit in run:
                length, checksum = hit.row
                if hit.tag.checksum(hit.number, buffers[hit.at][:length]) == checksum:
                    lengths[hit.at] = length
                else:
                    failed.append(hit)
        return failed

    def _drop(self, damaged: list[_Hit]) -> list[int]:
        """Free the slots of damaged blocks.

        :returns: the indexes of the blocks whose slot was freed, and perhaps reused, meanwhile.
        """
        moved: list[int] = []
        with self._lock:
            for hit in damaged:
                if self._table.use(hit.place) == hit.use:
                    self._table.drop(hit.place)
                    self.damaged += 1
                else:
                    moved.append(hit.at)
        if len(moved) < len(damaged):
            events.CACHE_CORRUPTION.log(log, path=self._path)
        return moved


def _runs(
    hits: list[_Hit], buffers: Sequence[memoryview], block_bytes: int
) -> Iterator[list[_Hit]]:
    """Split hits into runs of adjacent slots; only the last buffer of a run may be short."""
    run: list[_Hit] = []
    for hit in hits:
        if run and (
            hit.place != run[-1].place + 1
            or len(buffers[run[-1].at]) != block_bytes
            or len(run) == _LONGEST_RUN
        ):
            yield run
            run = []
        run.append(hit)
    if run:
        yield run
