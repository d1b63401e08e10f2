# SPDX-License-Identifier: Apache-2.0
"""Copies one file from its source to its name in DEST, through a *part* in the workspace.

A part has a *checkpoint*: how many of its bytes are synced, their digest, and the size, time and
validator of the source. An export that was cut off continues from there if the part still begins
with these bytes and the source is the same version. Otherwise the copy starts again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import xxhash

from backlotfs.errors import BacklotError, Interrupted
from backlotfs.export.destination import (
    READ_FILE,
    Destination,
    UnsafeDestination,
    Workspace,
    split,
    write_all,
)
from backlotfs.export.items import Item
from backlotfs.export.manifest import ManifestWriter
from backlotfs.export.room import UNLIMITED, Room

PIECE_BYTES: Final = 1024 * 1024
#: Bytes between two checkpoints. The sync of a checkpoint stalls the copy for a moment. If the
#: export is killed, the bytes after the last checkpoint are lost.
CHECKPOINT_BYTES: Final = 256 * 1024 * 1024
#: Bytes after which a part is read back while the rest is being written. So at the end of a long
#: file little is left to be read back.
BEHIND_BYTES: Final = 32 * 1024 * 1024
#: A checkpoint has five short values; more bytes are not read.
_MOST_NOTE_BYTES: Final = 4096
_NOT_AS_MADE: Final = "is not in the destination as its worker left it; run this again"
PART, CHECKPOINT = ".part", ".checkpoint"


Hash: TypeAlias = "hashlib._Hash | xxhash.xxh3_128"
#: Reads a source from an offset (the first argument) to the end. The second argument is the number
#: of bytes to read ahead.
Pieces = Callable[[int, int], Iterator[memoryview]]


class ReadBackDiffers(BacklotError):
    """The disk returns other bytes than those that were written to it."""


@dataclass(frozen=True, slots=True)
class Version:
    """The size and time of a source, by which its versions differ."""

    size_bytes: int
    mtime_ns: int


class DirectSource(NamedTuple):
    """A source that can be read without its path.

    :ivar pieces: reads the source; raises EAGAIN if it cannot continue.
    """

    version: Version
    pieces: Pieces


class MadePart(NamedTuple):
    """The state of a sealed part. A part is published only if it still has this state."""

    digest: str
    size_bytes: int
    mtime_ns: int


class Compared(NamedTuple):
    """The result for a copy that has the same bytes as its source.

    :ivar status: the status of the copy.
    :ivar source_ns: the modification time of the source that was read.
    """

    digest: str
    status: os.stat_result
    source_ns: int


def copy_file(
    item: Item,
    destination: Destination,
    workspace: Workspace,
    manifest: ManifestWriter,
    *,
    expected: os.stat_result | None,
    moved: Callable[[int], None],
    stop: threading.Event,
    direct: DirectSource | None = None,
    room: Room = UNLIMITED,
) -> tuple[os.stat_result, str]:
    """Copy ``item`` to its name below DEST; return the status of the copy and its digest.

    The digest is added to the manifest before the file gets its name, and removed if that fails.

    :param expected: the file that has the name now and is to be replaced; None: there is none.
    :param moved: called with the number of bytes that were written; first with the number of bytes
        that an earlier export left.
    :param stop: when it is set, the copy ends, and its part is kept for the next export.
    :param direct: reads the source without its path, if the source still has this version; None:
        the source is read by its path.
    :param room: waits while too many bytes of other files are being read directly.
    :raises ReadBackDiffers: see `Part.seal`.
    :raises UnsafeDestination: see `Workspace.publish`.
    :raises Interrupted: ``stop`` was set.
    :raises OSError: reading or writing failed; the written bytes are kept for the next export.
    """
    go_on = _going_on(stop)
    with _opened(item) as source:
        folders, _ = split(item.name)
        with destination.folder(folders, make=True, for_writing=True):
            pass  # so that an unusable folder is reported before hours of copying
        part = Part(workspace, item.name, source.version, go_on)
        try:
            moved(part.length_bytes)
            pieces, ahead_bytes = None, PIECE_BYTES
            # `direct` was made before the source was opened, so the source may be another version.
            if direct is not None and direct.version == source.version:
                pieces, ahead_bytes = direct.pieces, source.version.size_bytes - part.length_bytes
            with room.taken(ahead_bytes, go_on) as window_bytes:
                for data in source.pieces(part.length_bytes, go_on, pieces, window_bytes):
                    part.write(data)
                    moved(len(data))
                source.close()
            sealed = part.seal()
            made = MadePart(part.digest, sealed.st_size, sealed.st_mtime_ns)
            with _recorded(manifest, destination, item.name, made, sealed, source.version.mtime_ns):
                part.publish(sealed, expected)
        except BaseException:
            with contextlib.suppress(OSError):
                part.keep()
            raise
        finally:
            part.close()
    return sealed, part.digest


def publish_part(
    name: str,
    made: MadePart,
    source_ns: int,
    destination: Destination,
    workspace: Workspace,
    manifest: ManifestWriter,
    *,
    expected: os.stat_result | None,
) -> os.stat_result:
    """Give a part that another process made its name below DEST; return the status of the copy.

    :param source_ns: the modification time of the source.
    :param expected: the file that has the name now and is to be replaced; None: there is none.
    :raises UnsafeDestination: the part is not as it was made; or see `Workspace.publish`.
    :raises OSError: the disk is full or fails.
    """
    part = part_key(name) + PART
    file = workspace.open_for_reading(part)
    if file is None:
        raise UnsafeDestination(_NOT_AS_MADE)
    with file:
        # The lock is kept until the file has its name: a worker that was given up empties a part
        # that it can lock.
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnsafeDestination(_NOT_AS_MADE) from None
        sealed = os.fstat(file.fileno())
        same_time = destination.times.same(sealed.st_mtime_ns, made.mtime_ns)
        if sealed.st_size != made.size_bytes or not same_time:
            raise UnsafeDestination(_NOT_AS_MADE)
        with _recorded(manifest, destination, name, made, sealed, source_ns):
            workspace.publish(part, file.fileno(), sealed, name, expected)
    with contextlib.suppress(OSError):
        workspace.remove(part_key(name) + CHECKPOINT)
    return sealed


@contextlib.contextmanager
def _recorded(
    manifest: ManifestWriter,
    destination: Destination,
    name: str,
    made: MadePart,
    sealed: os.stat_result,
    source_ns: int,
) -> Iterator[None]:
    """Record a digest before the file gets its name; withdraw the digest if that fails."""
    manifest.record(name, made.digest, sealed, source_ns)
    try:
        yield
    except BaseException:
        if not destination.holds(name, sealed):
            manifest.withdraw(name)
        raise


def compare_file(
    item: Item, destination: Destination, moved: Callable[[int], None], stop: threading.Event
) -> Compared | None:
    """Read a source and its copy, the copy from the disk, and compare them.

    :param moved: called with the number of bytes of the source that were read.
    :returns: None: the copy has other bytes.
    :raises UnsafeDestination: the copy is not a file, or was changed meanwhile.
    :raises Interrupted: ``stop`` was set.
    :raises OSError: one of them cannot be read.
    """
    go_on = _going_on(stop)
    found, status = digest_in(destination, item.name, lambda _count: go_on())
    digest = hashlib.sha256()
    with _opened(item) as source:
        for data in source.pieces(0, go_on):
            digest.update(data)
            moved(len(data))
        source.close()
    if found != digest.hexdigest():
        return None
    return Compared(found, status, source.version.mtime_ns)


def digest_in(
    destination: Destination, name: str, moved: Callable[[int], None]
) -> tuple[str, os.stat_result]:
    """SHA-256 and status of a file below DEST, read from the disk if the system allows that.

    :param moved: called with the number of bytes that were read; an exception of it ends the read.
    :raises UnsafeDestination: it is not a regular file inside DEST, or was changed meanwhile.
    :raises OSError: it cannot be read.
    """
    descriptor = destination.open_file(name)
    try:
        status = os.fstat(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        found = digest_of(descriptor, status.st_size, moved)
        now = os.fstat(descriptor)
        if not destination.same_state(now, status) or not destination.holds(name, status):
            raise UnsafeDestination("was changed while it was read; run this again")
        return found.hexdigest(), status
    finally:
        os.close(descriptor)


def digest_of(descriptor: int, length: int, moved: Callable[[int], None]) -> hashlib._Hash:
    """The digest of the first ``length`` bytes, or of all bytes if the file is shorter."""
    found = hashlib.sha256()
    for data in pieces_of(descriptor, 0, length):
        found.update(data)
        moved(len(data))
    return found


def pieces_of(descriptor: int, start: int, stop: int) -> Iterator[memoryview]:
    """Yield the bytes from ``start`` to ``stop`` or the end; each is valid until the next."""
    view = memoryview(bytearray(min(PIECE_BYTES, max(1, stop - start))))
    while start < stop:
        count = os.preadv(descriptor, [view[: stop - start]], start)
        if count == 0:
            return
        yield view[:count]
        start += count


def _going_on(stop: threading.Event) -> Callable[[], None]:
    """Return a function to call between two pieces: it raises `Interrupted` if ``stop`` is set."""

    def go_on() -> None:
        if stop.is_set():
            raise Interrupted("stopped")

    return go_on


class _Source:
    """An opened source, of which exactly one version is read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self.version = Version(status.st_size, status.st_mtime_ns)

    def pieces(
        self,
        offset: int,
        go_on: Callable[[], None],
        pieces: Pieces | None = None,
        window_bytes: int = PIECE_BYTES,
    ) -> Iterator[memoryview]:
        """Yield the bytes from ``offset`` to the end.

        :param pieces: reads the bytes without the descriptor; None: the descriptor is used.
        :raises OSError: the source cannot be read, or has no longer the version that was opened.
        """
        for data in (pieces or self._read)(offset, window_bytes):
            go_on()
            yield data
            offset += len(data)
        status = os.fstat(self._descriptor)
        now = Version(status.st_size, status.st_mtime_ns)
        if (offset, now) != (self.version.size_bytes, self.version):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    def _read(self, offset: int, _window_bytes: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(PIECE_BYTES))
        while count := os.preadv(self._descriptor, [buffer], offset):
            yield buffer[:count]
            offset += count

    def close(self) -> None:
        """Close the source. If this fails, the bytes may be of more than one version.

        :raises OSError: the close failed; a mount reports here that the source was replaced.
        """
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextlib.contextmanager
def _opened(item: Item) -> Iterator[_Source]:
    """Open the source. :raises OSError: it cannot be opened, or is no longer a file."""
    descriptor = os.open(item.source, READ_FILE)
    source = _Source(descriptor)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        yield source
    finally:
        with contextlib.suppress(OSError):
            source.close()


class Part:
    """The part of one file. One thread uses it, and must `close` it."""

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        version: Version,
        go_on: Callable[[], None],
        validator: str | None = None,
    ) -> None:
        """Open the part that an earlier export left of this version, or make a new one.

        :param name: the name of the file below DEST.
        :param go_on: called between pieces that are read back; an exception of it ends the read.
        :param validator: the validator of the source, by which versions with the same size and time
            differ; None: it is not known.
        :raises OSError: the part cannot be made, or the one that is there cannot be read.
        """
        self._workspace = workspace
        self._name = name
        key = part_key(name)
        self._part, self._checkpoint = key + PART, key + CHECKPOINT
        self._version = version
        self._validator = validator
        self._go_on = go_on
        self._descriptor = workspace.open_alone(self._part)
        # SHA-256 is for the manifest. XXH3 with 128 bits verifies what the disk has, and takes a
        # tenth of the time.
        self._checksum = xxhash.xxh3_128()  # of what was written
        self._found = xxhash.xxh3_128()  # of what was read back
        self._found_bytes = 0
        self._behind: Future[None] | None = None  # the last read back on the thread of `_reader`
        self._reader: ThreadPoolExecutor | None = None
        self._published = False
        self._synced_bytes = 0
        try:
            self.length_bytes, self._hash = self._resumable()
            os.ftruncate(self._descriptor, self.length_bytes)
            os.lseek(self._descriptor, self.length_bytes, os.SEEK_SET)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._synced_bytes = self.length_bytes

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes of the part, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: memoryview) -> None:
        """Append. :raises OSError: the disk is full, or fails."""
        write_all(self._descriptor, data)
        self._hash.update(data)
        self._checksum.update(data)
        self.length_bytes += len(data)
        if self.length_bytes - self._found_bytes >= BEHIND_BYTES:
            self._read_behind()
        if self.length_bytes - self._synced_bytes >= CHECKPOINT_BYTES:
            self.keep()

    def keep(self) -> None:
        """Sync the part and write a checkpoint, so that a later export can continue from it."""
        if self.length_bytes == self._synced_bytes:
            return
        os.fsync(self._descriptor)
        note = {
            "size_bytes": self._version.size_bytes,
            "mtime_ns": self._version.mtime_ns,
            "validator": self._validator,
            "length_bytes": self.length_bytes,
            "sha256": self.digest,
        }
        self._workspace.replace(self._checkpoint, json.dumps(note).encode())
        self._synced_bytes = self.length_bytes

    def seal(self) -> os.stat_result:
        """Sync the part, give it the source's time, and read it back; return its status.

        The disk may keep another time, or none: see `times`.

        :raises ReadBackDiffers: the disk returns other bytes; the part is removed.
        :raises OSError: the disk fails.
        """
        os.fsync(self._descriptor)
        with contextlib.suppress(OSError):  # some disks do not set times, or not all times
            os.utime(self._descriptor, ns=(self._version.mtime_ns, self._version.mtime_ns))
        os.fsync(self._descriptor)
        sealed = os.fstat(self._descriptor)
        if self._behind is not None:
            self._behind.result()
        self._read_back(self.length_bytes)
        found, written = self._found.digest(), self._checksum.digest()
        if (found, sealed.st_size) != (written, self.length_bytes):
            self.discard()
            raise ReadBackDiffers(
                "reading it back gave other bytes than were written: check the disk or cable of "
                "the destination"
            )
        return sealed

    def publish(self, sealed: os.stat_result, expected: os.stat_result | None) -> None:
        """Give the part its name in DEST: see `Workspace.publish`."""
        self._workspace.publish(self._part, self._descriptor, sealed, self._name, expected)
        self._published = True
        with contextlib.suppress(OSError):
            self._workspace.remove(self._checkpoint)

    def leave(self) -> None:
        """Let `close` keep the sealed part for the process that calls `publish_part`."""
        self._published = True

    def discard(self) -> None:
        """Remove the part and its checkpoint."""
        self._synced_bytes = self.length_bytes  # `keep` has nothing to save any more
        self._workspace.remove(self._part)
        self._workspace.remove(self._checkpoint)

    def close(self) -> None:
        """Close the part; remove it if it is neither published nor has a checkpoint."""
        if self._reader is not None:
            self._reader.shutdown()  # waits, because its thread uses the descriptor
        with contextlib.suppress(OSError):
            if not self._published and not self._synced_bytes:
                self.discard()
        os.close(self._descriptor)

    def _resumable(self) -> tuple[int, hashlib._Hash]:
        """The length of the part that is proven to be of this version, and the digest of it."""
        match _note(self._workspace, self._checkpoint):
            case {
                "size_bytes": int(size_bytes),
                "mtime_ns": int(mtime_ns),
                "length_bytes": int(length_bytes),
                "sha256": str(noted),
                **others,
            } if (
                Version(size_bytes, mtime_ns) == self._version
                and 0 < length_bytes <= size_bytes
                and self._may_be(others.get("validator"))
            ):
                digest = hashlib.sha256()
                self._read([digest, self._checksum], 0, length_bytes)
                if digest.hexdigest() == noted:
                    return length_bytes, digest
        self._workspace.remove(self._checkpoint)
        self._checksum = xxhash.xxh3_128()
        return 0, hashlib.sha256()

    def _may_be(self, validator: object) -> bool:
        """Whether a part with this validator may be of the same version; None: it is unknown."""
        return self._validator is None or validator in (None, self._validator)

    def _read_behind(self) -> None:
        """Sync and read back the part so far on another thread, unless that thread is busy."""
        if self._behind is not None:
            if not self._behind.done():
                return
            self._behind.result()
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, "read-back")
        self._behind = self._reader.submit(self._sync_and_read_back, self.length_bytes)

    def _sync_and_read_back(self, length_bytes: int) -> None:
        os.fdatasync(self._descriptor)
        self._read_back(length_bytes)

    def _read_back(self, length_bytes: int) -> None:
        """Read the part back from the disk up to this length. The part must be synced."""
        # The pages are dropped, so that the bytes come from the disk and not from the page cache.
        start, count = self._found_bytes, length_bytes - self._found_bytes
        os.posix_fadvise(self._descriptor, start, count, os.POSIX_FADV_DONTNEED)
        self._read([self._found], start, length_bytes)
        self._found_bytes = length_bytes

    def _read(self, hashes: Sequence[Hash], start: int, stop: int) -> None:
        for data in pieces_of(self._descriptor, start, stop):
            for one in hashes:
                one.update(data)
            self._go_on()


def discard_part(workspace: Workspace, name: str) -> None:
    """Remove the part of a published file: an export may be killed just after it publishes."""
    for end in (PART, CHECKPOINT):
        with contextlib.suppress(OSError):
            workspace.remove(part_key(name) + end)


def part_key(name: str) -> str:
    """The stem of the names in the workspace that belong to a file below DEST."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()


def written_bytes(workspace: Workspace, name: str) -> int:
    """The disk space that the part of a file already takes."""
    found = workspace.look(part_key(name) + PART)
    return 0 if found is None else found.st_blocks * 512  # st_blocks is in units of 512 bytes


def resumable_bytes(workspace: Workspace, item: Item) -> int:
    """How many bytes of an item an earlier export has probably left; 0: the copy starts anew."""
    found = workspace.look(part_key(item.name) + PART)
    if found is None or workspace.look(part_key(item.name) + CHECKPOINT) is None:
        return 0
    return min(found.st_size, item.size_bytes)


def discard_renamed(workspace: Workspace, items: Iterable[Item]) -> None:
    """Remove the parts of these items that were begun under other names.

    A part stays if no item has the size and time of its source: another export may continue it.
    """
    kept: set[str] = set()
    versions: set[Version] = set()
    for item in items:
        kept.add(part_key(item.name))
        versions.add(Version(item.size_bytes, item.mtime_ns))
    for name in workspace.names():
        stem, dot, end = name.rpartition(".")
        if dot + end != CHECKPOINT or stem in kept:
            continue
        with contextlib.suppress(OSError, UnsafeDestination):  # entries that are no files stay
            match _note(workspace, name):
                case {"size_bytes": int(size_bytes), "mtime_ns": int(mtime_ns)} if (
                    Version(size_bytes, mtime_ns) in versions
                ):
                    workspace.remove(stem + PART)
                    workspace.remove(name)


def _note(workspace: Workspace, checkpoint: str) -> object:
    """The JSON of a checkpoint; None if there is no checkpoint or it is not JSON."""
    opened = workspace.open_for_reading(checkpoint)
    if opened is None:
        return None
    with opened:
        text = opened.read(_MOST_NOTE_BYTES)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
