"""The FUSE operations translate between the kernel and the namespace or the reader.

Threads: libfuse calls an operation on the thread that received its request. No operation does
network I/O; one that needs the network waits for another thread
(`concurrency.interruptible_wait`), and ends early if its caller was killed or the mount ends.
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
#: First handle of a file without a source; handles of sources start at 1 and never get this far.
_FIRST = 1 << 48


class _OpenFile(NamedTuple):
    name: str
    content: bytes


class InMemoryFiles:
    """Open files that have no source. Any thread may call it.

    A handle keeps the bytes of the moment of its open, so that a reader sees one version only.
    """

    def __init__(self) -> None:
        """Start without open files."""
        self._numbers = itertools.count(_FIRST)
        self._open: dict[int, _OpenFile] = {}

    def __contains__(self, fh: int) -> bool:
        """Whether a handle, open or closed, was given by `open` of this class."""
        return fh >= _FIRST

    def open(self, name: str, content: bytes) -> int:
        """Open a handle on these bytes; ``name`` is for messages."""
        fh = next(self._numbers)
        self._open[fh] = _OpenFile(name, content)
        return fh

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """Begin a read that is complete at once; see `SourceReader.begin`.

        :raises BadHandle: the handle is not open.
        """
        name, content = self._get(fh)
        wanted = ByteRange(offset, min(offset + size, len(content)))
        if wanted.stop <= offset:
            return None
        demand = PendingRead(wanted, len(content), threading.Lock(), f"read of {name}")
        block = Block(memoryview(content))
        block.used = True  # it was not fetched
        demand.deliver(0, block, MEMORY)
        return demand

    def release(self, fh: int) -> None:
        """Close a handle. :raises BadHandle: the handle is not open."""
        self._get(fh)
        del self._open[fh]

    def _get(self, fh: int) -> _OpenFile:
        opened = self._open.get(fh)
        if opened is None:
            raise BadHandle(f"file handle {fh} is not open")
        return opened


class FileInfo(Protocol):
    """``struct fuse_file_info`` as fusepy passes it with ``raw_fi``."""

    flags: int
    fh: int
    keep_cache: int
    direct_io: int


class Owner(NamedTuple):
    """The owner of every file and folder, for `stat`."""

    uid: int
    gid: int


class BacklotOperations:
    """The operations that fusepy calls. Each returns or raises an OSError with a positive errno.

    `fuse_library.fuse_class` calls `getattr` and `readdir`. Reads do not come through fusepy:
    `ReadRequests` receives them and calls `begin`.
    """

    #: Avoids a warning of fusepy about units of time, which no operation here uses.
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
        """Build the operations of one mount.

        :param mounted: called once, when the kernel begins the session.
        :param no_prefetch: whether the calling program reads only parts of a file.
        :param lookups: tells whether this thread serves a LOOKUP, which never waits for a size.
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
        """Call an operation by its name; fusepy does so."""
        method: Callable[..., object] | None = getattr(self, operation, None)
        if method is None:
            raise os_error(errno.ENOSYS)
        return method(*args)

    @errno_boundary
    def init(self, path: str) -> None:
        """Called when the kernel opens the session; INIT is answered when this returns."""
        self._mounted()

    @errno_boundary
    def destroy(self, path: str) -> None:
        """Do nothing at the end of the session: `MountSession` cleans up."""

    @errno_boundary
    def getattr(self, path: str) -> Attributes:
        """stat(2)."""
        if self._lookups.in_lookup:
            try:
                found = self._namespace.attributes(path, refuse_to_wait)
            except WouldWait:  # a virtual file that has to be made first
                pass
            else:
                if not found.settled:
                    self._lookups.mark()
                return found
        return self._namespace.attributes(path, self._deadlines.for_stat)

    @errno_boundary
    def opendir(self, path: str) -> int:
        """Do nothing: `readdir` builds the whole listing."""
        return 0

    @errno_boundary
    def readdir(self, path: str) -> Iterator[Entry]:
        """getdents(2), without ``.`` and ``..``; all from one version of the library."""
        return self._namespace.entries(path)

    @errno_boundary
    def releasedir(self, path: str, fh: int) -> int:
        """Do nothing: an open folder has no state."""
        return 0

    @errno_boundary
    def open(self, path: str, info: FileInfo) -> int:
        """Open a file for reading; decides whether the kernel's page cache is used."""
        if info.flags & os.O_ACCMODE != os.O_RDONLY or info.flags & os.O_TRUNC:
            self._refuse(path)
        content = self._namespace.virtual_content(path, self._deadlines.for_open)
        if content is not None:
            info.fh = self._in_memory.open(path, content)
            # The kernel may have cached the size of another version, and would cut this one there.
            info.direct_io = 1
            return 0
        target = self._namespace.open(path, self._deadlines.for_open())
        opened = self._reader.open(
            target.version, settling=target.settling, name=path, no_prefetch=self._no_prefetch()
        )
        # If the source was replaced between the two calls, this handle was not marked yet.
        code = target.version.embed_code
        current = self._namespace.source(code)
        if current is None or current.validator != target.version.validator:
            self._reader.source_changed(code, current)
        info.fh = opened.fh
        info.keep_cache = int(opened.mode.keep_cache)
        info.direct_io = int(opened.mode.direct_io)
        return 0

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """Begin a read of a source (`SourceReader.begin`) or of a file without a source."""
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
        """Close a handle after its last descriptor was closed."""
        if info.fh in self._in_memory:
            self._in_memory.release(info.fh)
        else:
            self._reader.release(info.fh)
        return 0

    @errno_boundary
    def fsync(self, path: str | None, datasync: int, info: FileInfo) -> int:
        """Do nothing: files are read-only."""
        return 0

    @errno_boundary
    def fsyncdir(self, path: str | None, datasync: int, fh: int) -> int:
        """Do nothing: folders are read-only."""
        return 0

    @errno_boundary
    def statfs(self, path: str) -> dict[str, int]:
        """statfs(2): the size of the library, and no free space."""
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
        """access(2): everything is allowed except writing."""
        if mode & os.W_OK:
            self._refuse(path)
        return 0

    @errno_boundary
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """getxattr(2); ENOTSUP outside ``user.*``."""
        return self._namespace.xattr(path, name)

    @errno_boundary
    def listxattr(self, path: str) -> list[str]:
        """listxattr(2): the attributes that a copy may keep, without the mount's own."""
        return listed(self._namespace.xattrs(path))

    @errno_boundary
    def readlink(self, path: str) -> str:
        """Refuse: there are no symbolic links."""
        raise os_error(errno.EINVAL)

    @errno_boundary
    def _refuse(self, *args: object) -> NoReturn:
        raise ReadOnlyFilesystem("the library is read-only")

    # All operations that write are refused here too, in case a mount is not `ro`.
    chmod = chown = create = ftruncate = link = mkdir = mknod = removexattr = rename = rmdir = (
        setxattr
    ) = symlink = truncate = unlink = utimens = write = _refuse
