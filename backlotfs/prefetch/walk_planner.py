# SPDX-License-Identifier: Apache-2.0
"""Plans which files of a folder to fetch before they are opened. Pure: no clock, no I/O, no lock.

A *walk* is a program that opens one file of a folder after the other: `cp -r`, `rsync`, `tar`,
``find -exec``. The next file of a walk is as predictable as the next block of a file.

Orders. Programs open files in the order of the listing, by name, by inode number (`cp -r`), or by
the low 31 bits of it (file managers that use GIO), from the first to the last or backwards. They
open all files, those with one suffix (``*.mov``), or every n-th. A `Pattern` says which. It is
learned from the last opens: an open that follows the one before it is a *hit*. Of several patterns,
the one with the longest run of hits counts; of equal ones, the one whose order begins with the
first file of the run. If a program reads whole files, one large file that is the first one in an
order is enough: this order is a *guess* until the next open.

Windows. The files that come next are fetched, up to a number of files and of bytes (the *window*).
The window begins small and grows with each hit. A file that is passed over makes the window
smaller; if this file is opened a little later, because a program opens several files at once, the
window grows again. An open that does not fit the pattern ends it. After a pattern has failed, the
next one needs more hits.

Waste. A pattern is *proven* by `PROVEN_HITS`. Until then, the bytes that were fetched in vain for
the program, together with those that are fetched ahead now, stay below `WASTE_BYTES` plus a
twentieth of the bytes that the program read; or plus a half of them, if the program is known to
read whole files, and no pattern has failed since one was proven.

How much of a file is fetched. If the last files were read from beginning to end, the next ones are
fetched completely. If only the heads of the last files were read (``head``, ``file``), only the
same part of the next heads is fetched. If the last files were read in different ways, nothing is
fetched. The file of a guess is fetched as if it were read completely.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from backlotfs.byterange import ByteRange
from backlotfs.config.settings import MIB

#: The first window, in bytes and in files; it grows by `GROWTH` with each hit.
FIRST_WINDOW_BYTES = 8 * MIB
FIRST_WINDOW_FILES = 8
GROWTH, MAX_GROWTH = 4, 16
#: Most files that are fetched ahead: 32 GETs run at once, and as many are ready to start.
MAX_WINDOW_FILES = 64
#: A window of files is filled again when no more than this are left in it: small files are planned
#: several at a time.
REFILL_FILES = 48
#: The hits in a row after which a pattern is proven.
PROVEN_HITS = 8
#: Each proven pattern that ends with files ahead multiplies the hits that are needed by this.
PROOF_GROWTH = 4
#: Most bytes fetched in vain for a program while its pattern is not proven: `WASTE_BYTES`, plus the
#: bytes that it read divided by `WASTE_PART`, or by `COPY_WASTE_PART` if it is known to read whole
#: files and no pattern has failed since one was proven.
WASTE_BYTES, WASTE_PART, COPY_WASTE_PART = 24 * MIB, 20, 2
#: An open this many files ahead of the expected one may be one of several that are made at once.
MAX_PASSED_OVER = 4
#: Most extra hits that a pattern needs because other patterns have failed.
MAX_EXTRA_HITS = 3
#: Largest distance of a pattern that opens every n-th file.
MAX_STEP = 16
#: How many files with other suffixes are passed over in search of the next with the same suffix.
MAX_SCAN = 256
#: The files ahead are fetched after a read that leaves no more than this of the open file.
LEAD_BYTES = 64 * MIB
#: If longer heads than this were read of the last files, no heads are fetched ahead.
MAX_HEAD_BYTES = MIB
#: Less than this is not added to a file that is fetched in part.
MIN_PART_BYTES = MIB
#: Number of opens that are remembered, and of read files by which the next files are judged.
OPENS_REMEMBERED, FILES_JUDGED = 16, 2
#: A pattern is rejected if its next file is one of this many last opened files.
OPENS_BEHIND = 4
#: Folders of one walk whose patterns are remembered (`diff -r` reads two at a time).
FOLDERS_REMEMBERED = 4


class FolderFile(Protocol):
    """A file of a folder: the row of an asset."""

    @property
    def embed_code(self) -> str:
        """The key of the file."""

    @property
    def name(self) -> str:
        """The name of the file."""

    @property
    def inode(self) -> int:
        """The inode number of the file."""


class _Order(NamedTuple):
    """The files of a folder in one order.

    :ivar files: their places in the listing. :ivar place: the inverse of ``files``.
    """

    files: array[int]
    place: array[int]


class Pattern(NamedTuple):
    """Which file follows which.

    :ivar order: the number of the order. :ivar step: to the next file; negative: backwards.
    :ivar suffix: only files with this suffix are opened; None: all. Then the step is 1 or -1.
    """

    order: int
    step: int
    suffix: str | None = None


#: Each order from its first file to its last; the numbers of orders are those of `FolderOrders`.
FIRST_TO_LAST = tuple(Pattern(order, 1) for order in range(4))


class FolderOrders:
    """The files of a folder, in each order in which programs open them. Immutable.

    :ivar identity: of the folder, the same in each version of the library.
    :ivar files: in the order of the listing.
    """

    def __init__(self, identity: int, files: Sequence[FolderFile]) -> None:
        """``files``: in the order of the listing."""
        self.identity = identity
        self.files = files
        self._index = {file.embed_code: index for index, file in enumerate(files)}
        listing = range(len(files))
        by_name = sorted(listing, key=lambda index: files[index].name.encode("utf-8", "replace"))
        by_inode = sorted(listing, key=lambda index: files[index].inode)
        self._orders: list[_Order] = []
        by_low_inode = sorted(listing, key=lambda index: files[index].inode & 0x7FFFFFFF)
        for order in (by_name, list(listing), by_inode, by_low_inode):
            ordered = array("I", order)
            known = next((one for one in self._orders if one.files == ordered), None)
            if known is None:
                place = array("I", bytes(4 * len(order)))
                for at, index in enumerate(order):
                    place[index] = at
                known = _Order(ordered, place)
            # Equal orders are listed twice, so that a number means the same order in all folders.
            self._orders.append(known)

    def __len__(self) -> int:
        return len(self.files)

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def next(self, key: str, pattern: Pattern) -> str | None:
        """The file after this one; None: it is the last, or not in the folder."""
        index = self._index.get(key)
        if index is None:
            return None
        order = self._orders[pattern.order]
        at = order.place[index]
        for _ in range(1 if pattern.suffix is None else MAX_SCAN):
            at += pattern.step
            if not 0 <= at < len(self.files):
                return None
            file = self.files[order.files[at]]
            if pattern.suffix is None or _suffix(file.name) == pattern.suffix:
                return file.embed_code
        return None

    def passed(self, key: str, to: str, pattern: Pattern) -> list[str] | None:
        """The files between two files, at most `MAX_PASSED_OVER`; None if ``to`` is elsewhere."""
        found: list[str] = []
        at: str | None = self.next(key, pattern)
        while at is not None and at != to and len(found) < MAX_PASSED_OVER:
            found.append(at)
            at = self.next(at, pattern)
        return found if at == to else None

    def is_first(self, key: str, pattern: Pattern) -> bool:
        """Whether this file is in the folder, and no file is before it."""
        back = pattern._replace(step=-pattern.step)
        return key in self._index and self.next(key, back) is None

    def has_suffix(self, key: str, suffix: str) -> bool:
        """Whether the name of a file has this suffix."""
        index = self._index.get(key)
        return index is not None and _suffix(self.files[index].name) == suffix

    def between(self, key: str, to: str) -> list[Pattern]:
        """The patterns in which ``to`` follows ``key``."""
        one, other = self._index.get(key), self._index.get(to)
        if one is None or other is None or one == other:
            return []
        found: list[Pattern] = []
        suffix = _suffix(self.files[other].name)
        same = suffix == _suffix(self.files[one].name)
        for number, order in enumerate(self._orders):
            distance = order.place[other] - order.place[one]
            ahead = 1 if distance > 0 else -1
            if abs(distance) <= MAX_STEP:
                found.append(Pattern(number, distance))
            filtered = Pattern(number, ahead, suffix)
            if same and 1 < abs(distance) <= MAX_SCAN and self.next(key, filtered) == to:
                found.append(filtered)
        return found


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


@dataclass(slots=True, eq=False)
class FileUse:
    """A file that a walk opened, and what was read of it. Its owner updates it.

    :ivar read_bytes: bytes of all reads. :ivar read_to: the end of the farthest read.
    :ivar ahead_bytes: bytes that were fetched before it was opened.
    """

    key: str
    size: int
    read_bytes: int = 0
    read_to: int = 0
    ahead_bytes: int = 0
    closed: bool = False

    @property
    def whole(self) -> bool:
        """Whether it was read completely."""
        return self.read_to >= self.size and self.read_bytes >= self.size

    @property
    def head_bytes(self) -> int | None:
        """How much of the head was read; None if other places were read, too."""
        if 2 * self.read_bytes >= self.read_to <= MAX_HEAD_BYTES:
            return self.read_to
        return None


class AheadFile(NamedTuple):
    """A file to fetch before it is opened, and the bytes of it that are wanted now."""

    key: str
    part: ByteRange


@dataclass(slots=True)
class _Walk:
    """The opens of one program in one folder.

    :ivar front: the opened file that is farthest along the pattern.
    :ivar planned: the last file that was planned, perhaps in part.
    :ivar hits: opens in a row that followed the pattern.
    :ivar growth: the factor by which the window is larger than the first one.
    :ivar ahead: the planned bytes of each file that is expected next, in their order.
    :ivar late: the planned bytes of each file that was passed over.
    :ivar guessed: whether the pattern is a guess after one open.
    """

    opens: deque[str] = field(default_factory=lambda: deque(maxlen=OPENS_REMEMBERED))
    pattern: Pattern | None = None
    front: str = ""
    planned: str = ""
    hits: int = 0
    growth: int = 1
    ahead: OrderedDict[str, int] = field(default_factory=OrderedDict)
    late: OrderedDict[str, int] = field(default_factory=OrderedDict)
    guessed: bool = False


class WalkPlanner:
    """Plans from the opens of one program. Not thread-safe: its owner locks.

    :ivar wasted_bytes: bytes that were fetched ahead in vain.
    :ivar window_bytes: the window of the last plan.
    """

    def __init__(self) -> None:
        self.wasted_bytes = self.window_bytes = 0
        self._read_bytes = 0
        self._failures = 0
        self._proof = PROVEN_HITS
        self._may_guess = True
        self._reads_whole = False
        self._walks: OrderedDict[int, _Walk] = OrderedDict()  # by folder
        self._uses: deque[FileUse] = deque(maxlen=OPENS_REMEMBERED)
        self._withdrawn: list[str] = []

    def expected_bytes(self, size: int, *, reads_whole: bool = False) -> int | None:
        """How much will be read of a file of this size, from its head; None if it is not known.

        Files without a read are not judged: the kernel may have had their bytes in its cache.

        :param reads_whole: whether files are expected to be read completely until one is judged.
        """
        judged: list[FileUse] = []
        for use in reversed(self._uses):
            if use.read_bytes and (use.closed or use.whole):
                judged.append(use)
                if len(judged) == FILES_JUDGED:
                    break
        if not judged:
            return size if reads_whole else None
        if all(use.whole for use in judged):
            return size
        heads = [use.head_bytes for use in judged]
        if None in heads or any(use.whole for use in judged):
            return None
        return min(size, max(head or 0 for head in heads))

    def begun(self, use: FileUse) -> None:
        """Record that a file is opened; `opened` follows."""
        self._uses.append(use)

    def ended(self, use: FileUse) -> None:
        """Record that a file was closed."""
        use.closed = True
        self._read_bytes += use.read_bytes
        if use.read_bytes:
            self.wasted_bytes += max(0, use.ahead_bytes - use.read_bytes)

    def opened(self, use: FileUse, folder: FolderOrders, *, reads_whole: bool = False) -> None:
        """Record the place of an opened file in its folder, and learn the pattern of the walk.

        :param reads_whole: whether the program reads each file completely, as far as is known.
        """
        self._reads_whole = reads_whole
        walk = self._enter(use.key, folder)
        if walk.opens and walk.opens[-1] == use.key:
            return  # the same file again
        if walk.guessed:
            self._check_guess(walk, use, folder)
        if walk.pattern is not None and walk.front != use.key:
            self._follow(walk, walk.pattern, use, folder)
        walk.opens.append(use.key)
        if walk.pattern is None:
            self._learn(walk, folder)
        if reads_whole and len(walk.opens) == 1 and walk.pattern is None:
            self._guess(walk, use, folder)

    def withdrawn(self) -> list[str]:
        """The planned files that are not expected any more; each is returned once."""
        found, self._withdrawn = self._withdrawn, []
        return found

    def plan(
        self,
        folder: FolderOrders,
        size_of: Callable[[str], int | None],
        *,
        max_window_bytes: int,
    ) -> list[AheadFile]:
        """The parts of files to fetch now, in the order in which they are expected.

        :param size_of: the size of a file by its key; None: it cannot be fetched now.
        """
        walk = self._walks.get(folder.identity)
        if walk is None or walk.pattern is None or len(walk.ahead) > REFILL_FILES:
            return []
        guessed = walk.guessed
        if self.expected_bytes(1, reads_whole=guessed) is None:
            return []
        files = 1 if guessed else min(FIRST_WINDOW_FILES * walk.growth, MAX_WINDOW_FILES)
        self.window_bytes = self._window(walk, max_window_bytes)
        room = self.window_bytes - sum(walk.ahead.values())
        found: list[AheadFile] = []
        key: str | None = walk.planned if walk.planned in walk.ahead else None
        while room > 0:
            if key is None:
                key = folder.next(walk.planned or walk.front, walk.pattern)
                if key is None or len(walk.ahead) >= files:
                    break
            begun = walk.ahead.get(key, 0)
            expected = self.expected_bytes(size_of(key) or 0, reads_whole=guessed)
            left = max(0, (expected or 0) - begun)
            part = min(left, room)
            if part < min(left, MIN_PART_BYTES):
                break  # the remaining room is too small for a request
            walk.planned = key
            walk.ahead[key] = begun + part
            if part:
                found.append(AheadFile(key, ByteRange(begun, begun + part)))
                room -= part
            key = None
        return found

    def _window(self, walk: _Walk, max_window_bytes: int) -> int:
        window = min(FIRST_WINDOW_BYTES * walk.growth, max_window_bytes)
        if walk.hits >= self._proof:
            return window
        unsure = self.wasted_bytes
        for each in self._walks.values():
            unsure += sum(each.late.values())
            if each is not walk:
                unsure += sum(each.ahead.values())
        divisor = COPY_WASTE_PART if self._reads_whole and not self._failures else WASTE_PART
        return min(window, WASTE_BYTES + self._read_bytes // divisor - unsure)

    def _enter(self, key: str, folder: FolderOrders) -> _Walk:
        """The walk in a folder. A new one begins with the pattern that the last folder had."""
        walk = self._walks.get(folder.identity)
        if walk is None:
            walk = _Walk()
            last = next(reversed(self._walks.values()), None)
            pattern = last.pattern if last is not None and last.hits > 1 else None
            if last is not None and pattern is not None and folder.is_first(key, pattern):
                walk.pattern, walk.front = pattern, key
                walk.hits = min(last.hits, PROVEN_HITS) // 2
            self._walks[folder.identity] = walk
            if len(self._walks) > FOLDERS_REMEMBERED:
                _, oldest = self._walks.popitem(last=False)
                if oldest.ahead and oldest.hits < self._proof:
                    self._failures += 1  # the program left the folder before its last file
                self._drop(oldest)
        self._walks.move_to_end(folder.identity)
        for other in self._walks.values():
            if other is not walk and other.guessed:
                self._end_guess(other)
        return walk

    def _follow(self, walk: _Walk, pattern: Pattern, use: FileUse, folder: FolderOrders) -> None:
        """Record an open while a pattern is known."""
        key = use.key
        passed = folder.passed(walk.front, key, pattern)
        if passed is None:
            late = walk.late.pop(key, None)
            if late is not None:  # several files are opened at once
                use.ahead_bytes += late
                walk.hits += 2
                walk.growth = min(MAX_GROWTH, 2 * walk.growth)
            elif key not in walk.opens or walk.hits >= self._proof:
                if walk.hits < self._proof:
                    self._failures += 1
                elif walk.ahead:
                    self._proof *= PROOF_GROWTH
                use.ahead_bytes += walk.ahead.pop(key, 0)
                self._drop(walk)
            return
        if passed and pattern.suffix is None:
            pattern = self._with_suffix(walk, pattern, key, folder)
            passed = folder.passed(walk.front, key, pattern) or []
        for skipped in passed:
            walk.late[skipped] = walk.ahead.pop(skipped, 0)
        while len(walk.late) > 2 * MAX_PASSED_OVER:
            self._waste(*walk.late.popitem(last=False))
        use.ahead_bytes += walk.ahead.pop(key, 0)
        walk.front = key
        if not walk.ahead:
            walk.planned = key
        if passed:
            walk.hits = max(0, walk.hits - 2 * len(passed))
            walk.growth = max(1, walk.growth >> len(passed))
        else:
            walk.hits += 1
            walk.growth = min(MAX_GROWTH, GROWTH * walk.growth)
            if walk.hits >= self._proof:
                self._failures = 0
                self._may_guess = True

    def _with_suffix(
        self, walk: _Walk, pattern: Pattern, key: str, folder: FolderOrders
    ) -> Pattern:
        """The pattern, or that of the files with one suffix if only others were passed over."""
        for filtered in folder.between(walk.front, key):
            if filtered.suffix is not None and filtered.order == pattern.order:
                for planned in [*walk.ahead]:
                    if not folder.has_suffix(planned, filtered.suffix):
                        self._waste(planned, walk.ahead.pop(planned))
                walk.pattern = filtered
                return filtered
        return pattern

    def _learn(self, walk: _Walk, folder: FolderOrders) -> None:
        """Find the pattern that explains the most of the last opens.

        Two files may be neighbours in several orders. Then the order that begins with the first
        file of the run is the likely one, because most programs begin with the first file.
        """
        opens = [*walk.opens]
        if len(opens) < 2:
            return
        best, most = None, (0, False, False)
        for pattern in folder.between(opens[-2], opens[-1]):
            following = folder.next(opens[-1], pattern)
            if following in opens[-OPENS_BEHIND:]:
                continue  # the pattern leads back to files that were opened a moment ago
            hits = 1
            while hits < len(opens) - 1 and (
                folder.next(opens[-hits - 2], pattern) == opens[-hits - 1]
            ):
                hits += 1
            needed = 1 + (abs(pattern.step) > 1) + min(self._failures, MAX_EXTRA_HITS)
            rank = hits, folder.is_first(opens[-hits - 1], pattern), following is not None
            if hits >= needed and rank > most:
                best, most = pattern, rank
        if best is not None:
            walk.pattern, walk.hits, walk.growth = best, most[0], 1
            walk.front = walk.planned = opens[-1]

    def _guess(self, walk: _Walk, use: FileUse, folder: FolderOrders) -> None:
        """Choose an order whose first file was opened.

        A wrong guess costs little: it is about one file, and its first window is no larger than the
        opened file. After a wrong one there is none until a pattern was proven.
        """
        if use.size < FIRST_WINDOW_BYTES or self._failures or not self._may_guess:
            return
        pattern = next((one for one in FIRST_TO_LAST if folder.is_first(use.key, one)), None)
        if pattern is not None:
            walk.pattern, walk.guessed = pattern, True
            walk.front = walk.planned = use.key

    def _check_guess(self, walk: _Walk, use: FileUse, folder: FolderOrders) -> None:
        """Forget a guess if its next file is not the one that is opened."""
        if walk.pattern is not None and folder.next(walk.front, walk.pattern) == use.key:
            walk.guessed = False
        else:
            self._end_guess(walk)

    def _end_guess(self, walk: _Walk) -> None:
        """Forget a guess that was wrong; its file is not expected any more."""
        while walk.ahead:
            self._waste(*walk.ahead.popitem())
        walk.pattern, walk.guessed = None, False
        self._may_guess = False

    def _drop(self, walk: _Walk) -> None:
        """Forget the pattern of a walk; nothing that was planned for it is expected any more."""
        for key, planned in [*walk.late.items(), *walk.ahead.items()]:
            self._waste(key, planned)
        walk.late.clear()
        walk.ahead.clear()
        walk.opens.clear()
        walk.pattern, walk.hits, walk.growth = None, 0, 1

    def _waste(self, key: str, planned: int) -> None:
        self.wasted_bytes += planned
        self._withdrawn.append(key)
