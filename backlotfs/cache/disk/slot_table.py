# SPDX-License-Identifier: Apache-2.0
"""The slot table maps blocks to slots and chooses the slots to evict. Pure: no files, no lock.

A row has five 64-bit words: the source's word; the block number and, above it, the length (both 0:
the slot is free); the checksum; the *use*; the next slot of the chain plus one (0: there is none).
The use has, from the top, one bit for pinned, 39 bits of a counter, and 24 bits of the slot number.
So the slots with the smallest uses are the least recently used ones, and one pass finds them
without an object per row. A free slot has the counter 0.

Free slots take disk space until they are punched; after that they are *holes*. The slots that take
space and the complete files (``reserved``) together are at most ``capacity``.

Rows come from a disk and may contain anything. Every number is checked before it is followed,
chains end after `_LONGEST_CHAIN`, and a slot is evicted only if its use is the same as when it was
chosen. A slot that its chain does not reach any more is evicted later like all others, because
eviction does not follow chains.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from heapq import nsmallest
from itertools import compress
from operator import not_
from typing import NamedTuple

ROW_BYTES = 40
#: Most slots (24 bits): 1 TiB in blocks of 64 KiB.
MOST_SLOTS = 2**24

_WORDS = ROW_BYTES // 8
_SOURCE, _NUMBER, _CHECKSUM, _USE, _NEXT = range(_WORDS)
_LOW = 2**32 - 1
_SLOT = MOST_SLOTS - 1
_TICK_SHIFT = 24
_TICK_MASK = 2**39 - 1
_PINNED = 1 << 63
#: Chains usually have one or two slots; only a damaged one is this long.
_LONGEST_CHAIN = 256
#: Number of slots that one pass over all rows chooses (10 ms for 500 000 rows).
_VICTIMS = 4096
#: Up to this many sources are searched one by one. More are searched by one pass over all rows.
_FEW = 8


class Row(NamedTuple):
    """The fields of a row that a reader needs."""

    length: int
    checksum: int


class SlotTable:
    """Rows and chains in memory. Not thread-safe.

    :ivar high_water_mark: slots from here on were never used.
    :ivar limit: the number of slots that may take disk space now; at most `capacity`.
    :ivar reserved: the part of the capacity, in slots, that complete files take.
    :ivar pinned: words of the pinned versions.
    :ivar blocks: the number of cached blocks of each version, by its word.
    :ivar dirty_rows: slots whose rows have to be saved; the owner clears this set.
    :ivar dirty_heads: chains whose heads have to be saved; the owner clears this set.
    """

    def __init__(self, capacity: int, pinned: set[int]) -> None:
        """Make an empty table for ``capacity`` slots (at least one)."""
        self.capacity = min(capacity, MOST_SLOTS)
        self.limit = self.capacity
        self.high_water_mark = 0
        self.used_slots = 0
        self.pinned = pinned
        self.blocks: Counter[int] = Counter()
        self.dirty_rows: set[int] = set()
        self.dirty_heads: set[int] = set()
        # Anonymous maps, not bytearrays, so that unused rows need no memory.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._rows = mmap.mmap(-1, self.capacity * ROW_BYTES, flags=flags)
        self.row_bytes = memoryview(self._rows)
        self._words = self.row_bytes.cast("Q")
        self.head_count = 1 << (self.capacity - 1).bit_length()
        self.head_bytes = memoryview(mmap.mmap(-1, self.head_count * 4, flags=flags))
        self._heads = self.head_bytes.cast("I")
        self._tick = 1
        self.reserved = 0
        self._free: list[int] = []
        self._holes: list[int] = []
        #: `_free` or `_holes`: the list that unused slots are added to at the first change.
        self._unlisted: list[int] | None = None
        self._given = -1  # a slot that was allocated, but not yet filled, dropped or retracted
        self._grown = -1  # the last slot for which the disk space grew
        self._victims: list[int] = []
        self._stuck = -1  # the number of slots in use when all of them were pinned

    def loaded(self, high_water_mark: int, *, heads: bool, on_disk: int) -> None:
        """Use ``row_bytes`` up to ``high_water_mark``, which were read from a file.

        :param heads: whether ``head_bytes`` were read too; otherwise the chains are rebuilt.
        :param on_disk: the number of slots for which the file takes disk space.
        """
        self.high_water_mark = high_water_mark
        if not high_water_mark:
            return
        self.blocks.update(compress(self._column(_SOURCE), self._column(_NUMBER)))
        self.used_slots = self.blocks.total()
        self._unlisted = self._holes if on_disk <= self.used_slots else self._free
        latest = max(self._column(_USE))
        if latest & _PINNED and self.pinned:
            latest = max(use & ~_PINNED for use in self._column(_USE))
        self._tick = ((latest >> _TICK_SHIFT) & _TICK_MASK) + 1
        if latest & _PINNED or self._tick > _TICK_MASK // 2:
            self._mend_uses()
        if not heads:
            self._link_all()

    # --- looking up

    def find(self, word: int, number: int) -> int:
        """The slot of a block, or -1."""
        words = self._words
        head = (word + number) & (self.head_count - 1)
        after = self._heads[head]
        for _ in range(_LONGEST_CHAIN):
            if not 0 < after <= self.high_water_mark:
                return -1
            at = (after - 1) * _WORDS
            if words[at] == word and words[at + _NUMBER] & _LOW == number:
                return after - 1
            after = words[at + _NEXT]
        self._heads[head] = 0  # the chain is a ring; its slots are evicted later
        self.dirty_heads.add(head)
        return -1

    def row(self, slot: int) -> Row:
        """The length, which may be invalid, and the checksum of a slot's block."""
        at = slot * _WORDS
        return Row(self._words[at + _NUMBER] >> 32, self._words[at + _CHECKSUM])

    def advance(self) -> None:
        """Advance the counter, so that later uses are newer than all earlier ones."""
        self._tick += 1

    @property
    def now(self) -> int:
        """The counter, by which uses are ordered; complete files use it too."""
        return self._tick

    def seen(self, tick: int) -> None:
        """Make the counter larger than this use of a complete file."""
        self._tick = max(self._tick, min(tick, _TICK_MASK // 2) + 1)

    def touch(self, slot: int) -> int:
        """Record a use of a slot and return it."""
        at = slot * _WORDS + _USE
        use = self._words[at] & _PINNED | self._tick << _TICK_SHIFT | slot
        self._words[at] = use
        return use

    def use(self, slot: int) -> int:
        """The word with the last use of a slot; see the docstring of the module."""
        return self._words[slot * _WORDS + _USE]

    def slots_of(self, word: int) -> Iterator[int]:
        """The slots with blocks of the version with this word."""
        needle = word.to_bytes(8, "little")
        stop = self.high_water_mark * ROW_BYTES
        at = self._rows.find(needle, 0, stop)
        while at >= 0:
            slot, within = divmod(at, ROW_BYTES)
            if not within:
                yield slot
            at = self._rows.find(needle, at + 1, stop)

    # --- allocation

    @property
    def on_disk(self) -> int:
        """The number of slots that take disk space."""
        if self._unlisted is self._holes:
            return self.used_slots
        return self.high_water_mark - len(self._holes)

    def allocate(self) -> int | None:
        """Allocate a slot; evict the least recently used block if needed. None: all are pinned."""
        slot = self.vacant()
        if slot is None and self.oldest() is not None:
            slot = self._victims.pop() & _SLOT
            self._unlink(slot)
            self._take(slot)
        return slot

    def vacant(self) -> int | None:
        """Allocate a slot without evicting a block: a free slot, or a slot that takes new space.

        Fill, drop or retract the slot before the next call.

        :returns: None if there is no such slot.
        """
        self._list_vacant()
        while self._free:
            slot = self._free.pop()
            if self._is_free(slot):
                return self._take(slot)
        if self.on_disk >= min(self.limit, self.capacity - self.reserved):
            return None
        while self._holes:
            slot = self._holes.pop()
            if self._is_free(slot):
                self._grown = slot
                return self._take(slot)
        if self.high_water_mark == self.capacity:
            return None
        self._grown = self.high_water_mark
        self.high_water_mark += 1
        return self._take(self._grown)

    def oldest(self) -> int | None:
        """The last use of the least recently used slot that is not pinned, as `now` counts it.

        :returns: None if there is no such slot.
        """
        for _ in range(3):  # with earlier victims, with new ones, and after a repair of the rows
            while self._victims:
                use = self._victims[-1]
                if self._says(use):
                    return (use >> _TICK_SHIFT) & _TICK_MASK
                self._victims.pop()
            if self.used_slots <= self._stuck:
                return None
            self._choose_victims()
        self._stuck = self.used_slots
        return None

    def drop_oldest(self) -> None:
        """Evict the slot whose last use `oldest` has returned."""
        self.drop(self._victims.pop() & _SLOT)

    def take_free(self) -> list[int]:
        """Remove all free slots and return them, ascending; `punched` adds them again."""
        self._list_vacant()
        slots = sorted(set(filter(self._is_free, self._free)))
        self._free.clear()
        return slots

    def punched(self, slots: list[int], *, done: bool) -> None:
        """Add the slots that `take_free` returned: as holes if ``done``, otherwise as free ones."""
        (self._holes if done else self._free).extend(reversed(slots))

    def fill(self, slot: int, word: int, number: int, row: Row) -> None:
        """Record that an allocated slot has this block."""
        at = slot * _WORDS
        head = (word + number) & (self.head_count - 1)
        after = self._heads[head]
        self._words[at] = word
        self._words[at + _NUMBER] = row.length << 32 | number
        self._words[at + _CHECKSUM] = row.checksum
        self._words[at + _NEXT] = after if after != slot + 1 else 0
        if word in self.pinned:
            self._words[at + _USE] |= _PINNED
        self._heads[head] = slot + 1
        self._given = -1
        self.used_slots += 1
        self.blocks[word] += 1
        self.dirty_rows.add(slot)
        self.dirty_heads.add(head)

    def drop(self, slot: int) -> None:
        """Free a slot."""
        self._list_vacant()
        if slot == self._given:
            self._given = -1
        self._unlink(slot)
        self._clear(slot)
        self._words[slot * _WORDS + _USE] = slot
        self._free.append(slot)
        self._stuck = -1
        self.dirty_rows.add(slot)

    def retract(self, slot: int) -> bool:
        """Return a new slot for which the disk had no room; do not grow until `limit` is raised.

        :returns: False if the slot took disk space before; in this case it was only freed.
        """
        if slot != self._grown:
            self.drop(slot)
            return False
        self._given = -1
        self._clear(slot)
        if slot == self.high_water_mark - 1:
            self.high_water_mark = slot
        else:
            self._words[slot * _WORDS + _USE] = slot
            self._holes.append(slot)
        self._grown = -1
        self.limit = self.on_disk
        return True

    def pin(self, words: set[int], *, stay: bool = True) -> None:
        """Pin versions, or unpin them if not ``stay``.

        Blocks of a pinned version are not evicted; this includes blocks that are added later.
        """
        self.pinned = self.pinned | words if stay else self.pinned - words
        self._stuck = -1
        self._victims.clear()  # unpinned slots may be older than the chosen victims
        for slot in self._slots_of_any(words):
            at = slot * _WORDS + _USE
            self._words[at] = self._words[at] & ~_PINNED | (_PINNED if stay else 0)
            self.dirty_rows.add(slot)

    def _slots_of_any(self, words: set[int]) -> list[int]:
        here = {word for word in words if self.blocks.get(word)}
        if len(here) <= _FEW:
            return [slot for word in here for slot in self.slots_of(word)]
        return [slot for slot, word in enumerate(self._column(_SOURCE)) if word in here]

    # --- internal

    def _column(self, word: int) -> memoryview:
        return self._words[word : self.high_water_mark * _WORDS : _WORDS]

    def _take(self, slot: int) -> int:
        self._clear(slot)
        self._words[slot * _WORDS + _USE] = self._tick << _TICK_SHIFT | slot
        self._given = slot
        return slot

    def _clear(self, slot: int) -> None:
        at = slot * _WORDS
        if self._words[at + _NUMBER]:
            self.used_slots -= 1
            self.blocks[self._words[at]] -= 1
        self.row_bytes[slot * ROW_BYTES : (slot + 1) * ROW_BYTES] = bytes(ROW_BYTES)

    def _unlink(self, slot: int) -> None:
        words = self._words
        at = slot * _WORDS
        head = (words[at] + (words[at + _NUMBER] & _LOW)) & (self.head_count - 1)
        before, after = -1, self._heads[head]
        for _ in range(_LONGEST_CHAIN):
            if not 0 < after <= self.high_water_mark:
                return
            if after == slot + 1:
                break
            before = after - 1
            after = words[before * _WORDS + _NEXT]
        else:
            return
        beyond = words[at + _NEXT]
        beyond = beyond if beyond <= self.high_water_mark else 0
        if before < 0:
            self._heads[head] = beyond
            self.dirty_heads.add(head)
        else:
            words[before * _WORDS + _NEXT] = beyond
            self.dirty_rows.add(before)

    def _choose_victims(self) -> None:
        count = max(1, min(_VICTIMS, self.high_water_mark // 8))
        oldest = nsmallest(count, compress(self._column(_USE), self._column(_NUMBER)))
        self._victims = [use for use in reversed(oldest) if use < _PINNED]
        if oldest and not any(map(self._says, oldest)):
            self._mend_uses()

    def _list_vacant(self) -> None:
        if self._unlisted is not None and self.used_slots < self.high_water_mark:
            vacant = compress(range(self.high_water_mark), map(not_, self._column(_NUMBER)))
            self._unlisted += reversed(list(vacant))
        self._unlisted = None

    def _is_free(self, slot: int) -> bool:
        at = slot * _WORDS
        return slot < self.high_water_mark and slot != self._given and not self._words[at + _NUMBER]

    def _says(self, use: int) -> bool:
        slot = use & _SLOT
        return slot < self.high_water_mark and self._words[slot * _WORDS + _USE] == use

    def _mend_uses(self) -> None:
        """Repair the uses of damaged rows.

        Rows with a wrong slot or counter become the oldest; wrong pins are corrected.
        """
        latest = 1
        for slot in range(self.high_water_mark):
            at = slot * _WORDS
            use = self._words[at + _USE]
            if not self._words[at + _NUMBER]:
                continue  # free
            tick = (use >> _TICK_SHIFT) & _TICK_MASK
            if use & _SLOT != slot or tick > _TICK_MASK // 2:
                tick = 1
            latest = max(latest, tick)
            pinned = _PINNED if self._words[at] in self.pinned else 0
            self._words[at + _USE] = pinned | tick << _TICK_SHIFT | slot
        self._tick = latest + 1

    def _link_all(self) -> None:
        self.head_bytes[:] = bytes(len(self.head_bytes))
        for slot in range(self.high_water_mark):
            at = slot * _WORDS
            if self._words[at + _NUMBER]:
                head = (self._words[at] + (self._words[at + _NUMBER] & _LOW)) % self.head_count
                self._words[at + _NEXT] = self._heads[head]
                self._heads[head] = slot + 1
