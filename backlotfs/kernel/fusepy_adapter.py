# SPDX-License-Identifier: Apache-2.0
"""The plain adapter: an ordinary ``Operations`` class on fusepy, for systems without the session.

fusepy needs libfuse 2, which identifies files by paths. So two versions of a file share a node, and
the kernel cannot be told that an answer is not valid any more. Therefore every file is opened with
``direct_io``, which bypasses the kernel's page cache, and names and attributes are valid for one
second only. A column in docs/semantics.md lists what this adapter does not guarantee.

Importing fusepy loads libfuse 2 and fails without it. So it is imported only when a mount is made.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import threading
import types
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from backlotfs.cache.memory import TIERS
from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import BacklotError, FuseUnusable
from backlotfs.fetch.loader import PendingRead
from backlotfs.kernel.errno_boundary import errno_boundary, os_error
from backlotfs.kernel.mounting import MountOptions
from backlotfs.kernel.notifier import Notifier
from backlotfs.kernel.operations import STATFS_BLOCK_BYTES, Operations
from backlotfs.kernel.passthrough import FUSEPY, Passthrough
from backlotfs.kernel.read_requests import ReadContext
from backlotfs.log import events
from backlotfs.namespace.attributes import IO_BLOCK_BYTES, STAT_BLOCK_BYTES
from backlotfs.namespace.namespace import Found
from backlotfs.namespace.naming import MAX_NAME_BYTES

log = logging.getLogger(__name__)

#: How long the kernel may use names and attributes, in seconds.
TTL_S = 1.0
#: fusepy decodes and encodes paths with it: unlike UTF-8 it can decode any bytes.
_ENCODING = "latin-1"

NO_LIBFUSE = (
    "libfuse 2 is missing, which --fuse-binding fusepy needs; install it: apt-get install libfuse2 "
    "(libfuse2t64 on newer systems)"
)

NO_FUSEPY = (
    "the Python package fusepy is missing, which --fuse-binding fusepy needs; install it: "
    "apt-get install python3-fusepy"
)


def load_fuse() -> types.ModuleType:
    """Import the module of fusepy. :raises FuseUnusable: fusepy or libfuse 2 is missing."""
    try:
        try:
            import fusepy as fuse  # its name in Debian, where `fuse` is another binding
        except ModuleNotFoundError:
            import fuse
    except ModuleNotFoundError:  # a package of a distribution only suggests it
        raise FuseUnusable(NO_FUSEPY) from None
    except OSError:
        raise FuseUnusable(NO_LIBFUSE) from None
    module: types.ModuleType = fuse
    return module


def _text(path: str) -> str:
    """A path or name as the rest of the package knows it, from the one that fusepy gives."""
    return path.encode(_ENCODING).decode("utf-8", "surrogateescape")


def _latin(name: str) -> str:
    """A name as fusepy wants it."""
    return name.encode("utf-8", "surrogateescape").decode(_ENCODING)


class FusepyAdapter:
    """A session through fusepy. `serve` runs on one thread; any thread may call the others."""

    def __init__(self) -> None:
        """Load libfuse. :raises FuseUnusable: libfuse 2 is missing."""
        self._fuse = load_fuse()
        self._killed: Any = self._fuse._libfuse.fuse_interrupted
        self._killed.restype = ctypes.c_int
        self.passthrough = Passthrough(off=FUSEPY)
        self.notifier = Notifier()  # never attached: answers are valid for one second only
        self._ending = threading.Event()
        self.began = threading.Event()

    def interrupted(self) -> bool:
        """Whether this thread's operation must end: its caller was killed, or the mount ends."""
        return self._ending.is_set() or bool(self._killed())

    def caller(self) -> int:
        """The process id of the caller of the operation on this thread."""
        return int(self._fuse.fuse_get_context()[2])

    def waiting_reads(self) -> list[tuple[int, str]]:
        """An empty list, because the reads of this adapter are not listed."""
        return []

    def end(self) -> None:
        """Let every operation that waits fail now, and later ones that would wait."""
        self._ending.set()

    def serve(
        self,
        mountpoint: Path,
        options: MountOptions,
        operations: Operations,
        context: ReadContext,
        mounted: Callable[[], None],
    ) -> None:
        """Mount, and serve until the mount is gone; see `FuseSession.serve`.

        :raises FuseUnusable: libfuse cannot mount, and has written its reason to stderr.
        """

        def began() -> None:
            mounted()
            self.began.set()

        calls = PathOperations(self, operations, context, began)
        more = {"allow_other": True, "default_permissions": True} if options.allow_other else {}
        try:
            self._fuse.FUSE(
                calls,
                os.fsencode(mountpoint).decode(_ENCODING),
                encoding=_ENCODING,
                foreground=True,
                raw_fi=True,
                ro=True,
                nosuid=True,
                nodev=True,
                noexec=True,
                # A comma would begin the next option, a backslash would escape it.
                fsname=_latin(options.source.replace("\\", "_").replace(",", "_")),
                subtype=options.subtype,
                use_ino=True,
                direct_io=True,
                attr_timeout=TTL_S,
                entry_timeout=TTL_S,
                **more,
            )
        except RuntimeError:
            if not self._ending.is_set():
                raise FuseUnusable(
                    f"libfuse could not mount on {mountpoint}; see its message above"
                ) from None


class PathOperations:
    """The operations that fusepy calls. Each returns, or raises an OSError with an errno."""

    #: Avoids a warning of fusepy about units of time, which no operation here uses.
    use_ns = True

    def __init__(
        self,
        adapter: FusepyAdapter,
        operations: Operations,
        context: ReadContext,
        began: Callable[[], None],
    ) -> None:
        self._adapter = adapter
        self._operations = operations
        self._namespace = operations.namespace
        self._clock, self._counts, self._limits = context
        self._began = began

    def __call__(self, operation: str, *args: Any) -> Any:
        """Call an operation by its name; fusepy does so."""
        method = getattr(self, operation, None)
        if method is None:
            raise os_error(errno.ENOSYS)
        return method(*args)

    def init(self, _path: str) -> None:
        """The session begins."""
        self._began()

    def destroy(self, _path: str) -> None:
        """The session ends."""

    @errno_boundary
    def getattr(self, path: str, _fh: object = None) -> dict[str, int]:
        """stat(2)."""
        inode, mode, nlink, size, mtime_s, _ = self._operations.attributes(self._find(path))
        uid, gid = self._operations.owner
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), mtime_s * 10**9)
        return times | {
            "st_ino": inode,
            "st_mode": mode,
            "st_nlink": nlink,
            "st_size": size,
            "st_blocks": -(-size // STAT_BLOCK_BYTES),
            "st_blksize": IO_BLOCK_BYTES,
            "st_uid": uid,
            "st_gid": gid,
        }

    @errno_boundary
    def readdir(self, path: str, _fh: int) -> list[tuple[str, dict[str, int], int]]:
        """getdents(2)."""
        lines: list[tuple[str, dict[str, int], int]] = [(".", {}, 0), ("..", {}, 0)]
        for entry in self._namespace.entries(self._find(path)):
            kind = 0o040000 if entry.is_directory else 0o100000
            lines.append((_latin(entry.name), {"st_ino": entry.inode, "st_mode": kind}, 0))
        return lines

    @errno_boundary
    def open(self, path: str, info: Any) -> int:
        """open(2)."""
        info.fh = self._operations.open(self._find(path), _text(path), info.flags).fh
        return 0

    @errno_boundary
    def read(self, _path: str, size: int, offset: int, info: Any) -> bytes:
        """read(2); waits until the bytes have come, the time is over or the caller is gone."""
        pid = self._adapter.caller()
        read: PendingRead | None = None
        try:
            read = self._operations.begin(info.fh, offset, size)
            if read is None:
                return b""
            self._wait_for(read)
        except Exception as error:
            self._counts.failed(pid, info.fh, error)
            if read is not None and read.span is not None:
                read.span.failed(error)
            raise
        self._counts.answered(pid, read)
        if read.span is not None:
            read.span.answered(TIERS, read.came_from)
        data = b"".join(read.views())
        try:
            read.look_ahead()
        except Exception as error:  # noqa: BLE001  # the read itself has its bytes
            events.PLAN_FAILED.log(log, failure=error)
        return data

    def _wait_for(self, read: PendingRead) -> None:
        arrived: Future[None] = Future()
        read.add_done_callback(lambda: arrived.set_result(None))
        deadline = Deadline(self._limits.deadline_s, self._clock)
        waiter = InterruptibleWait(deadline, self._adapter.interrupted, self._limits.queued)
        try:
            waiter.result(arrived, read.doing, read.embed_code)
        except BacklotError:
            read.abandon()
            raise
        if read.error is not None:
            raise read.error

    @errno_boundary
    def flush(self, _path: str, info: Any) -> int:
        """close(2) of one descriptor."""
        self._operations.flush(info.fh)
        return 0

    @errno_boundary
    def release(self, _path: str, info: Any) -> int:
        """The last close of a handle."""
        self._operations.release(info.fh)
        return 0

    @errno_boundary
    def statfs(self, _path: str) -> dict[str, int]:
        """statfs(2)."""
        totals = self._namespace.totals()
        return {
            "f_bsize": STATFS_BLOCK_BYTES,
            "f_frsize": STATFS_BLOCK_BYTES,
            "f_blocks": -(-totals.size // STATFS_BLOCK_BYTES),
            "f_files": totals.files,
            "f_namemax": MAX_NAME_BYTES,
        }

    @errno_boundary
    def access(self, _path: str, mode: int) -> int:
        """access(2)."""
        self._operations.access(mode)
        return 0

    @errno_boundary
    def getxattr(self, path: str, name: str, _position: int = 0) -> bytes:
        """getxattr(2)."""
        return self._namespace.xattr(self._find(path), _text(name))

    @errno_boundary
    def listxattr(self, path: str) -> list[str]:
        """listxattr(2)."""
        return self._operations.xattr_names(self._find(path))

    def _find(self, path: str) -> Found:
        return self._namespace.find(_text(path))

    def _nothing(self, *_args: object) -> int:
        return 0

    opendir = releasedir = fsync = fsyncdir = _nothing

    @errno_boundary
    def _refuse(self, *_args: object) -> None:
        self._operations.refuse_to_write()

    chmod = chown = create = ftruncate = link = mkdir = mknod = removexattr = rename = rmdir = (
        setxattr
    ) = symlink = truncate = unlink = utimens = write = _refuse
