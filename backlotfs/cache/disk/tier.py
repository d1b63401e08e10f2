# SPDX-License-Identifier: Apache-2.0
"""The disk cache: an LRU cache of blocks that survives restarts and has a limit in bytes.

`get_many` reads on the caller's thread; `put` queues the block for the writer thread. An error of
the disk is never raised to a caller: the read is a miss, or the block is not cached. There is one
warning for each kind of error.

Another program may remove the folder while it is in use (``rm -rf ~/.cache``). Open files stay
usable, but their content is lost when the mount ends. So the cache checks the folder before each
write, each change of pins and each `warm`. If the folder was removed, the cache continues in a new,
empty folder at the same path.

When every block of a version is in the slab, the version is moved to a file of its own in the
background (`file_maker`). `open_complete` opens such a file for the kernel adapter.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from backlotfs.cache.disk.block_reader import BlockReader
from backlotfs.cache.disk.block_writer import WRITE_PAUSE_S, BlockWriter
from backlotfs.cache.disk.complete_files import CompleteFile, CompleteFiles, OpenedFile, saved_bytes
from backlotfs.cache.disk.file_maker import FileJobs, FileMaker
from backlotfs.cache.disk.key_hash import source_tag
from backlotfs.cache.disk.locked_directory import LockedDirectory, close_file
from backlotfs.cache.disk.pin_file import PINS_FILE, Pin, PinFile
from backlotfs.cache.disk.room import Room
from backlotfs.cache.disk.slab_files import SlabFiles, budget_of
from backlotfs.cache.disk.write_queue import PendingBlock, WriteQueue
from backlotfs.cache.memory import BlockKey
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import CacheUnusable
from backlotfs.log import events
from backlotfs.trusted_paths import open_private_folder

log = logging.getLogger(__name__)


class DiskCounts(NamedTuple):
    """Counters of the disk cache, in blocks.

    :ivar hits: blocks that were read and verified.
    :ivar misses: blocks that were not found, or damaged.
    :ivar damaged: blocks with a wrong checksum or an impossible row, which were deleted; and
        complete files that had such a block or were removed by another program.
    :ivar evicted: blocks that were evicted for others.
    :ivar rejected: blocks that were not written because the disk was too slow or had failed.
    """

    hits: int
    misses: int
    damaged: int
    evicted: int
    rejected: int


def kept_budget(folder: Path, block_bytes: int) -> int:
    """The budget that keeps every block of the cache in this folder.

    :returns: 0 if nothing is pinned or the cache cannot be read.
    """
    try:
        place = open_private_folder(folder, make=False)
    except OSError:
        return 0
    try:
        pins, slab = (
            os.stat(name, dir_fd=place, follow_symlinks=False) for name in (PINS_FILE, "slab")
        )
        pinned = pins.st_size > len("[]")
        slots = -(-min(slab.st_size, slab.st_blocks * 512) // block_bytes)
        slots += -(-saved_bytes(place, block_bytes) // block_bytes)
    except OSError:
        return 0
    finally:
        os.close(place)
    return budget_of(slots, block_bytes) if pinned else 0


#: If blocks arrived within this many seconds, a program is reading.
BUSY_S = 1.0

T = TypeVar("T")


class DiskTier:
    """A cache of blocks in a folder. Any thread may call any method.

    After `__init__`, only `remake_if_removed` raises exceptions.

    :ivar budget_bytes: the limit for all files together.
    :ivar on_loss: called after blocks of pinned versions may have been lost: a removed folder was
        made again, empty except for the pins; or a complete file was damaged or removed.
    :ivar name_of: returns the file name of an asset by its embed code, to name complete files.
    """

    def __init__(
        self,
        folder: Path,
        budget_bytes: int,
        clock: Clock,
        *,
        block_bytes: int = 128 * 1024,
        queued_blocks: int = 64,
    ) -> None:
        """Open or create the cache. No thread is started, because a fork may follow.

        :param folder: a folder for this library only, named by API URL and account.
        :param block_bytes: size of a block; a cache with another block size is emptied.
        :param queued_blocks: the number of blocks that may wait for the disk; they occupy memory.
        :raises CacheInUse: another process has locked the folder.
        :raises CacheUnusable: the folder belongs to another user, is open to others or cannot be
            written, or the budget is smaller than a block.
        """
        self.budget_bytes = budget_bytes
        self._rejected = self._hits = self._misses = 0
        self._block_bytes = block_bytes
        self.on_loss: Callable[[], None] = lambda: None
        self.name_of: Callable[[str], str] = lambda embed_code: embed_code
        self._path = folder
        self._holder = ""
        self._clock = clock
        self._lock = threading.Lock()
        self._remaking = threading.Lock()
        self._retired: list[LockedDirectory] = []
        self._no_files_until_s = -1.0
        self._arrived_s = float("-inf")
        self._jobs = FileJobs(self._make_file, lambda: self._complete.sweep(), self._is_busy)
        self._use(*self._open())
        self._idle = threading.Condition(self._lock)
        self._users = 0
        self._closed = False
        self._queue = WriteQueue(self._write, queued_blocks)
        self._room.shrink()

    def _open(
        self, pins: AbstractSet[Pin] = frozenset()
    ) -> tuple[LockedDirectory, PinFile, SlabFiles, CompleteFiles]:
        """Open the folder and its files, or make them; ``pins`` are added to the saved ones."""
        folder = LockedDirectory(self._path, self._holder)
        try:
            file = PinFile(folder)
            if pins:
                file.change(add=pins, remove=frozenset())
            pinned = {pin.word for pin in file.all()}
            slab = SlabFiles(folder, self.budget_bytes, self._block_bytes, pinned)
            complete = CompleteFiles(folder, self._block_bytes, slab.table, self._lock)
        except OSError as error:
            folder.close()
            raise CacheUnusable(f"the disk cache {self._path} is not used: {error}") from error
        except BaseException:
            folder.close()
            raise
        return folder, file, slab, complete

    def _use(
        self, folder: LockedDirectory, pins: PinFile, files: SlabFiles, complete: CompleteFiles
    ) -> None:
        lock = self._lock
        self._folder, self._pins, self._files, self._table = folder, pins, files, files.table
        self._complete = complete
        self._room = room = Room(files, complete, lock)
        self._writer = BlockWriter(self._path, files, complete, room, lock, self._clock)
        self._reader = BlockReader(self._path, files, complete, lock, self._writer.tell)
        self._reader.on_loss = lambda: self.on_loss()
        self._maker = FileMaker(
            files, complete, self._reader, room, lock, lambda: self._jobs.closing
        )

    def name_holder(self, holder: str) -> None:
        """Write into the lock file who uses this cache; see `LockedDirectory.name_holder`."""
        with self._remaking, self._in_use() as usable:
            self._holder = holder
            if usable:
                self._folder.name_holder(holder)

    def remake_if_removed(self) -> None:
        """Continue in a new, empty folder if the folder or a file in it was removed.

        :raises CacheUnusable: the folder cannot be made again, so no new block will be kept.
        """
        with self._remaking, self._in_use() as usable:
            if not usable or not self._folder.removed:
                return
            self._folder.unlock()
            opened = self._open(frozenset(self._pins.all()))
            with self._lock:
                old_folder, reader, room = self._folder, self._reader, self._room
                self._use(*opened)
                self._reader.damaged, self._room.evicted = reader.damaged, room.evicted
                self._retired.append(old_folder)
            self._room.shrink()
        events.DISK_CACHE_REMADE.log(log, path=self._path)
        self.on_loss()

    def _write(self, batch: Sequence[PendingBlock]) -> None:
        try:
            self.remake_if_removed()
        except CacheUnusable as error:
            self._writer.pause(OSError(str(error)))
        else:
            with self._in_use() as usable:  # keeps the files open if the folder is remade meanwhile
                if usable:
                    self._writer.write(batch)
            for pin in {Pin(*pending.key[:2]) for pending in batch}:
                if self._is_convertible(pin):
                    self._jobs.submit(pin)

    def _is_convertible(self, pin: Pin) -> bool:
        """Whether the slab has as many blocks of a version as the version has."""
        count = self._table.blocks.get(pin.word, 0)
        return count > 0 and count == -(-pin.size // self._block_bytes)

    def _make_file(self, pin: Pin) -> None:
        """Move a version to a file of its own, or verify its file, on the thread of the jobs."""
        if self._clock.monotonic() < self._no_files_until_s:
            return
        with self._in_use() as usable:
            if not usable:
                return
            maker, writer = self._maker, self._writer
            try:
                maker.run(pin, self.name_of(pin.embed_code))
            except FileNotFoundError:
                pass  # the folder was removed; the next write notices it
            except OSError as error:
                self._no_files_until_s = self._clock.monotonic() + WRITE_PAUSE_S
                writer.tell(error)
            except Exception as error:  # noqa: BLE001  # continue with the others
                events.JOB_FAILED.log(log, pool="cached-files", failure=error)
            writer.save_changes()

    # --- state

    @property
    def counts(self) -> DiskCounts:
        """The counters since the cache was opened."""
        damaged, evicted = self._reader.damaged, self._room.evicted
        return DiskCounts(self._hits, self._misses, damaged, evicted, self._rejected)

    @property
    def cached_bytes(self) -> int:
        """Bytes of all slots in use and of all complete files; a short block counts as a whole one.

        While the slots of a version are being freed because it has a file, it is counted once.
        """
        with self._lock:
            blocks = self._table.used_slots + self._complete.blocks
            if self._complete.get(self._maker.making) is not None:
                blocks -= self._table.blocks.get(self._maker.making, 0)
            return blocks * self._block_bytes

    @property
    def room_bytes(self) -> int:
        """Bytes of all slots that fit into the budget, in use or not."""
        return self._table.capacity * self._block_bytes

    @property
    def block_bytes(self) -> int:
        """The size of a slot."""
        return self._block_bytes

    def block_count(self, embed_code: str, validator: str) -> int:
        """The number of cached blocks of this version; a dictionary lookup."""
        word = source_tag(embed_code, validator).word
        with self._lock:
            entry = self._complete.get(word)
            if entry is not None:
                return self._complete.blocks_of(entry)
            return self._table.blocks.get(word, 0)

    def __contains__(self, key: BlockKey) -> bool:
        """Whether the index has the block; reads no file and does not count as a use."""
        return not self.missing((key,))

    def missing(self, keys: Iterable[BlockKey]) -> list[BlockKey]:
        """The keys without a block in the index, in their order."""
        find, has = self._table.find, self._complete.has
        with self._lock:
            return [
                key
                for key in keys
                if not has(word := source_tag(key.embed_code, key.validator).word, key.number)
                and find(word, key.number) < 0
            ]

    # --- reading

    def get_many(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[int | None]:
        """Read blocks into buffers; return their lengths, or None for blocks that are not cached.

        Blocks in adjacent slots are read by one system call. The buffer of a block that is not
        cached may contain anything after the call.

        :param buffers: each at least as long as its block.
        """
        with self._in_use() as usable:
            if not usable:
                return [None] * len(keys)
            lengths = self._reader.read(keys, buffers)
        missed = lengths.count(None)
        with self._lock:
            self._misses += missed
            self._hits += len(keys) - missed
        return lengths

    def open_complete(self, embed_code: str, validator: str) -> int | None:
        """Open the file of a complete version, and record a use; the caller closes it.

        The descriptor is for reading. The file has exactly the version's length. Its bytes were
        verified and have not been changed since. Eviction unlinks the file, but the descriptor and
        its mappings stay valid, and the file is never written again.

        :returns: the descriptor; None if the version has no such file now. If the version is
            complete, its file is made or verified again in the background, so a later call may
            return the file.
        """
        pin = Pin(embed_code, validator)
        with self._in_use() as usable:
            if not usable:
                return None
            with self._lock:
                entry = self._complete.get(pin.word)
            if entry is None:
                if self._is_convertible(pin):
                    self._jobs.submit(pin)
                return None
            opened = self._open_file(pin, entry)
            if opened is None:
                return None
            if not self._complete.is_proven(entry, opened.found):
                close_file(opened.file)
                self._jobs.submit(pin)
                return None
            with self._lock:
                self._table.advance()
                self._complete.touch(entry)
            return opened.file

    def check_complete(self, embed_code: str, validator: str) -> None:
        """Forget the file of a version if another program removed it or changed its length."""
        pin = Pin(embed_code, validator)
        with self._in_use() as usable:
            with self._lock:
                entry = self._complete.get(pin.word) if usable else None
            if entry is not None:
                opened = self._open_file(pin, entry)
                if opened is not None:
                    close_file(opened.file)
                    if opened.found.st_size != entry.size:
                        self._reader.lost(entry)

    def _open_file(self, pin: Pin, entry: CompleteFile) -> OpenedFile | None:
        try:
            opened = self._complete.open(pin)
        except OSError as error:
            self._writer.tell(error)
            return None
        if opened is None:
            self._reader.lost(entry)
            return None
        return opened

    # --- writing

    def put(
        self,
        key: BlockKey,
        block: bytes | bytearray | memoryview,
        owner: object = None,
        *,
        wait_s: float = 0.0,
    ) -> bool:
        """Queue a block to be written; wait at most ``wait_s`` for room in the queue.

        The block must not change until it is written; a changed block fails its checksum later.
        ``owner``, of whose memory the block may be a view, is kept alive until then.

        :returns: False if the block will not be written: its length or number is invalid, it is
            cached or queued already, or the disk is too slow or has failed.
        """
        if not 0 < len(block) <= self._block_bytes or not 0 <= key.number < 2**32:
            return False
        if key in self or key in self._queue:
            return False
        self._arrived_s = self._clock.monotonic()
        full = self._queue.full and not self._queue.wait_for_room(wait_s)
        if self._writer.paused or full:
            self._rejected += 1
            return False
        tag = source_tag(key.embed_code, key.validator)
        return self._queue.submit(PendingBlock(key, block, owner, tag.checksum(key.number, block)))

    def accepted(self, key: BlockKey) -> bool:
        """Whether the block is cached or queued."""
        # The queue comes first, because a block moves from the queue to the disk.
        return key in self._queue or key in self

    def _is_busy(self) -> bool:
        """Whether a block has arrived within the last `BUSY_S`."""
        return self._clock.monotonic() - self._arrived_s < BUSY_S

    def drain(self) -> bool:
        """Wait until all queued blocks are written; False if the disk takes too long."""
        return self._queue.drain()

    def drain_files(self, timeout_s: float = 10.0) -> bool:
        """Wait until all versions that are complete now have files; False if it takes too long."""
        return self._queue.drain() and self._jobs.drain(timeout_s)

    # --- pins

    def change_pins(
        self,
        *,
        add: AbstractSet[Pin] = frozenset(),
        remove: AbstractSet[Pin] = frozenset(),
        drop: AbstractSet[Pin] = frozenset(),
    ) -> bool:
        """Pin and unpin versions. The blocks of a pinned version are not evicted, even later.

        Pinned blocks count in the budget. If they fill it, nothing else is cached.

        :param drop: the removed pins whose blocks are deleted at once.
        :returns: False if the change was not saved. The change is then valid until the cache is
            closed. But if the folder was removed and cannot be made again, or if the cache is
            closed, nothing was changed.
        """
        try:
            self.remake_if_removed()
        except CacheUnusable as error:
            self._writer.tell(OSError(str(error)))
            return False
        with self._in_use() as usable:
            if not usable:
                return False
            with self._lock:
                self._table.pin({pin.word for pin in remove}, stay=False)
                self._table.pin({pin.word for pin in add})
                for pin in drop:
                    for slot in self._table.slots_of(pin.word):
                        self._table.drop(slot)
                self._maker.versions_dropped({pin.word for pin in drop})
                self._complete.pins_changed()
                found = map(self._complete.get, (pin.word for pin in drop))
                dropped = [entry for entry in found if entry is not None]
            for entry in dropped:
                self._complete.remove(entry)
            return self._save_pins(add=add, remove=remove)

    def pins(self) -> list[Pin]:
        """All pins, sorted."""
        return self._pins.all()

    def close(self) -> None:
        """Write all queued blocks, save the LRU order and unlock the folder. Idempotent."""
        ended = self._jobs.close()
        ended = self._queue.close() and ended
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if ended:
                self._idle.wait_for(lambda: not self._users)
        if ended:
            # If the folder was removed, another mount may use a new folder at this path.
            if not self._folder.removed:
                self._writer.close()
            self._folder.close()
        # Otherwise the disk hangs, and the descriptors stay open until the process ends.

    # --- internal

    @contextmanager
    def _in_use(self) -> Iterator[bool]:
        """Keep the files open inside the block. Yields False if the cache is closed already."""
        with self._lock:
            usable = not self._closed
            self._users += usable
        retired: list[LockedDirectory] = []
        try:
            yield usable
        finally:
            with self._lock:
                self._users -= usable
                if not self._users:
                    retired, self._retired = self._retired, []
                self._idle.notify_all()
            for folder in retired:  # closing the files frees their disk space
                folder.close()

    def _save_pins(
        self, *, add: AbstractSet[Pin] = frozenset(), remove: AbstractSet[Pin] = frozenset()
    ) -> bool:
        self._writer.save_changes()
        if add or remove:
            try:
                self._pins.change(add=add, remove=remove)
            except OSError as error:
                self._writer.tell(error)
                return False
        return True


def required(tier: T | None) -> T:
    """Return ``tier``. :raises CacheUnusable: it is None, because the mount has no disk cache."""
    if tier is None:
        raise CacheUnusable(
            "this mount keeps no blocks on disk: give it --cache-size, and a --cache-dir that "
            "no other mount uses"
        )
    return tier
