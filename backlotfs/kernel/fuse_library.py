"""Loads fusepy when it is needed, and replaces its slowest callbacks.

Importing fusepy loads libfuse 2 and fails without it. So only this module imports it, and only when
a mount is made: without libfuse there is a clear message, and all other commands work.

``ls -l`` of 100 000 files makes 100 000 calls of `getattr` and one of `readdir`. fusepy builds a
dictionary for each; `fuse_class` sets the fields directly. Everything else is fusepy's.
"""

from __future__ import annotations

import codecs
import ctypes
import errno
import logging
import os
import shutil
import stat
import types
from collections.abc import Callable
from typing import Any

from backlotfs.errors import FuseUnusable
from backlotfs.log import events
from backlotfs.namespace.attributes import IO_BLOCK_BYTES, STAT_BLOCK_BYTES

#: The codec of paths. Bytes that are not UTF-8 become surrogates, which no entry's name has, so
#: such a path gives ENOENT instead of a traceback in fusepy.
PATH_ENCODING = "backlotfs-path"

_INSTALL = "install it: apt-get install fuse3 libfuse2 (libfuse2t64 on newer systems)"


def load_fuse() -> types.ModuleType:
    """Import the `fuse` module. :raises FuseUnusable: libfuse 2 is missing."""
    try:
        import fuse  # late: see the module's docstring
    except OSError:
        raise FuseUnusable(f"libfuse 2 is missing; {_INSTALL}") from None
    codecs.register(_path_codec)
    module: types.ModuleType = fuse
    return module


def check_usable() -> None:
    """Check that a mount can be made. :raises FuseUnusable: it cannot; says what to do."""
    load_fuse()
    if not os.path.exists("/dev/fuse"):
        raise FuseUnusable(
            "/dev/fuse is missing; load the module: modprobe fuse; "
            "or start the container with --device /dev/fuse --cap-add SYS_ADMIN"
        )
    if os.geteuid() != 0:
        if shutil.which("fusermount") is None:
            raise FuseUnusable(f"fusermount is missing, which an ordinary user needs; {_INSTALL}")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise FuseUnusable(
                "/dev/fuse may not be opened by this user; its usual mode is 0666: "
                "sudo chmod 666 /dev/fuse, and look for a rule in /etc/udev/rules.d"
            )


def interruption_check() -> Callable[[], bool]:
    """Make a function that returns, in a FUSE callback, whether its caller was killed."""
    interrupted: Any = load_fuse()._libfuse.fuse_interrupted
    interrupted.restype = ctypes.c_int
    return lambda: bool(interrupted())


def _path_codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != PATH_ENCODING:
        return None
    utf_8 = codecs.lookup("utf-8")
    return codecs.CodecInfo(
        name=PATH_ENCODING,
        encode=lambda text, _errors="strict": utf_8.encode(text, "surrogateescape"),
        decode=lambda raw, _errors="strict": utf_8.decode(raw, "surrogateescape"),
    )


log = logging.getLogger(__name__)


def fuse_class() -> Any:
    """Make the class that mounts. :raises FuseUnusable: libfuse 2 is missing."""
    fuse = load_fuse()
    c_stat, memset, size = fuse.c_stat, ctypes.memset, ctypes.sizeof(fuse.c_stat)

    class BacklotFuse(fuse.FUSE):  # type: ignore[misc, name-defined]  # fusepy has no types
        """fusepy's `FUSE`; ``operations`` is a `BacklotOperations`."""

        @staticmethod
        def _wrapper(function: Callable[..., int | None], *arguments: Any) -> int:
            """Call an operation so that libfuse always gets an answer."""
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
            inode, mode, nlink, file_size, mtime_s, _ = operations.getattr(
                path.decode("utf-8", "surrogateescape")
            )
            memset(buffer, 0, size)
            st = buffer.contents
            st.st_ino = inode
            st.st_mode = mode
            st.st_nlink = nlink
            st.st_uid, st.st_gid = operations.owner
            st.st_size = file_size
            st.st_blocks = -(-file_size // STAT_BLOCK_BYTES)
            st.st_blksize = IO_BLOCK_BYTES
            st.st_atimespec.tv_sec = mtime_s
            st.st_mtimespec.tv_sec = mtime_s
            st.st_ctimespec.tv_sec = mtime_s
            return 0

        def fgetattr(self, path: bytes, buffer: Any, _info: Any) -> int:
            """fstat(2): the same as stat(2), because a path always belongs to the same file."""
            return self.getattr(path, buffer)

        def readdir(self, path: bytes, buffer: Any, filler: Any, _offset: int, _info: Any) -> int:
            """getdents(2): the whole listing, which libfuse passes to the kernel in parts."""
            entries = self.operations.readdir(path.decode("utf-8", "surrogateescape"))
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
