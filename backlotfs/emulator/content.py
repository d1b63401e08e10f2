"""The bytes of a source object: from a file, from memory, or (``synthetic``) from arithmetic.

A ``Content`` is what an asset holds; ``open()`` gives one *version* of it to serve, so that the
validator in the headers and the bytes in the body cannot come from two versions of a file.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from backlotfs.emulator.media_folder import MediaFolder, open_regular_file
from backlotfs.emulator.numbers_and_dates import FIRST_SECOND, LAST_SECOND


class OpenContent(Protocol):
    """One version, open for reading. Close it; methods may be called from any thread."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def etag(self) -> str:
        """Strong validator, with its quotes."""

    @property
    def last_modified(self) -> int:
        """Seconds since the epoch."""

    @property
    def file(self) -> io.FileIO | None:
        """The file these bytes lie in, at the same offsets, for sendfile; else None."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes ``offset`` to ``offset + length``, fewer at the end."""

    def close(self) -> None:
        """Give up what is held."""


@runtime_checkable
class Content(Protocol):
    """The source object of an asset. Thread-safe."""

    @property
    def size(self) -> int:
        """Length in bytes, now."""

    @property
    def etag(self) -> str:
        """Strong validator, with its quotes, now."""

    @property
    def last_modified(self) -> int:
        """Seconds since the epoch, now."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes ``offset`` to ``offset + length``, fewer at the end."""

    def open(self) -> OpenContent:
        """The version of this moment.

        :raises OSError: when the bytes are not there any more.
        """


@dataclass(frozen=True, slots=True)
class BytesContent:
    """Bytes held in memory.

    :ivar data: the object.
    :ivar last_modified: seconds since the epoch.
    """

    data: bytes
    last_modified: int = 1_356_998_400  # 2013-01-01, so that two runs agree

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    @property
    def etag(self) -> str:
        """MD5 of the bytes, as S3 gives for an object uploaded in one part.

        The date takes part: a replacement by equal bytes is a new version all the same.
        """
        digest = hashlib.md5(self.data, usedforsecurity=False)
        digest.update(self.last_modified.to_bytes(8, "big", signed=True))
        return f'"{digest.hexdigest()}"'

    @property
    def file(self) -> None:
        """No file."""
        return

    def read(self, offset: int, length: int) -> bytes:
        """A slice."""
        return self.data[offset : offset + max(0, length)]

    def open(self) -> BytesContent:
        """Itself: it never changes."""
        return self

    def close(self) -> None:
        """Nothing to give up."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A regular file, looked at anew for every request; its ETag follows from size and mtime.

    :ivar path: where it is.
    :ivar not_before: ``last_modified`` is never earlier (a replacement has to look younger).
    :ivar folder: the media folder it belongs to: it is opened beneath that folder, so that no link
        leads outside. None: it is opened at ``path``, and a link there is followed.
    """

    path: Path
    not_before: int = 0
    folder: MediaFolder | None = None

    @property
    def size(self) -> int:
        """Length in bytes, now; 0 when the file is gone."""
        status = self._stat()
        return status.st_size if status else 0

    @property
    def etag(self) -> str:
        """Validator of the file as it is now.

        :raises OSError: when it cannot be opened.
        """
        with self.open() as opened:
            return opened.etag

    @property
    def last_modified(self) -> int:
        """The file's mtime in whole seconds; ``not_before`` when the file is gone."""
        status = self._stat()
        return max(self.not_before, modified_at(status)) if status else self.not_before

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file as it is now.

        :raises OSError: when it cannot be read.
        """
        with self.open() as opened:
            return opened.read(offset, length)

    def open(self) -> OpenFile:
        """The version of this moment, held by a descriptor.

        :raises OSError: when it cannot be opened, or is no regular file (any more).
        """
        if self.folder is None:
            descriptor = open_regular_file(self.path, follow=True)
        else:
            descriptor = self.folder.open(self._name)
        file = io.FileIO(descriptor, "rb")
        return OpenFile(file, os.fstat(descriptor), self.not_before)

    @property
    def _name(self) -> str:
        return self.path.relative_to(self.folder.path).as_posix() if self.folder else ""

    def _stat(self) -> os.stat_result | None:
        try:
            if self.folder is not None:
                return self.folder.stat(self._name)
            status = self.path.stat()
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None


def modified_at(status: os.stat_result) -> int:
    """The mtime of a file in whole seconds, within the years that dates are written with."""
    return min(max(int(status.st_mtime), FIRST_SECOND), LAST_SECOND)


class OpenFile:
    """A file held open, and what its size, ETag and date were at that moment."""

    __slots__ = ("etag", "file", "last_modified", "size")

    def __init__(self, file: io.FileIO, status: os.stat_result, not_before: int) -> None:
        """Take over ``file``; ``status`` is its fstat."""
        identity = f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{not_before}"
        digest = hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()
        self.file = file
        self.size = status.st_size
        self.last_modified = max(not_before, modified_at(status))
        self.etag = f'"{digest}-1"'  # the multi-part form: no MD5 of the bytes is claimed

    def __enter__(self) -> OpenFile:
        """For ``with``."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the file."""
        self.close()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the open file.

        :raises OSError: when it cannot be read.
        """
        wanted = min(length, self.size - offset)
        parts: list[bytes] = []
        while wanted > 0:
            part = os.pread(self.file.fileno(), wanted, offset)
            if not part:  # truncated under us: the answer will be short, as it would be anywhere
                break
            parts.append(part)
            offset += len(part)
            wanted -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file."""
        self.file.close()
