# SPDX-License-Identifier: Apache-2.0
"""Disks of another kind than ours, by the kernel, or by FUSE, which changes names or times."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounting import served_by

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")

_PROGRAM = """
import ast, errno, os, sys
from fuse import FUSE, FuseOSError, Operations

class Disk(Operations):
    use_ns = True

    def __init__(self, root, kind):
        self.root, self.fold, self.fresh = root, kind.startswith("fold"), {}
        self.refusal = getattr(errno, kind, None)
        self.times = ast.literal_eval(kind) if kind.startswith("{") else {}

    def place(self, path):
        found = self.root
        if self.refusal and set(':?*"<>|') & set(path):
            raise FuseOSError(self.refusal)
        for part in filter(None, path.split("/")):
            name = part.rstrip(" .") or part
            same = [n for n in os.listdir(found) if self.fold and n.casefold() == name.casefold()]
            found = os.path.join(found, same[0] if same else name)
        return found

    def __call__(self, operation, *arguments):
        if os.path.exists(self.root + ".gone") and operation not in ("init", "release"):
            raise FuseOSError(errno.ESTALE)
        try:
            return super().__call__(operation, *arguments)
        except FuseOSError:
            raise
        except OSError as error:
            raise FuseOSError(error.errno)

    def getattr(self, path, fh=None):
        status = os.lstat(self.place(path))
        kept = ("mode", "uid", "gid", "size", "nlink", "ino", "blocks")
        times = {"st_ctime": status.st_ctime_ns, "st_mtime": self.shown(path, status.st_mtime_ns)}
        return {f"st_{key}": getattr(status, f"st_{key}") for key in kept} | times

    def shown(self, path, time_ns):
        self.fresh[path] = self.fresh.get(path, 0) - 1
        if self.fresh[path] >= 0:
            return time_ns
        kept = min(max(time_ns, self.times.get("first", 0)), self.times.get("last", 2**62))
        return kept - kept % self.times.get("step", 1)

    def statfs(self, path):
        status = os.statvfs(self.root)
        kept = ("f_bavail", "f_blocks", "f_bsize", "f_frsize")
        return {key: getattr(status, key) for key in kept}

    def link(self, target, source):
        raise FuseOSError(errno.EPERM)

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.place(path))]

    def mkdir(self, path, mode):
        os.mkdir(self.place(path), mode)

    def rmdir(self, path):
        os.rmdir(self.place(path))

    def unlink(self, path):
        os.unlink(self.place(path))

    def rename(self, old, new):
        os.rename(self.place(old), self.place(new))
        self.fresh[new] = self.fresh.pop(old, 0)

    def open(self, path, flags):
        return os.open(self.place(path), flags)

    def create(self, path, mode, fi=None):
        return os.open(self.place(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self.place(path), length)

    def utimens(self, path, times=None):
        if self.times.get("refuses"):
            raise FuseOSError(errno.EPERM)
        self.fresh[path] = self.times.get("exact_looks", 0)
        os.utime(self.place(path), ns=times)

    def fsync(self, path, only_data, fh):
        return 0

    def release(self, path, fh):
        os.close(fh)

FUSE(
    Disk(sys.argv[1], sys.argv[3]), sys.argv[2], foreground=True, nothreads=True,
    use_ino=sys.argv[3] != "fold spellings", attr_timeout=0, entry_timeout=0,
    direct_io="'direct'" in sys.argv[3],
)
"""


@contextlib.contextmanager
def odd_disk(place: Path, root: Path, kind: str | dict[str, int]) -> Iterator[None]:
    """Mount ``root`` on ``place`` as a disk that has no hard links, as FAT, while the body runs.

    It leaves out dots at the end of names, and with "fold" ignores case too. With "fold spellings"
    each spelling of a name has an inode number of its own, as exFAT by FUSE. "EINVAL" and
    "ENOENT" are its answer to names that Windows does not have. A dict says what it
    makes of modification times: ``step`` (rounded down to a multiple; less than 0: up), ``first``
    and ``last`` of its range, all in ns; ``exact_looks``, how often a file shows the exact time
    after one was set; ``refuses``: no time can be set. With ``direct`` the kernel caches no bytes.

    While there is a file ``{root}.gone``, every operation fails with ESTALE, as on NFS whose server
    does not know the file system any more.
    """
    with served_by(_PROGRAM, place, root, place, str(kind)):
        yield


@contextlib.contextmanager
def mounted_disk(place: Path, kind: str, options: str) -> Iterator[None]:
    """A file system of the kernel at ``place``, for as long as the context lasts."""
    place.mkdir(mode=0o700, exist_ok=True)
    command = ["mount", "-t", kind, "-o", options, kind, str(place)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=90)
    if done.returncode:
        pytest.skip(f"no {kind} here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=False, timeout=90)
