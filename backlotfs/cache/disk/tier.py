"""The disk tier: blocks under one budget in bytes, least recently used out first, over restarts.

`get` and `get_many` read in the caller's thread; `put` hands the block to the writing thread or
lets it be. Trouble with the disk never reaches a caller: it is a miss, or a block not kept, and one
warning.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from backlotfs.cache.disk.block_reader import BlockReader
from backlotfs.cache.disk.block_writer import BlockWriter
from backlotfs.cache.disk.key_hash import embed_tag, source_tag
from backlotfs.cache.disk.locked_directory import LockedDirectory
from backlotfs.cache.disk.pin_file import PINS_FILE, Pin, PinFile
from backlotfs.cache.disk.slab_files import SlabFiles, budget_of
from backlotfs.cache.disk.write_queue import PendingBlock, WriteQueue
from backlotfs.cache.memory import BlockKey
from backlotfs.concurrency.clock import Clock
from backlotfs.errors import CacheUnusable
from backlotfs.trusted_paths import open_private_folder


class DiskCounts(NamedTuple):
    """In blocks.

    :ivar hits: read and verified.
    :ivar misses: asked for in vain, those included that did not verify.
    :ivar damaged: did not verify, or had a row that cannot be; their slots were freed.
    :ivar evicted: went for others.
    :ivar rejected: not taken because the disk did not keep up, or rested.
    """

    hits: int
    misses: int
    damaged: int
    evicted: int
    rejected: int


def kept_budget(folder: Path, block_bytes: int) -> int:
    """The budget that the tier in this folder needs to lose nothing; 0 where nothing is pinned."""
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
    """A cache of blocks in a folder. Any thread may call any method; none raises after `__init__`.

    :ivar budget_bytes: the files together never take more.
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
        """Open the cache, or make it. No thread is started: a fork may follow.

        :param folder: of this library alone: name it by API URL and account.
        :param block_bytes: size of a block; a cache of another size is begun anew.
        :param queued_blocks: blocks that may wait for the disk; their memory is held so long.
        :raises CacheUnusable: the folder is another user's, open to others, in use by another
            mount, cannot be written, or the budget holds no block: go on without a disk tier.
        """
        self.budget_bytes = budget_bytes
        self._turned_away = 0
        self._block_bytes = block_bytes
        self._folder = LockedDirectory(folder)
        try:
            self._pins = PinFile(self._folder)
            pinned = {pin.word for pin in self._pins.all()}
            self._files = SlabFiles(self._folder, budget_bytes, block_bytes, pinned)
        except OSError as error:
            self._folder.close()
            raise CacheUnusable(f"the disk cache {folder} is not used: {error}") from error
        except BaseException:
            self._folder.close()
            raise
        self._table = self._files.table
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._users = 0
        self._closed = False
        self._writer = BlockWriter(folder, self._files, self._lock, clock)
        self._reader = BlockReader(folder, self._files, self._lock, self._writer.tell)
        self._queue = WriteQueue(self._writer.write, queued_blocks)

    # --- what is here

    @property
    def counts(self) -> DiskCounts:
        """What happened since it was opened."""
        reader = self._reader
        return DiskCounts(
            reader.hits, reader.misses, reader.damaged, self._writer.evicted, self._turned_away
        )

    @property
    def cached_bytes(self) -> int:
        """Bytes of the slots in use; slots are whole, however short their blocks."""
        return self._table.held * self._block_bytes

    @property
    def room_bytes(self) -> int:
        """Bytes of all the slots that the budget has room for, in use or not."""
        return self._table.capacity * self._block_bytes

    @property
    def block_bytes(self) -> int:
        """Size of a slot."""
        return self._block_bytes

    def held_blocks(self, embed_code: str, validator: str) -> int:
        """How many blocks of this version are here, by the rows; costs a look into a dictionary."""
        return self._table.blocks.get(source_tag(embed_code, validator).word, 0)

    @property
    def disk_bytes(self) -> int:
        """What the files take by the file system's own count; 0 once closed."""
        with self._lock:
            return 0 if self._closed else self._files.disk_bytes

    def __contains__(self, key: BlockKey) -> bool:
        """Whether it is here, as far as one can tell without reading it; no use is counted."""
        return not self.missing((key,))

    def missing(self, keys: Iterable[BlockKey]) -> list[BlockKey]:
        """Those of ``keys`` that are not `in` it, in their order."""
        with self._lock:
            return [
                key
                for key in keys
                if self._table.find(source_tag(key.embed_code, key.validator).word, key.number) < 0
            ]

    # --- reading

    def get(self, key: BlockKey, buffer: memoryview) -> int | None:
        """Read a block into ``buffer``; returns its length, None when it is not here.

        After None the buffer may hold anything.

        :param buffer: of the block's length at least; usually of the size of a block.
        """
        return self.get_many((key,), (buffer,))[0]

    def get_many(self, keys: Sequence[BlockKey], buffers: Sequence[memoryview]) -> list[int | None]:
        """As `get` for each; blocks that lie side by side are read by one system call."""
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
        """Keep a block, letting others go; the caller waits for room in the queue at most.

        The block is referred to until it is written and must not change until then (were it to, it
        would not verify and be lost); so is ``owner``, whose memory it may be a view of.

        :returns: False when it will not be kept: it is no block, waits already, or the disk does
            not keep up or rests. What is here already is not written again.
        """
        if not 0 < len(block) <= self._block_bytes or not 0 <= key.number < 2**32:
            return False
        if key in self or key in self._queue:
            return False
        full = self._queue.full and not self._queue.wait_for_room(wait_s)
        if self._writer.resting or full:
            self._turned_away += 1
            return False
        tag = source_tag(key.embed_code, key.validator)
        return self._queue.submit(PendingBlock(key, block, owner, tag.checksum(key.number, block)))

    def accepted(self, key: BlockKey) -> bool:
        """Whether it is here, or waits to be written."""
        return key in self._queue or key in self  # in this order: it goes from the one to the other

    def drain(self) -> bool:
        """Wait until what was put so far is written; False when the disk takes too long."""
        return self._queue.drain()

    def discard_source(self, embed_code: str) -> None:
        """Let go of every block of this source, whatever its version, and of its pins."""
        self._queue.discard(embed_code)
        pinned = frozenset(pin for pin in self._pins.all() if pin.embed_code == embed_code)
        with self._in_use() as usable:
            if not usable:
                return
            with self._lock:
                self._table.pin({pin.word for pin in pinned}, stay=False)
                for slot in self._table.slots_of(embed_tag(embed_code), 4):
                    self._table.drop(slot)
            self._save_pins(remove=pinned)

    # --- pins

    def pin(self, embed_code: str, validator: str) -> None:
        """Blocks of this version are not let go for others, now and after restarts.

        They count in the budget: where it is full of them, nothing else is kept.
        """
        self.change_pins(add={Pin(embed_code, validator)})

    def unpin(self, embed_code: str, validator: str) -> None:
        """They are as all others again."""
        self.change_pins(remove={Pin(embed_code, validator)})

    def change_pins(
        self,
        *,
        add: AbstractSet[Pin] = frozenset(),
        remove: AbstractSet[Pin] = frozenset(),
        drop: AbstractSet[Pin] = frozenset(),
    ) -> bool:
        """`pin` and `unpin` many at once.

        :param drop: of those that are removed, whose blocks are to go now: nobody wants them.
        :returns: False when it was not saved: it holds until the tier is closed.
        """
        with self._in_use() as usable:
            if not usable:
                return False
            with self._lock:
                self._table.pin({pin.word for pin in remove}, stay=False)
                self._table.pin({pin.word for pin in add})
                for pin in drop:
                    for slot in self._table.slots_of(pin.word, 8):
                        self._table.drop(slot)
            return self._save_pins(add=add, remove=remove)

    def pins(self) -> list[Pin]:
        """What is pinned, in order."""
        return self._pins.all()

    def close(self) -> None:
        """Write what waits, save the order of use, let another mount in. May be called again."""
        ended = self._queue.close()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._idle.wait_for(lambda: not self._users)
        if ended:
            self._writer.save_all()
            self._folder.close()
        # Otherwise the disk hangs: the descriptors stay open until the process is gone.

    # --- inside

    @contextmanager
    def _in_use(self) -> Iterator[bool]:
        """Keeps `close` from closing the files; False when it has."""
        with self._lock:
            usable = not self._closed
            self._users += usable
        try:
            yield usable
        finally:
            with self._lock:
                self._users -= usable
                self._idle.notify_all()

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
    """Return the disk cache. :raises CacheUnusable: this mount has none."""
    if tier is None:
        raise CacheUnusable(
            "this mount keeps no blocks on disk: give it --cache-size, and a --cache-dir that "
            "no other mount uses"
        )
    return tier
