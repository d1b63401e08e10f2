# SPDX-License-Identifier: Apache-2.0
"""The operations of a mount, for both adapters: `kernel.session` and `kernel.fusepy_adapter`.

An adapter translates between the kernel and these operations. It looks up what an operation is
about: the session by the kernel's node numbers, fusepy by paths.

Threads: an adapter calls an operation on the thread that received its request. No operation does
network I/O; one that needs the network waits for another thread
(`concurrency.interruptible_wait`), and ends early if its caller was killed or the mount ends.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Hashable
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.cache.memory import MEMORY, Block
from backlotfs.concurrency.interruptible_wait import refuse_to_wait
from backlotfs.errors import BadHandle, ReadOnlyFilesystem
from backlotfs.fetch.loader import PendingRead
from backlotfs.kernel.deadlines import OperationDeadlines
from backlotfs.namespace.attributes import Attributes, listed
from backlotfs.namespace.namespace import Found, Namespace
from backlotfs.namespace.tree import VirtualFile, VirtualVersion
from backlotfs.open_files.reader import SourceReader
from backlotfs.source.version import SourceVersion

#: The unit in which ``df`` counts.
STATFS_BLOCK_BYTES = 4096
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


class Owner(NamedTuple):
    """The owner of every file and folder, for `stat`."""

    uid: int
    gid: int


class Opened(NamedTuple):
    """An open file.

    :ivar version: the version of its source, or the content at the open of a file without a source.
    :ivar no_prefetch: whether the program reads a small part only, so that nothing is fetched or
        read ahead for it.
    """

    fh: int
    version: SourceVersion | VirtualVersion
    no_prefetch: bool = False


class Operations:
    """The operations of one mount. They raise `BacklotError`s; any thread may call them."""

    def __init__(
        self,
        namespace: Namespace,
        reader: SourceReader,
        deadlines: OperationDeadlines,
        owner: Owner,
        *,
        no_prefetch: Callable[[], bool],
        reads_whole: Callable[[], bool],
        program: Callable[[], Hashable],
    ) -> None:
        """Build the operations of one mount.

        :param no_prefetch: whether the calling program reads only parts of a file.
        :param reads_whole: whether the calling program reads each file from beginning to end.
        :param program: identifies the calling program over all its processes.
        """
        self.namespace = namespace
        self.owner = owner
        self._reader = reader
        self._deadlines = deadlines
        self._no_prefetch = no_prefetch
        self._reads_whole = reads_whole
        self._program = program
        self._in_memory = InMemoryFiles()

    def attributes(self, found: Found) -> Attributes:
        """stat(2); waits for a size that is not known yet.

        :raises BacklotError: see `Namespace.attributes`.
        """
        return self.namespace.attributes(found, self._deadlines.for_stat)

    def attributes_now(self, node: Found) -> Attributes:
        """The attributes, without a wait; those of a source may be not `settled`.

        :raises NoSuchEntry: there is no source that can be read, or it is hidden from the program.
        :raises WouldWait: it is a virtual file whose bytes have to be made first.
        """
        return self.namespace.attributes(node, refuse_to_wait)

    def open(self, found: Found, name: str, flags: int) -> Opened:
        """Open a file for reading; waits for a version that is not known yet.

        :param name: for messages, and to guess which part is read first.
        :raises BacklotError: see `Namespace.open`.
        """
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            self.refuse_to_write()
        if isinstance(found, VirtualFile):
            waiter = self._deadlines.for_open()  # one time limit for both calls together
            attributes = self.namespace.attributes(found, lambda: waiter)
            content = self.namespace.content(found, lambda: waiter)
            shown = VirtualVersion(content, attributes._replace(size=len(content)))
            return Opened(self._in_memory.open(name, content), shown)
        version = self.namespace.open(found, self._deadlines.for_open())
        no_prefetch = self._no_prefetch()
        fh = self._reader.open(
            version,
            name=name,
            program=self._program(),
            no_prefetch=no_prefetch,
            reads_whole=self._reads_whole(),
        )
        return Opened(fh, version, no_prefetch)

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """Begin a read of a source (`SourceReader.begin`) or of a file without a source."""
        owner = self._in_memory if fh in self._in_memory else self._reader
        return owner.begin(fh, offset, size)

    def flush(self, fh: int) -> None:
        """close(2) of one descriptor. :raises ContentChanged: see `SourceReader.flush`."""
        if fh not in self._in_memory:
            self._reader.flush(fh)

    def release(self, fh: int) -> None:
        """Close a handle after its last descriptor was closed."""
        if fh in self._in_memory:
            self._in_memory.release(fh)
        else:
            self._reader.release(fh)

    def access(self, mode: int) -> None:
        """access(2): everything is allowed except writing."""
        if mode & os.W_OK:
            self.refuse_to_write()

    def xattr_names(self, found: Found) -> list[str]:
        """listxattr(2): the attributes that a copy may keep, without the mount's own."""
        return listed(self.namespace.xattrs(found, own=False))

    def refuse_to_write(self) -> None:
        """:raises ReadOnlyFilesystem: always."""
        raise ReadOnlyFilesystem("the library is read-only")
