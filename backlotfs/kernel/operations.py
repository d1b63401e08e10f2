"""The FUSE operations: look up, call, translate. They decide nothing.

Threads: libfuse calls these from as many threads as it has requests. None of them does network
I/O; those that need the network wait (`concurrency.interruptible_wait`) and look meanwhile whether
their caller was killed or the mount is being taken down.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn, Protocol

from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import MEMORY, Block
from backlotfs.concurrency.interruptible_wait import WouldWait, refuse_to_wait
from backlotfs.errors import BadHandle, ReadOnlyFilesystem
from backlotfs.fetch.loader import PendingRead
from backlotfs.kernel.deadlines import OperationDeadlines
from backlotfs.kernel.device_loop import UnsettledLookups
from backlotfs.kernel.errno_boundary import errno_boundary, os_error
from backlotfs.namespace.attributes import Attributes, listed
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.naming import MAX_NAME_BYTES
from backlotfs.namespace.tree import Entry
from backlotfs.open_files.reader import SourceReader

#: The unit in which ``df`` counts.
_STATFS_BLOCK_BYTES = 4096
#: Handles of sources are counted from 1: no mount lives long enough to come here.
_FIRST = 1 << 48


class _OpenFile(NamedTuple):
    name: str
    content: bytes


class InMemoryFiles:
    """Open files that have no source. Any thread may call it.

    A handle keeps its bytes as they were at the open: a reader sees one version from beginning to
    end.
    """

    def __init__(self) -> None:
        """Nothing is open."""
        self._numbers = itertools.count(_FIRST)
        self._open: dict[int, _OpenFile] = {}

    def __contains__(self, fh: int) -> bool:
        """Whether a handle is one of these, open or closed."""
        return fh >= _FIRST

    def open(self, name: str, content: bytes) -> int:
        """A handle on these bytes. ``name``: for messages."""
        fh = next(self._numbers)
        self._open[fh] = _OpenFile(name, content)
        return fh

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """As `SourceReader.begin`: the bytes at ``offset``, fewer at the end; complete at once.

        :raises BadHandle: not open.
        """
        name, content = self._get(fh)
        wanted = ByteRange(offset, min(offset + size, len(content)))
        if wanted.stop <= offset:
            return None
        demand = PendingRead(wanted, len(content), threading.Lock(), f"read of {name}")
        block = Block(memoryview(content))
        block.used = True  # no host was asked for it
        demand.deliver(0, block, MEMORY)
        return demand

    def release(self, fh: int) -> None:
        """Let go of the bytes. :raises BadHandle: not open."""
        self._get(fh)
        del self._open[fh]

    def _get(self, fh: int) -> _OpenFile:
        opened = self._open.get(fh)
        if opened is None:
            raise BadHandle(f"file handle {fh} is not open")
        return opened


class FileInfo(Protocol):
    """``struct fuse_file_info`` as fusepy hands it over with ``raw_fi``."""

    flags: int
    fh: int
    keep_cache: int
    direct_io: int


class Owner(NamedTuple):
    """Whom `stat` shows as the owner of every file and folder."""

    uid: int
    gid: int


class BacklotOperations:
    """What fusepy calls. Each method ends in an answer or an OSError with a positive errno.

    `getattr` and `readdir` are called by `fuse_library.fuse_class`, which needs no dictionaries.
    Reads do not come here: `begin` serves those that `ReadRequests` has received.
    """

    #: Without it, fusepy warns of its old unit of time. No operation here uses a unit.
    use_ns = True

    def __init__(
        self,
        namespace: Namespace,
        reader: SourceReader,
        deadlines: OperationDeadlines,
        owner: Owner,
        *,
        mounted: Callable[[], None],
        no_prefetch: Callable[[], bool],
        lookups: UnsettledLookups,
    ) -> None:
        """Put them together.

        :param mounted: called once, when the kernel has asked for the session to begin.
        :param no_prefetch: whether the caller of the operation wants little of a file.
        :param lookups: the LOOKUPs that are served now, which never wait for a size.
        """
        self._namespace = namespace
        self._reader = reader
        self._deadlines = deadlines
        self.owner = owner
        self._mounted = mounted
        self._no_prefetch = no_prefetch
        self._lookups = lookups
        self._in_memory = InMemoryFiles()

    def __call__(self, operation: str, *args: object) -> object:
        """fusepy's way of calling a method by name."""
        method: Callable[..., object] | None = getattr(self, operation, None)
        if method is None:
            raise os_error(errno.ENOSYS)
        return method(*args)

    @errno_boundary
    def init(self, path: str) -> None:
        """The kernel has opened the session; it is answered when this returns."""
        self._mounted()

    @errno_boundary
    def destroy(self, path: str) -> None:
        """The session is over; the owner of the loop cleans up."""

    @errno_boundary
    def getattr(self, path: str) -> Attributes:
        """stat(2)."""
        if self._lookups.in_lookup:
            try:
                found = self._namespace.attributes(path, refuse_to_wait)
            except WouldWait:  # a file that is made on demand
                pass
            else:
                if not found.settled:
                    self._lookups.mark()
                return found
        return self._namespace.attributes(path, self._deadlines.for_stat)

    @errno_boundary
    def opendir(self, path: str) -> int:
        """No state is kept: the whole listing is built by `readdir`."""
        return 0

    @errno_boundary
    def readdir(self, path: str) -> Iterator[Entry]:
        """getdents(2), without ``.`` and ``..``; of one version of the library."""
        return self._namespace.entries(path)

    @errno_boundary
    def releasedir(self, path: str, fh: int) -> int:
        """Nothing to release."""
        return 0

    @errno_boundary
    def open(self, path: str, info: FileInfo) -> int:
        """Open for reading; the page cache's use is decided per open."""
        if info.flags & os.O_ACCMODE != os.O_RDONLY or info.flags & os.O_TRUNC:
            self._refuse(path)
        content = self._namespace.virtual_content(path, self._deadlines.for_open)
        if content is not None:
            info.fh = self._in_memory.open(path, content)
            # The kernel may know the size of another version, and would cut this one there.
            info.direct_io = 1
            return 0
        target = self._namespace.open(path, self._deadlines.for_open())
        opened = self._reader.open(
            target.version, settling=target.settling, name=path, no_prefetch=self._no_prefetch()
        )
        # A replacement that was found between the two has not marked this handle as old.
        code = target.version.embed_code
        current = self._namespace.source(code)
        if current is None or current.validator != target.version.validator:
            self._reader.source_changed(code, current)
        info.fh = opened.fh
        info.keep_cache = int(opened.mode.keep_cache)
        info.direct_io = int(opened.mode.direct_io)
        return 0

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """`SourceReader.begin`, for files without a source too."""
        owner = self._in_memory if fh in self._in_memory else self._reader
        return owner.begin(fh, offset, size)

    @errno_boundary
    def flush(self, path: str | None, info: FileInfo) -> int:
        """close(2) of one descriptor; ESTALE if the source was replaced meanwhile."""
        if info.fh not in self._in_memory:
            self._reader.flush(info.fh)
        return 0

    @errno_boundary
    def release(self, path: str | None, info: FileInfo) -> int:
        """The last descriptor is closed."""
        if info.fh in self._in_memory:
            self._in_memory.release(info.fh)
        else:
            self._reader.release(info.fh)
        return 0

    @errno_boundary
    def fsync(self, path: str | None, datasync: int, info: FileInfo) -> int:
        """Nothing is ever dirty."""
        return 0

    @errno_boundary
    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> int:
        """Nothing is ever dirty."""
        return 0

    @errno_boundary
    def statfs(self, path: str) -> dict[str, int]:
        """df(1): the library's total, nothing free."""
        totals = self._namespace.totals()
        return {
            "f_bsize": _STATFS_BLOCK_BYTES,
            "f_frsize": _STATFS_BLOCK_BYTES,
            "f_blocks": -(-totals.size // _STATFS_BLOCK_BYTES),
            "f_bfree": 0,
            "f_bavail": 0,
            "f_files": totals.files,
            "f_ffree": 0,
            "f_favail": 0,
            "f_namemax": MAX_NAME_BYTES,
        }

    @errno_boundary
    def access(self, path: str, mode: int) -> int:
        """access(2): anything but writing."""
        if mode & os.W_OK:
            self._refuse(path)
        return 0

    @errno_boundary
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """getxattr(2); ENOTSUP outside ``user.*``."""
        return self._namespace.xattr(path, name)

    @errno_boundary
    def listxattr(self, path: str) -> list[str]:
        """listxattr(2): what a copy of the file may keep; not the mount's own attributes."""
        return listed(self._namespace.xattrs(path))

    @errno_boundary
    def readlink(self, path: str) -> str:
        """There are no symbolic links."""
        raise os_error(errno.EINVAL)

    @errno_boundary
    def _refuse(self, *args: object) -> NoReturn:
        raise ReadOnlyFilesystem("the library is read-only")

    # Each operation that would write, so that it is refused here also where a mount that is not
    # `ro` lets it through to us.
    chmod = chown = create = ftruncate = link = mkdir = mknod = removexattr = rename = rmdir = (
        setxattr
    ) = symlink = truncate = unlink = utimens = write = _refuse
