"""The bytes of a source object: from a file, from memory, or (``synthetic``) from arithmetic.

A ``Content`` is what an asset holds; ``open()`` gives one *version* of it to serve, so that the
validator in the headers and the bytes in the body cannot come from two versions of a file.
"""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


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
    """A file, looked at anew for every request; its ETag follows from size and mtime.

    :ivar path: a regular file.
    :ivar not_before: ``last_modified`` is never earlier (a replacement has to look younger).
    """

    path: Path
    not_before: int = 0

    @property
    def size(self) -> int:
        """Length in bytes, now; 0 when the file is gone."""
        status = self._stat()
        return status.st_size if status else 0

    @property
    def etag(self) -> str:
        """Validator of the file as it is now."""
        with self.open() as opened:
            return opened.etag

    @property
    def last_modified(self) -> int:
        """The file's mtime in whole seconds; ``not_before`` when the file is gone."""
        status = self._stat()
        return max(self.not_before, int(status.st_mtime)) if status else self.not_before

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file as it is now.

        :raises OSError: when it cannot be read.
        """
        with self.open() as opened:
            return opened.read(offset, length)

    def open(self) -> OpenFile:
        """The version of this moment, held by a descriptor.

        :raises OSError: when it cannot be opened.
        """
        file = io.FileIO(self.path, "rb")
        return OpenFile(file, os.fstat(file.fileno()), self.not_before)

    def _stat(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except OSError:
            return None


class OpenFile:
    """A file held open, and what its size, ETag and date were at that moment."""

    __slots__ = ("etag", "file", "last_modified", "size")

    def __init__(self, file: io.FileIO, status: os.stat_result, not_before: int) -> None:
        """Take over ``file``; ``status`` is its fstat."""
        identity = f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{not_before}"
        digest = hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()
        self.file = file
        self.size = status.st_size
        self.last_modified = max(not_before, int(status.st_mtime))
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
