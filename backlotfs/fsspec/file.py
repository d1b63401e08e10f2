# SPDX-License-Identifier: Apache-2.0
"""An open file: a `BufferedReader` over one version of a source, or over a file without a source.

Reads of up to `STREAM_BYTES` use `SourceReader`, as in a mount, so the file is fetched ahead while
it is read in order. Larger reads use `read_large`. A file can be pickled, and used in a forked
process: the other process opens the same version again. If the source was replaced, reads fail with
ESTALE.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from fsspec import AbstractFileSystem

from backlotfs.byterange import ByteRange
from backlotfs.fsspec.errors import translated
from backlotfs.fsspec.ranges import STREAM_BYTES, read_large
from backlotfs.mount.unmounted import OpenedLibrary
from backlotfs.source.version import SourceVersion

#: Size of the buffer of a file: a small read fetches at least as many bytes.
BUFFER_BYTES = 64 * 1024
#: The program name of all reads. The prefetch of next files needs a name for each program.
_PROGRAM = "fsspec"


class _Source(io.RawIOBase):
    """The bytes of one version of a source. Used by one thread at a time."""

    def __init__(
        self, library: Callable[[], OpenedLibrary], path: str, version: SourceVersion
    ) -> None:
        """``library``: returns the library of this process, and opens it if necessary."""
        super().__init__()
        self.name = path
        self.size = version.size
        self._library = library
        self._version = version
        self._at = 0
        self._opened: tuple[OpenedLibrary, int] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"cannot seek to {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as the file reaches."""
        room = memoryview(buffer).cast("B")
        wanted = ByteRange(self._at, min(self._at + len(room), self.size))
        if wanted.stop <= wanted.start:
            return 0
        filled = 0
        with translated(self.name):
            library, fh = self._handle()
            is_large = wanted.length > STREAM_BYTES
            for view in (
                read_large(library, self._version, wanted)
                if is_large
                else self._views(library, fh, wanted)
            ):
                room[filled : filled + len(view)] = view
                filled += len(view)
        self._at += filled
        return filled

    def readall(self) -> bytes:
        """All bytes from here on."""
        rest = io.BytesIO()
        if self._at < self.size:
            with translated(self.name):
                library, _ = self._handle()
                for view in read_large(library, self._version, ByteRange(self._at, self.size)):
                    rest.write(view)
            self._at = self.size
        return rest.getvalue()

    def close(self) -> None:
        """Close the file. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is not None and opened[0].is_usable:
            opened[0].stack.reading.reader.release(opened[1])
        super().close()

    def _handle(self) -> tuple[OpenedLibrary, int]:
        library = self._library()
        if self._opened is None or self._opened[0] is not library:
            reader = library.stack.reading.reader
            self._opened = library, reader.open(self._version, name=self.name, program=_PROGRAM)
        return self._opened

    def _views(self, library: OpenedLibrary, fh: int, wanted: ByteRange) -> Iterator[memoryview]:
        """The bytes of a short read; each view is valid until the next."""
        read = library.stack.reading.reader.begin(fh, wanted.start, wanted.length)
        assert read is not None  # the part is inside the source
        late = not read.complete
        if late:
            read.look_ahead()  # now, so that both are fetched at the same time
        read.wait(library.waiter())
        yield from read.views()  # valid as long as `read` is kept
        if not late:
            read.look_ahead()


class BacklotFile(io.BufferedReader):
    """A file that is open for reading.

    :ivar fs: the `BacklotFileSystem`. :ivar path: the path in it. :ivar size: bytes.
    """

    mode = "rb"

    def __init__(
        self,
        fs: AbstractFileSystem,
        path: str,
        opened: SourceVersion | bytes,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        """``opened``: the version of a source; all bytes of a file without a source."""
        self.fs = fs
        self.path = path
        self.blocksize = buffer_bytes
        self._content = opened
        raw: Any
        if isinstance(opened, bytes):
            raw, self.size = io.BytesIO(opened), len(opened)
        else:
            raw, self.size = _Source(lambda: fs.library, path, opened), opened.size
        super().__init__(raw, buffer_bytes)

    @property
    def full_name(self) -> str:
        """The URL of the file."""
        return str(self.fs.unstrip_protocol(self.path))

    def info(self) -> dict[str, Any]:
        """The present result of `BacklotFileSystem.info` for the path."""
        info: dict[str, Any] = self.fs.info(self.path)
        return info

    def __repr__(self) -> str:
        return f"<BacklotFile {self.full_name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.fs, self.path, self._content, self.blocksize, self.tell())


def _reopened(
    fs: AbstractFileSystem, path: str, opened: SourceVersion | bytes, buffer_bytes: int, at: int
) -> BacklotFile:
    file = BacklotFile(fs, path, opened, buffer_bytes)
    file.seek(at)
    return file
