"""A file on its way: what is written so far, and how much of that can be relied on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backlotfs.errors import BacklotError
from backlotfs.export.durable import replace_file, sync_folder, write_all

PIECE_BYTES: Final = 1024 * 1024
#: A sync stalls the copy for a moment; what was written since the last is read again after a cut.
CHECKPOINT_BYTES: Final = 256 * 1024 * 1024
PART_PREFIX: Final = ".backlotfs-"
_PART_MODE = 0o666  # through the umask, as cp would make it


class ReadBackDiffers(BacklotError):
    """The disk does not give back what was written to it."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which state of a source the bytes are of."""

    size_bytes: int
    mtime_ns: int


class Part:
    """The part of one file. One thread uses it; `close` in any case."""

    def __init__(self, target: Path, version: Version, go_on: Callable[[], None]) -> None:
        """Open what an earlier export left of this version, or begin.

        :param go_on: called between pieces as bytes are read back; what it raises ends that.
        :raises OSError: it cannot be made, or what is there cannot be read.
        """
        self._target = target
        self._path = part_of(target)
        self._checkpoint = self._path.with_suffix(".checkpoint")
        self._version = version
        self._go_on = go_on
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, _PART_MODE)
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
        """SHA-256 of all that was written, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: memoryview) -> None:
        """Append. :raises OSError: the disk is full, or fails."""
        write_all(self._descriptor, data)
        self._hash.update(data)
        self.length_bytes += len(data)
        if self.length_bytes - self._synced_bytes >= CHECKPOINT_BYTES:
            self.keep()

    def keep(self) -> None:
        """Sync it, and note how far it is, so that a later export can go on from here."""
        if self.length_bytes == self._synced_bytes:
            return
        os.fsync(self._descriptor)
        note = {
            "size_bytes": self._version.size_bytes,
            "mtime_ns": self._version.mtime_ns,
            "length_bytes": self.length_bytes,
            "sha256": self.digest,
        }
        replace_file(self._checkpoint, json.dumps(note).encode())
        self._synced_bytes = self.length_bytes

    def seal(self) -> str:
        """Give it the source's time, sync it, read it back; its digest.

        :raises ReadBackDiffers: the disk gives back something else; the part is thrown away.
        :raises OSError: the disk fails.
        """
        times = (self._version.mtime_ns, self._version.mtime_ns)
        os.utime(self._descriptor, ns=times)
        os.fsync(self._descriptor)
        # Without its pages in memory, so that it is the disk that answers.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if self._read_back(self.length_bytes).hexdigest() != self.digest:
            self.discard()
            raise ReadBackDiffers(
                "reading it back gave other bytes than were written: check the disk or cable of "
                "the destination"
            )
        return self.digest

    def publish(self) -> None:
        """Give it its final name, for good."""
        self._path.replace(self._target)
        self._checkpoint.unlink(missing_ok=True)
        sync_folder(self._target.parent)

    def discard(self) -> None:
        """Forget it."""
        self._synced_bytes = self.length_bytes  # nothing is left that `keep` could keep
        self._path.unlink(missing_ok=True)
        self._checkpoint.unlink(missing_ok=True)

    def close(self) -> None:
        """Of what is not published, keep what can be gone on from; never fails."""
        with contextlib.suppress(OSError):
            if self._path.exists() and not self._synced_bytes:
                self.discard()
        os.close(self._descriptor)

    def _resumable(self) -> tuple[int, hashlib._Hash]:
        """How much of the part is proven to be of this version, and its digest so far."""
        try:
            note = json.loads(self._checkpoint.read_bytes())
            length = int(note["length_bytes"])
            if Version(note["size_bytes"], note["mtime_ns"]) == self._version and length > 0:
                digest = self._read_back(length)
                if digest.hexdigest() == note["sha256"]:
                    return length, digest
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        self._checkpoint.unlink(missing_ok=True)
        return 0, hashlib.sha256()

    def _read_back(self, length_bytes: int) -> hashlib._Hash:
        return _digest_of(self._descriptor, length_bytes, lambda _count: self._go_on())


def part_of(target: Path) -> Path:
    """Where the bytes of a file are until it is whole; it need not be there."""
    key = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:24]
    return target.with_name(f"{PART_PREFIX}{key}.part")


def digest_of_file(path: Path, size_bytes: int, moved: Callable[[int], None]) -> str:
    """SHA-256 of the first ``size_bytes`` of a file, from the disk where the system allows it.

    :param moved: told of bytes as they are read; what it raises ends the reading.
    :raises OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _digest_of(descriptor, size_bytes, moved).hexdigest()
    finally:
        os.close(descriptor)


def _digest_of(descriptor: int, length: int, moved: Callable[[int], None]) -> hashlib._Hash:
    """The digest of the first ``length`` bytes; of fewer where the file ends before."""
    found = hashlib.sha256()
    buffer = bytearray(PIECE_BYTES)
    view, offset = memoryview(buffer), 0
    while offset < length:
        count = os.preadv(descriptor, [view[: min(PIECE_BYTES, length - offset)]], offset)
        if count == 0:
            break
        found.update(view[:count])
        offset += count
        moved(count)
    return found
