"""The block reader copies blocks from their slots into buffers and verifies them.

Slots are looked up under the lock and read without it. If the checksum of a block is wrong, its
slot is looked at again: if its last use is still this read, the block is damaged, and the slot is
freed. Otherwise it was reused meanwhile, maybe for the same block again, or another thread reads
it too: that is a normal miss.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from backlotfs.cache.disk.key_hash import KeyHash, source_tag
from backlotfs.cache.disk.slab_files import SlabFiles
from backlotfs.cache.disk.slot_table import Row
from backlotfs.cache.memory import BlockKey
from backlotfs.log import events

log = logging.getLogger(__name__)

#: Neighbours read by one system call at most (the kernel's limit is 1024).
_LONGEST_RUN = 64


class _Hit(NamedTuple):
    at: int
    tag: KeyHash
    number: int
    slot: int
    row: Row
    use: int


class BlockReader:
    """Reads and verifies blocks on any number of threads. The counters are in blocks."""

    def __init__(
        self, path: Path, files: SlabFiles, lock: threading.Lock, tell: Callable[[OSError], None]
    ) -> None:
        """Read from these files.

        :param path: of the folder, for the log.
        :param lock: guards the table of ``files``; never held while the disk works.
        :param tell: called with each error of the disk; the read is a miss then.
        """
        self.hits = self.misses = self.damaged = 0
        self._files = files
        self._table = files.table
        self._lock = lock
        self._tell = tell
        self._path = path

    def read(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[int | None]:
        """Read blocks into the buffers; return their lengths, None for those not cached."""
        lengths: list[int | None] = [None] * len(keys)
        with self._lock:
            hits = self._look_up(keys, buffers)
        damaged: list[_Hit] = []
        for run in _runs(hits, buffers, self._files.block_bytes):
            damaged += self._read_run(run, buffers, lengths)
        with self._lock:
            found = len(keys) - lengths.count(None)
            self.hits += found
            self.misses += len(keys) - found
            for hit in damaged:
                if self._table.use(hit.slot) == hit.use:
                    self._table.drop(hit.slot)
                    self.damaged += 1
        if damaged:
            events.CACHE_CORRUPTION.log(log, path=self._path)
        return lengths

    def _look_up(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[_Hit]:
        hits: list[_Hit] = []
        table = self._table
        table.advance()
        for at, (embed_code, validator, number) in enumerate(keys):
            tag = source_tag(embed_code, validator)
            slot = table.find(tag.word, number)
            if slot < 0:
                continue
            row = table.row(slot)
            if 0 < row.length <= min(self._files.block_bytes, len(buffers[at])):
                hits.append(_Hit(at, tag, number, slot, row, table.touch(slot)))
            else:
                table.drop(slot)
                self.damaged += 1
        return hits

    def _read_run(
        self, run: list[_Hit], buffers: Sequence[memoryview], lengths: list[int | None]
    ) -> list[_Hit]:
        """Read adjacent slots; return the blocks with a wrong checksum."""
        into = [buffers[hit.at] for hit in run]
        into[-1] = into[-1][: run[-1].row.length]
        try:
            self._files.read(run[0].slot, into)
        except OSError as error:
            self._tell(error)  # the checksums of blocks that were not read are wrong
        failed = []
        for hit in run:
            length, checksum = hit.row
            if hit.tag.checksum(hit.number, buffers[hit.at][:length]) == checksum:
                lengths[hit.at] = length
            else:
                failed.append(hit)
        return failed


def _runs(
    hits: list[_Hit], buffers: Sequence[memoryview], block_bytes: int
) -> Iterator[list[_Hit]]:
    """Split hits into runs of adjacent slots with whole-block buffers, except for the last."""
    run: list[_Hit] = []
    for hit in hits:
        if run and (
            hit.slot != run[-1].slot + 1
            or len(buffers[run[-1].at]) != block_bytes
            or len(run) == _LONGEST_RUN
        ):
            yield run
            run = []
        run.append(hit)
    if run:
        yield run
