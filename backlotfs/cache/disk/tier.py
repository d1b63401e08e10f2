"""The disk cache: an LRU cache of blocks with a limit in bytes that survives restarts.

`get_many` reads on the caller's thread; `put` queues the block for the writer thread. An
error of the disk is never raised to a caller: it is a miss, or the block is not cached, and there
is one warning.

Another program may remove the folder while it is in use (``rm -rf ~/.cache``). Open files stay
usable, but their content is lost when the mount ends. So the cache checks the folder before each
write, each change of pins and each `warm`, and continues in a new, empty folder at the same path.
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
from backlotfs.cache.disk.block_writer import BlockWriter
from backlotfs.cache.disk.key_hash import source_tag
from backlotfs.cache.disk.locked_directory import LockedDirectory
from backlotfs.cache.disk.pin_file import PINS_FILE, Pin, PinFile
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
    :ivar damaged: blocks with a wrong checksum or an impossible row; their slots were freed.
    :ivar evicted: blocks that were evicted for others.
    :ivar rejected: blocks that were not written because the disk was too slow or had failed.
    """

    hits: int
    misses: int
    damaged: int
    evicted: int
    rejected: int


def kept_budget(folder: Path, block_bytes: int) -> int:
    """The budget that keeps every block of the cache in this folder; 0 if nothing is pinned."""
    try:
        place = open_private_folder(folder, make=False)
    except OSError:
        return 0
    try:
        pins, slab = (
            os.stat(name, dir_fd=place, follow_symlinks=False) for name in (PINS_FILE, "slab")
        )
        pinned = pins.st_size > len("[]")
        slots = -(-slab.st_size // block_bytes)
    except OSError:
        return 0
    finally:
        os.close(place)
    return budget_of(slots, block_bytes) if pinned else 0


T = TypeVar("T")


class DiskTier:
    """A cache of blocks in a folder. Any thread may call any method.

    After `__init__` none but `remake_if_removed` raises.

    :ivar budget_bytes: the limit for all files together.
    :ivar on_remade: called after a removed folder was made again, empty, with the pins it had.
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
        :param queued_blocks: blocks that may wait for the disk; they occupy memory meanwhile.
        :raises CacheUnusable: the folder belongs to another user, is open to others, is in use by
            another mount or cannot be written, or the budget is smaller than a block.
        """
        self.budget_bytes = budget_bytes
        self._rejected = 0
        self._block_bytes = block_bytes
        self.on_remade: Callable[[], None] = lambda: None
        self._path = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._remaking = threading.Lock()
        self._retired: list[LockedDirectory] = []
        self._use(*self._open())
        self._idle = threading.Condition(self._lock)
        self._users = 0
        self._closed = False
        self._queue = WriteQueue(self._write, queued_blocks)

    def _open(
        self, pins: AbstractSet[Pin] = frozenset()
    ) -> tuple[LockedDirectory, PinFile, SlabFiles]:
        """Open the folder and its files, or make them; ``pins`` are added to the saved ones."""
        folder = LockedDirectory(self._path)
        try:
            file = PinFile(folder)
            if pins:
                file.change(add=pins, remove=frozenset())
            pinned = {pin.word for pin in file.all()}
            return folder, file, SlabFiles(folder, self.budget_bytes, self._block_bytes, pinned)
        except OSError as error:
            folder.close()
            raise CacheUnusable(f"the disk cache {self._path} is not used: {error}") from error
        except BaseException:
            folder.close()
            raise

    def _use(self, folder: LockedDirectory, pins: PinFile, files: SlabFiles) -> None:
        self._folder, self._pins, self._files, self._table = folder, pins, files, files.table
        self._writer = BlockWriter(self._path, files, self._lock, self._clock)
        self._reader = BlockReader(self._path, files, self._lock, self._writer.tell)

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
                old_folder, reader, writer = self._folder, self._reader, self._writer
                self._use(*opened)
                self._reader.hits, self._reader.misses = reader.hits, reader.misses
                self._reader.damaged, self._writer.evicted = reader.damaged, writer.evicted
                self._retired.append(old_folder)
        events.DISK_CACHE_REMADE.log(log, path=self._path)
        self.on_remade()

    def _write(self, batch: Sequence[PendingBlock]) -> None:
        try:
            self.remake_if_removed()
        except CacheUnusable as error:
            self._writer.pause(OSError(str(error)))
        else:
            with self._in_use() as usable:  # its files stay open if the folder is made again now
                if usable:
                    self._writer.write(batch)

    # --- state

    @property
    def counts(self) -> DiskCounts:
        """The counters since the cache was opened."""
        reader = self._reader
        return DiskCounts(
            reader.hits, reader.misses, reader.damaged, self._writer.evicted, self._rejected
        )

    @property
    def cached_bytes(self) -> int:
        """Bytes of all slots in use; a short block takes a whole slot."""
        return self._table.used_slots * self._block_bytes

    @property
    def room_bytes(self) -> int:
        """Bytes of all slots that fit into the budget, in use or not."""
        return self._table.capacity * self._block_bytes

    @property
    def block_bytes(self) -> int:
        """The size of a slot."""
        return self._block_bytes

    def block_count(self, embed_code: str, validator: str) -> int:
        """The number of cached blocks of this version; one dictionary lookup."""
        return self._table.blocks.get(source_tag(embed_code, validator).word, 0)

    def __contains__(self, key: BlockKey) -> bool:
        """Whether the index has the block; this reads nothing and does not count as a use."""
        return not self.missing((key,))

    def missing(self, keys: Iterable[BlockKey]) -> list[BlockKey]:
        """The keys without a block in the index, in their order."""
        with self._lock:
            return [
                key
                for key in keys
                if self._table.find(source_tag(key.embed_code, key.validator).word, key.number) < 0
            ]

    # --- reading

    def get_many(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[int | None]:
        """Read blocks into buffers; return their lengths, or None for blocks that are not cached.

        Blocks in adjacent slots are read by one system call. After None the buffer may contain
        anything.

        :param buffers: each at least as long as its block.
        """
        with self._in_use() as usable:
            if not usable:
                return [None] * len(keys)
            return self._reader.read(keys, buffers)

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
        ``owner``, whose memory the block may be a view of, is kept alive until then.

        :returns: False if the block will not be written: its length or number is invalid, it is
            cached or queued already, or the disk is too slow or has failed.
        """
        if not 0 < len(block) <= self._block_bytes or not 0 <= key.number < 2**32:
            return False
        if key in self or key in self._queue:
            return False
        full = self._queue.full and not self._queue.wait_for_room(wait_s)
        if self._writer.paused or full:
            self._rejected += 1
            return False
        tag = source_tag(key.embed_code, key.validator)
        return self._queue.submit(PendingBlock(key, block, owner, tag.checksum(key.number, block)))

    def accepted(self, key: BlockKey) -> bool:
        """Whether the block is cached or queued."""
        return key in self._queue or key in self  # in this order: blocks go from queue to disk

    def drain(self) -> bool:
        """Wait until all queued blocks are written; False if the disk takes too long."""
        return self._queue.drain()

    # --- pins

    def change_pins(
        self,
        *,
        add: AbstractSet[Pin] = frozenset(),
        remove: AbstractSet[Pin] = frozenset(),
        drop: AbstractSet[Pin] = frozenset(),
    ) -> bool:
        """Pin and unpin versions. The blocks of a pinned version are not evicted, even later.

        They count in the budget. If they fill it, nothing else is cached.

        :param drop: the removed pins whose blocks are deleted at once.
        :returns: False if the change was not saved: it is valid until the cache is closed. If the
            folder was removed and cannot be made again, nothing was changed.
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
            return self._save_pins(add=add, remove=remove)

    def pins(self) -> list[Pin]:
        """All pins, sorted."""
        return self._pins.all()

    def close(self) -> None:
        """Write all queued blocks, save the LRU order and unlock the folder. Idempotent."""
        ended = self._queue.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if ended:
                self._idle.wait_for(lambda: not self._users)
        if ended:
            if not self._folder.removed:  # else another mount may have the new one
                self._writer.save_all()
            self._folder.close()
        # Otherwise the disk hangs, and the descriptors stay open until the process ends.

    # --- internal

    @contextmanager
    def _in_use(self) -> Iterator[bool]:
        """While inside, no file that is in use is closed. False: the files are closed."""
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
            for folder in retired:  # its disk space is free only when it is closed
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
