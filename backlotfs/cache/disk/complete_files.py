# SPDX-License-Identifier: Apache-2.0
"""Complete versions: one ordinary file each, and the index of these files.

**On disk.** `files` is the folder of the files. The name of each file is the name of its asset with
the embed code and a part of the version's hash, so a person can copy from this folder. `checksums`
has a list for each of them, with the version, the name, and a checksum for each block. `complete`
is the index: a header and rows of 72 bytes. Only the index is read when the cache is opened.

**What proves a file.** A row has the device, inode, size and times that the file had when all its
blocks were verified, and a *stamp*. The stamp changes after a reboot, and if the cache was not
closed. If all of these are unchanged, the file is unchanged. Each file gets a modification time
long ago, so that any later write changes this time, even on a disk with coarse times. A file
without such a proof is read block by block with verification, until the whole file was verified
again.

**Never written again.** A program may have the file open or mapped. So the file is made under
another name, renamed, and after that only unlinked. If a row, a list of checksums or a file is
damaged, the file is lost, but no wrong byte is read.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from backlotfs.cache.disk.locked_directory import LockedDirectory, close_file
from backlotfs.cache.disk.pin_file import Pin
from backlotfs.cache.disk.slab_files import write_at
from backlotfs.cache.disk.slot_table import SlotTable

#: The name of the index, and of the folder that people copy from.
INDEX_FILE, FILES_FOLDER = "complete", "files"
#: Modification time of each file, 2000-01-01. A later one means that somebody wrote to the file.
MADE_NS = 946_684_800 * 10**9
_EDITED_NS = MADE_NS + 86_400 * 10**9  # some disks shift times by a time zone

_HEADER = struct.Struct("=8sIIQQQQ")  # magic, version, block bytes, boot, stamp, closed, checksum
_MAGIC, _VERSION = b"complete", 1
_ROW = struct.Struct("=QQQQQqqQQ")  # word, size, use, device, inode, mtime, ctime, stamp, checksum
_ROWS_AT = 4096
_MASK = 2**64 - 1
_PAGE = 4096
#: Room for the names in a list of checksums.
_NAMES_BYTES = 2048
_NEW_NAME = ".being-made"
_OURS = re.compile(r" \[[^\[\]]* ([0-9a-f]{8})\](\.[^.]*)?\Z")
#: Characters that FAT and exFAT refuse.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f"*/:<>?\\|]')
_LONGEST_NAME, _LONGEST_SUFFIX = 255, 16
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CREATE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
#: Lists of checksums that are kept in memory.
_LISTS_KEPT = 32


class CompleteFile:
    """One complete version in the index.

    :ivar used: its last use, counted as the slot table counts.
    :ivar proof: device, inode, modification and change time, and stamp of the verified file.
    """

    __slots__ = ("proof", "row", "size", "used", "word")

    def __init__(self, word: int, size: int, used: int, proof: tuple[int, ...], row: int) -> None:
        self.word = word
        self.size = size
        self.used = used
        self.proof = proof
        self.row = row


class ChecksumList(NamedTuple):
    """The content of a list in `checksums`, for one file."""

    embed_code: str
    validator: str
    name: str
    checksums: memoryview


class OpenedFile(NamedTuple):
    """A complete file that is open for reading.

    :ivar found: the status of the file.
    """

    file: int
    listed: ChecksumList
    found: os.stat_result


def file_name(name: str, embed_code: str, word: int) -> str:
    """The name of a complete file: ``clip [EMBED_CODE 1f2e3d4c].mov`` for ``clip.mov``.

    The hexadecimal digits differ between versions, also where a disk ignores case.
    """
    stem, suffix = os.path.splitext(name)
    if len(suffix) > _LONGEST_SUFFIX:
        stem, suffix = name, ""
    tag = f" [{_plain(embed_code)} {word >> 32:08x}]{_plain(suffix).rstrip(' .')}"
    room = _LONGEST_NAME - len(tag.encode())
    return _plain(stem).encode()[: max(0, room)].decode(errors="ignore") + tag


def _plain(text: str) -> str:
    safe = _UNSAFE.sub("_", text.encode(errors="replace").decode())
    return safe.replace("[", "(").replace("]", ")").encode()[:200].decode(errors="ignore")


def cost_of(size: int, block_bytes: int) -> int:
    """The disk space of a complete file and its list of checksums."""
    listed = 8 * -(-size // block_bytes) + _NAMES_BYTES
    return -(-size // _PAGE) * _PAGE + -(-listed // _PAGE) * _PAGE


def saved_bytes(folder: int, block_bytes: int) -> int:
    """The disk space of all complete files of a closed cache. :raises OSError: see open(2)."""
    file = os.open(INDEX_FILE, _READ, dir_fd=folder)
    with open(file, "rb") as index:
        rows = index.read()[_ROWS_AT:]
    return sum(cost_of(fields[1], block_bytes) for _, fields in _rows_of(rows))


class CompleteFiles:
    """The complete files of an open cache.

    ``lock`` guards the index. The comments above the groups of methods say which of them are called
    with the lock, and which use the disk.

    :ivar blocks: the number of blocks of all files.
    """

    def __init__(
        self, folder: LockedDirectory, block_bytes: int, table: SlotTable, lock: threading.Lock
    ) -> None:
        """Read the index, or empty it if it has another format.

        :param table: the slot table; its capacity is shared with these files.
        :raises OSError: the files cannot be read or made.
        """
        self._lock = lock
        self._table = table
        self._block_bytes = block_bytes
        self._path = folder.path
        self._files, made = folder.open_folder(FILES_FOLDER)
        self._lists, _ = folder.open_folder("checksums")
        self._index = folder.open(INDEX_FILE)
        self._entries: dict[int, CompleteFile] = {}  # filled by `_all`
        self._unread: memoryview | None = None
        self._order: OrderedDict[int, CompleteFile] = OrderedDict()  # not pinned, by last use
        self._leaving: set[int] = set()
        self._free_rows: list[int] = []
        self._dirty: set[int] = set()
        self.blocks = self._bytes = 0
        self._read_lists: OrderedDict[int, ChecksumList] = OrderedDict()
        self._boot = _boot_hash()
        self._stamp = int.from_bytes(os.urandom(8), "little")
        self._rows = 0
        if made or not self._read_header():
            os.ftruncate(self._index, 0)
        self._write_header(closed=False)
        self._load()

    # --- the index; the caller holds the lock

    def get(self, word: int) -> CompleteFile | None:
        """The complete file of a version."""
        return self._all().get(word)

    def is_leaving(self, word: int) -> bool:
        """Whether a version's file is being unlinked. A new one would have the same name."""
        return word in self._leaving

    def has(self, word: int, number: int) -> bool:
        """Whether a version is complete and has a block of this number."""
        entry = self._all().get(word)
        return entry is not None and number * self._block_bytes < entry.size

    def blocks_of(self, entry: CompleteFile) -> int:
        """The number of blocks of a file."""
        return -(-entry.size // self._block_bytes)

    def touch(self, entry: CompleteFile) -> None:
        """Record a use."""
        entry.used = self._table.now
        self._dirty.add(entry.row)
        if entry.word in self._order:
            self._order.move_to_end(entry.word)

    def oldest(self) -> CompleteFile | None:
        """The least recently used file that is not pinned."""
        self._all()
        return next(iter(self._order.values()), None)

    def any(self) -> CompleteFile | None:
        """A file that is not pinned if there is one, otherwise a pinned one."""
        return self.oldest() or next(iter(self._all().values()), None)

    def pins_changed(self) -> None:
        """Exclude the versions that the slot table has pinned from eviction, and no others."""
        pinned = self._table.pinned
        loose = [entry for word, entry in self._all().items() if word not in pinned]
        loose.sort(key=lambda entry: entry.used)
        self._order = OrderedDict((entry.word, entry) for entry in loose)

    def reserve(self, size_bytes: int) -> None:
        """Count disk space that a file will take; a negative size gives disk space back."""
        self._bytes += size_bytes
        self._table.reserved = -(-self._bytes // self._block_bytes)

    @property
    def pinned_bytes(self) -> int:
        """The disk space of the files that are not evicted."""
        self._all()
        loose = sum(cost_of(entry.size, self._block_bytes) for entry in self._order.values())
        return self._bytes - loose

    def is_proven(self, entry: CompleteFile, found: os.stat_result) -> bool:
        """Whether a file is certainly the one that was verified."""
        return (
            found.st_size == entry.size
            and self._proof(found) == entry.proof
            and found.st_mtime_ns < _EDITED_NS
        )

    # --- changes; these take the lock and use the disk

    def add(self, pin: Pin, found: os.stat_result) -> None:
        """Record a verified file, whose disk space is reserved already.

        :raises OSError: the index cannot be written; the file was removed.
        """
        with self._lock:
            row = self._free_rows.pop() if self._free_rows else self._rows
            self._rows = max(self._rows, row + 1)
            entry = CompleteFile(pin.word, pin.size, self._table.now, self._proof(found), row)
            self._entries[pin.word] = entry
            if pin.word not in self._table.pinned:
                self._order[pin.word] = entry
            self._dirty.add(row)
            self.blocks += self.blocks_of(entry)
        try:
            self.save()
        except OSError:
            with self._lock:
                self._forget(entry)
            self._unlink(pin.word)
            raise

    def prove(self, entry: CompleteFile, found: os.stat_result) -> None:
        """Record that a file was verified again. :raises OSError: the index cannot be written."""
        with self._lock:
            entry.proof = self._proof(found)
            self._dirty.add(entry.row)
        self.save()

    def remove(self, entry: CompleteFile) -> bool:
        """Unlink a file and forget it; False if that was done already."""
        with self._lock:
            if self._all().get(entry.word) is not entry:
                return False
            self._forget(entry)
            self._leaving.add(entry.word)
        with contextlib.suppress(OSError):  # `sweep` removes what is left, after the next start
            self._unlink(entry.word)
        with self._lock:
            self._leaving.discard(entry.word)
            self.reserve(-cost_of(entry.size, self._block_bytes))
        with contextlib.suppress(OSError):  # a row without a file is removed at its next use
            self.save()
        with self._lock:  # the row is used again only after it was saved as a free one
            self._free_rows.append(entry.row)
        return True

    def save(self) -> None:
        """Write the rows that changed. :raises OSError: the disk is full or fails."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            if not dirty:
                return
            entries = {entry.row: entry for entry in self._all().values() if entry.row in dirty}
            rows = [
                (row, _packed(entries[row]) if row in entries else bytes(_ROW.size))
                for row in sorted(dirty)
            ]
        try:
            for row, packed in rows:
                write_at(self._index, packed, _ROWS_AT + row * _ROW.size)
        except OSError:
            with self._lock:
                self._dirty |= dirty
            raise

    def close(self) -> None:
        """Save the index, and that the cache was closed.

        :raises OSError: the disk is full or fails.
        """
        self.save()
        self._write_header(closed=True)

    def sweep(self) -> None:
        """Remove files that a killed mount left. Uses the disk.

        Do not call this while a file is being made.
        """
        with self._lock:
            parts = {f"{word >> 32:08x}" for word in self._all()}
            lists = set(map(_list_name, self._all()))
        self.discard_new()
        with contextlib.suppress(OSError):
            for name in os.listdir(self._files):
                ours = _OURS.search(name)
                if ours and ours[1] not in parts:
                    os.unlink(name, dir_fd=self._files)
            for name in set(os.listdir(self._lists)) - lists:
                os.unlink(name, dir_fd=self._lists)

    # --- files and lists of checksums; these use the disk; the caller does not hold the lock

    def create(self) -> int:
        """Create a new file, which gets its final name later.

        :raises OSError: it cannot be created.
        """
        self.discard_new()
        return os.open(_NEW_NAME, _CREATE | os.O_EXCL, 0o600, dir_fd=self._files)

    def discard_new(self) -> None:
        """Remove the file of `create`, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(_NEW_NAME, dir_fd=self._files)

    def publish(self, pin: Pin, name: str, checksums: Iterable[int]) -> None:
        """Write the list of checksums, and rename the file of `create` to its final name.

        :raises OSError: the disk is full or fails.
        """
        name = file_name(name, pin.embed_code, pin.word)
        head = json.dumps([pin.embed_code, pin.validator, name]).encode()
        head += b" " * (-len(head) % 8)
        body = struct.pack("=Q", len(head)) + head
        body += b"".join(one.to_bytes(8, "little") for one in checksums)
        file = os.open(_list_name(pin.word), _CREATE | os.O_TRUNC, 0o600, dir_fd=self._lists)
        try:
            write_at(file, struct.pack("=Q", xxh3_64_intdigest(body)) + body, 0)
            os.fdatasync(file)
        finally:
            close_file(file)
        with self._lock:
            self._read_lists.pop(pin.word, None)
        # Names are UTF-8 on disk, whatever the locale is.
        os.rename(_NEW_NAME, name.encode(), src_dir_fd=self._files, dst_dir_fd=self._files)

    def checksums(self, pin: Pin) -> ChecksumList | None:
        """The list of checksums of a version's file; None if it is lost or damaged."""
        with self._lock:
            found = self._read_lists.get(pin.word)
            if found is not None:
                self._read_lists.move_to_end(pin.word)
        if found is None:
            found = self._read_list(pin.word)
        if found is None or (found.embed_code, found.validator) != pin:
            return None
        if len(found.checksums) != -(-pin.size // self._block_bytes):
            return None
        with self._lock:
            self._read_lists[pin.word] = found
            if len(self._read_lists) > _LISTS_KEPT:
                self._read_lists.popitem(last=False)
        return found

    def open(self, pin: Pin) -> OpenedFile | None:
        """Open a version's file for reading; None if it or its list of checksums is lost.

        :raises OSError: the disk fails, or there are too many open files.
        """
        listed = self.checksums(pin)
        if listed is None:
            return None
        try:
            file = os.open(listed.name.encode(), _READ, dir_fd=self._files)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return None
            raise
        try:
            found = os.fstat(file)
        except OSError:
            close_file(file)
            raise
        if not stat.S_ISREG(found.st_mode):
            close_file(file)
            return None
        return OpenedFile(file, listed, found)

    # --- internal

    def _forget(self, entry: CompleteFile) -> None:
        del self._entries[entry.word]
        self._order.pop(entry.word, None)
        self._dirty.add(entry.row)
        self.blocks -= self.blocks_of(entry)

    def _proof(self, found: os.stat_result) -> tuple[int, ...]:
        return (
            found.st_dev & _MASK,
            found.st_ino & _MASK,
            found.st_mtime_ns,
            found.st_ctime_ns,
            self._stamp,
        )

    def _read_header(self) -> bool:
        """Read the header; False if it is invalid or has another format.

        The stamp is kept if the cache was closed and the machine was not restarted since then.
        """
        header = os.pread(self._index, _HEADER.size, 0)
        if len(header) < _HEADER.size or xxh3_64_intdigest(header[:-8]) != _last_word(header):
            return False
        magic, version, block_bytes, boot, stamp, closed, _ = _HEADER.unpack(header)
        if (magic, version, block_bytes) != (_MAGIC, _VERSION, self._block_bytes):
            return False
        if closed and boot == self._boot:
            self._stamp = stamp
        return True

    def _write_header(self, *, closed: bool) -> None:
        header = _HEADER.pack(
            _MAGIC, _VERSION, self._block_bytes, self._boot, self._stamp, closed, 0
        )[:-8]
        write_at(self._index, header + xxh3_64_intdigest(header).to_bytes(8, "little"), 0)

    def _load(self) -> None:
        """Read the rows and count their sizes; `_all` checks the rows at their first use."""
        self._rows = max(0, os.fstat(self._index).st_size - _ROWS_AT) // _ROW.size
        self._unread = memoryview(bytearray(self._rows * _ROW.size))
        if self._rows:
            os.preadv(self._index, [self._unread], _ROWS_AT)
        words = self._unread.cast("Q")
        self._count(size for size in words[1 :: _ROW.size // 8].tolist() if size)
        self._table.seen(max(words[2 :: _ROW.size // 8].tolist(), default=0))

    def _count(self, sizes: Iterable[int]) -> None:
        block_bytes, self.blocks, self._bytes = self._block_bytes, 0, 0
        for size in sizes:
            self.blocks += -(-size // block_bytes)
            self._bytes += cost_of(size, block_bytes)
        self.reserve(0)

    def _all(self) -> dict[int, CompleteFile]:
        """Return all files by their words; the first call makes them from the rows."""
        if self._unread is not None:
            rows, self._unread = self._unread, None
            for row, (word, size, used, device, inode, mtime, ctime, stamp, _) in _rows_of(rows):
                proof = (device, inode, mtime, ctime, stamp)
                self._entries.setdefault(word, CompleteFile(word, size, used, proof, row))
            taken = {entry.row for entry in self._entries.values()}
            self._free_rows = [row for row in range(self._rows) if row not in taken]
            self._dirty.update(self._free_rows)
            self._count(entry.size for entry in self._entries.values())
            self.pins_changed()
        return self._entries

    def _read_list(self, word: int) -> ChecksumList | None:
        try:
            file = os.open(_list_name(word), _READ, dir_fd=self._lists)
            with open(file, "rb") as listed:
                data = listed.read()
            if len(data) < 16 or xxh3_64_intdigest(data[8:]) != struct.unpack_from("=Q", data)[0]:
                return None
            (head_bytes,) = struct.unpack_from("=Q", data, 8)
            embed_code, validator, name = json.loads(data[16 : 16 + head_bytes])
            return ChecksumList(
                embed_code, validator, name, memoryview(data)[16 + head_bytes :].cast("Q")
            )
        except (FileNotFoundError, IsADirectoryError, ValueError, TypeError, RecursionError):
            return None

    def _unlink(self, word: int) -> None:
        with self._lock:
            found = self._read_lists.pop(word, None)
        found = found or self._read_list(word)
        names = [found.name.encode()] if found is not None else self._names_of(word)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._files)
        os.unlink(_list_name(word), dir_fd=self._lists)

    def _names_of(self, word: int) -> list[bytes]:
        """The files of a version whose list of checksums is lost."""
        part = f"{word >> 32:08x}"
        found = ((name, _OURS.search(name)) for name in os.listdir(self._files))
        return [os.fsencode(name) for name, ours in found if ours and ours[1] == part]


def _list_name(word: int) -> str:
    return f"{word:016x}"


def _boot_hash() -> int:
    """A number that is different after each restart of this machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        boot = os.urandom(16)  # the boot is unknown, so all files are verified at each start
    return xxh3_64_intdigest(boot)


def _packed(entry: CompleteFile) -> bytes:
    row = _ROW.pack(entry.word, entry.size, entry.used, *entry.proof, 0)[:-8]
    return row + xxh3_64_intdigest(row).to_bytes(8, "little")


def _rows_of(rows: bytes | memoryview) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The number and the fields of each valid row."""
    view = memoryview(rows)
    view = view[: len(view) // _ROW.size * _ROW.size]
    for row, fields in enumerate(_ROW.iter_unpack(view)):
        at = row * _ROW.size
        if (
            fields[0]
            and fields[1]
            and xxh3_64_intdigest(view[at : at + _ROW.size - 8]) == fields[8]
        ):
            yield row, fields


def _last_word(data: bytes) -> int:
    return int.from_bytes(data[-8:], "little")
