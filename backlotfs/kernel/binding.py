"""fusepy's `FUSE` with its hottest paths made short.

``ls -l`` of 100 000 files is 100 000 calls of `getattr` and one listing; fusepy builds a dictionary
and walks over it for each. Here the fields are set one by one.

Everything else is fusepy's.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import stat
from collections.abc import Callable
from typing import Any

from backlotfs.kernel.fuse_library import load_fuse
from backlotfs.log import events
from backlotfs.namespace.attributes import IO_BLOCK_BYTES, STAT_BLOCK_BYTES

log = logging.getLogger(__name__)


def fuse_class() -> Any:
    """The class to mount with. :raises FuseUnusable: without libfuse 2."""
    fuse = load_fuse()
    c_stat, memset, size = fuse.c_stat, ctypes.memset, ctypes.sizeof(fuse.c_stat)

    class BacklotFuse(fuse.FUSE):  # type: ignore[misc, name-defined]  # fusepy has no types
        """See the module's docstring. ``operations`` is a `BacklotOperations`."""

        @staticmethod
        def _wrapper(function: Callable[..., int | None], *arguments: Any) -> int:
            """Around each callback: whatever happens, libfuse gets an answer."""
            try:
                return function(*arguments) or 0
            except OSError as error:
                return -(error.errno or errno.EIO)
            except Exception as error:  # noqa: BLE001  # nothing may leave a callback
                # the kind only: its text may quote a signed URL
                events.CALLBACK_FAILED.log(log, kind=type(error).__name__)
                return -errno.EIO

        def getattr(self, path: bytes, buffer: Any) -> int:
            """stat(2)."""
            operations = self.operations
            inode, mode, nlink, file_size, mtime_s, _ = operations.attributes(
                path.decode("utf-8", "surrogateescape")
            )
            memset(buffer, 0, size)
            st = buffer.contents
            st.st_ino = inode
            st.st_mode = mode
            st.st_nlink = nlink
            st.st_uid = operations.uid
            st.st_gid = operations.gid
            st.st_size = file_size
            st.st_blocks = -(-file_size // STAT_BLOCK_BYTES)
            st.st_blksize = IO_BLOCK_BYTES
            st.st_atimespec.tv_sec = mtime_s
            st.st_mtimespec.tv_sec = mtime_s
            st.st_ctimespec.tv_sec = mtime_s
            return 0

        def fgetattr(self, path: bytes, buffer: Any, _info: Any) -> int:
            """fstat(2): the same as by path, since a path is never another file's."""
            return self.getattr(path, buffer)

        def readdir(self, path: bytes, buffer: Any, filler: Any, _offset: int, _info: Any) -> int:
            """getdents(2): the whole listing; libfuse hands it to the kernel in pieces."""
            entries = self.operations.listing(path.decode("utf-8", "surrogateescape"))
            st = c_stat()
            reference = ctypes.pointer(st)
            st.st_mode = stat.S_IFDIR
            filler(buffer, b".", reference, 0)
            filler(buffer, b"..", reference, 0)
            for name, inode, is_directory in entries:
                st.st_ino = inode
                st.st_mode = stat.S_IFDIR if is_directory else stat.S_IFREG
                if filler(buffer, name.encode(), reference, 0):
                    break
            return 0

    return BacklotFuse
