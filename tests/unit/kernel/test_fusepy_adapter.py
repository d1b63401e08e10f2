# SPDX-License-Identifier: Apache-2.0
"""The plain adapter over a module ``fuse`` that mounts nothing."""

from __future__ import annotations

import builtins
import errno
import os
import stat
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import SystemClock
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import ContentChanged, FuseUnusable
from backlotfs.kernel import fusepy_adapter
from backlotfs.kernel.deadlines import OperationDeadlines
from backlotfs.kernel.fusepy_adapter import TTL_S, FusepyAdapter, load_fuse
from backlotfs.kernel.mounting import MountOptions
from backlotfs.kernel.operations import Operations, Owner
from backlotfs.kernel.read_requests import ReadContext, ReadCounts, ReadLimits, Usage
from tests.fakes.records import probed_row, row, source_version
from tests.fakes.sources import StepFetch, expected_bytes
from tests.fakes.workers import PATIENCE_S, HeldWorkers
from tests.support.deadlines import wait_until
from tests.unit.kernel.made_fuse import MadeFuse
from tests.unit.namespace.around import KNOWN, Around, Notes
from tests.unit.open_files.stack import ReadingStack

WRITING = [
    "chmod", "chown", "create", "ftruncate", "link", "mkdir", "mknod", "removexattr", "rename",
    "rmdir", "setxattr", "symlink", "truncate", "unlink", "utimens", "write",
]  # fmt: skip


@dataclass
class Info:
    """``struct fuse_file_info``."""

    flags: int = os.O_RDONLY
    fh: int = 0


class Mount:
    """A mount of two files, of which ``bé.mov`` was not probed yet."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        reading: ReadingStack | None = None,
        limits: ReadLimits | None = None,
    ) -> None:
        self.fuse = MadeFuse()
        monkeypatch.setattr(fusepy_adapter, "load_fuse", lambda: self.fuse)
        self.around = Around(probed_row("A", "a.mov"), row("B", "bé.mov"))
        self.around.learned["A"] = KNOWN
        self.reading = reading or ReadingStack()
        self.adapter = FusepyAdapter()
        deadlines = OperationDeadlines(
            SystemClock(),
            self.adapter.interrupted,
            self.adapter.caller,
            TimeLimits(asked_stat_s=PATIENCE_S, asked_read_s=PATIENCE_S),
        )
        self.operations = Operations(
            self.around.shown(Notes()),
            self.reading.reader,
            deadlines,
            Owner(11, 12),
            no_prefetch=lambda: False,
            reads_whole=lambda: False,
            program=str,
        )
        self.counts = ReadCounts(str, SystemClock())
        self.limits = limits or ReadLimits(PATIENCE_S)
        self.mounted: list[bool] = []

    def serve(self, options: MountOptions | None = None) -> None:
        """Until the session ends, which is at once."""
        self.adapter.serve(
            Path("/mnt/é,x"),
            options or MountOptions("backlot:x"),
            self.operations,
            ReadContext(SystemClock(), self.counts, self.limits),
            lambda: self.mounted.append(True),
        )

    def call(self, operation: str, *args: object) -> Any:
        """As fusepy does it: paths and names are bytes, decoded as latin-1."""
        if self.fuse.operations is None:
            self.serve()
        return self.fuse.operations(operation, *args)

    def refused(self, operation: str, *args: object) -> int:
        """The errno of an operation that fails."""
        with pytest.raises(OSError) as caught:  # noqa: PT011  # its errno is the answer
            self.call(operation, *args)
        assert isinstance(caught.value.errno, int)
        return caught.value.errno

    def open(self, path: str) -> Info:
        """A file that is open."""
        info = Info()
        assert self.call("open", path, info) == 0
        return info


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Mount:
    """A new one."""
    return Mount(monkeypatch)


def latin(path: str) -> str:
    """A path as fusepy gives it."""
    return os.fsencode(path).decode("latin-1")


def test_without_fusepy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the Debian package is installed, which only suggests it; what to install is said."""
    monkeypatch.setitem(sys.modules, "fuse", None)
    with pytest.raises(FuseUnusable, match=r"fusepy is missing, .*apt-get install python3-fusepy"):
        load_fuse()


def test_the_name_that_debian_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comes first: there, ``fuse`` is another binding."""
    module = ModuleType("fusepy")
    monkeypatch.setitem(sys.modules, "fusepy", module)
    assert load_fuse() is module


def test_without_libfuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """fusepy's import fails; the package to install is named."""
    real: Callable[..., object] = builtins.__import__

    def refuse(name: str, *args: object, **more: object) -> object:
        if name == "fuse":
            raise OSError("Unable to find libfuse")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(FuseUnusable, match=r"libfuse 2 is missing, .*apt-get install libfuse2"):
        load_fuse()


@pytest.mark.parametrize("allow_other", [False, True])
def test_how_it_mounts(mount: Mount, allow_other: bool) -> None:
    """Read-only, past the page cache, with short memories; names cannot smuggle options in."""
    mount.serve(MountOptions("backlot:a,allow_other\\é", allow_other, "sshfs"))
    options = mount.fuse.options
    assert all(options[name] for name in ("ro", "nosuid", "nodev", "noexec", "use_ino"))
    assert all(options[name] for name in ("direct_io", "raw_fi", "foreground"))
    assert (options["attr_timeout"], options["entry_timeout"]) == (TTL_S, TTL_S)
    assert options["encoding"] == "latin-1"
    assert options["fsname"] == latin("backlot:a_allow_other_é")
    assert options["subtype"] == "sshfs"
    assert mount.fuse.mountpoint == latin("/mnt/é,x")
    assert ("allow_other" in options) is ("default_permissions" in options) is allow_other


def test_the_session_begins(mount: Mount) -> None:
    """When the kernel says so."""
    mount.serve()
    assert not mount.adapter.began.is_set()
    mount.call("init", "/")
    assert mount.adapter.began.is_set()
    assert mount.mounted == [True]
    assert mount.call("destroy", "/") is None


def test_a_mount_that_fails(mount: Mount) -> None:
    """libfuse has said why; after the end of the mount its error is none."""

    def fail() -> None:
        raise RuntimeError(1)

    mount.fuse.session = fail
    with pytest.raises(FuseUnusable, match="could not mount on /mnt/é,x"):
        mount.serve()
    mount.adapter.end()
    mount.serve()


def test_callers(mount: Mount) -> None:
    """Who it is, and whether it was killed or the mount ends."""
    assert mount.adapter.caller() == 4711
    assert not mount.adapter.interrupted()
    mount.fuse._libfuse.fuse_interrupted.answer = 1
    assert mount.adapter.interrupted()
    mount.fuse._libfuse.fuse_interrupted.answer = 0
    mount.adapter.end()
    assert mount.adapter.interrupted()
    assert mount.adapter.waiting_reads() == []
    mount.adapter.notifier.listing_changed(["A"])


@pytest.mark.parametrize("operation", WRITING)
def test_every_writing_operation_is_refused(mount: Mount, operation: str) -> None:
    """EROFS, whatever the arguments."""
    for args in ((), ("/a.mov",), ("/a.mov", 1, 2, 3, 4)):
        assert mount.refused(operation, *args) == errno.EROFS


def test_unknown_operations(mount: Mount) -> None:
    """Are for libfuse to answer."""
    for unknown in ("ioctl", "lock", "bmap", "poll", "_nothing_of_the_kind"):
        assert mount.refused(unknown, "/a.mov") == errno.ENOSYS


def test_getattr(mount: Mount) -> None:
    """All of ``struct stat``, with times in nanoseconds; names are of any bytes."""
    found = mount.call("getattr", "/a.mov")
    assert found == {
        "st_ino": row("A").inode, "st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": 700,
        "st_blocks": 2, "st_blksize": 128 << 10, "st_uid": 11, "st_gid": 12,
        "st_atime": 1234 * 10**9, "st_mtime": 1234 * 10**9, "st_ctime": 1234 * 10**9,
    }  # fmt: skip
    assert mount.call("getattr", "/")["st_mode"] == stat.S_IFDIR | 0o755
    assert mount.call("getattr", latin("/bé.mov"))["st_size"] == 700
    for absent in ("/none", latin("/\udcff"), "/bé.mov"):
        assert mount.refused("getattr", absent) == errno.ENOENT


def test_readdir(mount: Mount) -> None:
    """Names, inode numbers and types."""
    assert mount.call("opendir", "/") == 0
    lines = mount.call("readdir", "/", 0)
    assert [line[0] for line in lines] == [".", "..", "a.mov", latin("bé.mov"), "note"]
    assert lines[2] == ("a.mov", {"st_ino": row("A").inode, "st_mode": stat.S_IFREG}, 0)
    assert mount.call("releasedir", "/", 0) == 0
    assert mount.refused("readdir", "/a.mov", 0) == errno.ENOTDIR


def test_open_read_close(mount: Mount) -> None:
    """The bytes, and an end where the file ends."""
    info = mount.open("/a.mov")
    assert mount.call("read", None, 50, 3, info) == expected_bytes(KNOWN.version, ByteRange(3, 53))
    assert mount.call("read", None, 50, 690, info) == expected_bytes(
        KNOWN.version, ByteRange(690, 700)
    )
    assert mount.call("read", None, 50, 700, info) == b""
    assert mount.call("flush", None, info) == 0
    assert mount.call("fsync", None, 0, info) == 0
    mount.reading.handles.get(info.fh).stale = True
    assert mount.refused("flush", None, info) == errno.ESTALE
    assert mount.call("release", None, info) == 0
    assert mount.refused("read", None, 50, 0, info) == errno.EBADF
    assert mount.counts.by_name() == {"4711": Usage(2, 1, 60, mount.counts.total().blocks)}


def test_virtual_files(mount: Mount) -> None:
    """Are read from what they were at the open."""
    info = mount.open("/note")
    assert mount.call("getattr", "/note")["st_size"] == 3
    assert mount.call("read", None, 50, 1, info) == b"bc"
    assert mount.call("flush", None, info) == 0
    assert mount.call("release", None, info) == 0


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC])
def test_open_for_writing(mount: Mount, flags: int) -> None:
    """EROFS, and no handle."""
    info = Info(flags)
    assert mount.refused("open", "/a.mov", info) == errno.EROFS
    assert (info.fh, len(mount.reading.handles)) == (0, 0)


def test_a_read_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its errno, and it is counted."""
    fetch = StepFetch()
    fetch.fail_after(0, ContentChanged("replaced"))
    mount = Mount(monkeypatch, ReadingStack(fetch=fetch))
    info = mount.open("/a.mov")
    assert mount.refused("read", None, 50, 0, info) == errno.ESTALE
    assert mount.counts.total().failed == 1


def waiting_read(mount: Mount) -> tuple[threading.Thread, list[object]]:
    """A read whose bytes do not come; what it returns or raises."""
    info = mount.open("/a.mov")
    ended: list[object] = []

    def read() -> None:
        try:
            ended.append(mount.call("read", None, 50, 0, info))
        except OSError as error:
            ended.append(error.errno)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, ended


def test_a_read_waits_for_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is answered when they are there."""
    workers = HeldWorkers()
    mount = Mount(monkeypatch, ReadingStack(workers=workers))
    thread, ended = waiting_read(mount)
    wait_until(lambda: bool(workers.jobs), "the read to ask for its bytes")
    workers.run_all()
    thread.join(PATIENCE_S)
    assert ended == [expected_bytes(KNOWN.version, ByteRange(0, 50))]


@pytest.mark.parametrize("ends", [False, True])
def test_an_interrupted_read(monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """The program was killed, or the mount ends."""
    workers = HeldWorkers()
    mount = Mount(monkeypatch, ReadingStack(workers=workers))
    thread, ended = waiting_read(mount)
    wait_until(lambda: bool(workers.jobs), "the read to ask for its bytes")
    if ends:
        mount.adapter.end()
    else:
        mount.fuse._libfuse.fuse_interrupted.answer = 1
    thread.join(PATIENCE_S)
    assert ended == [errno.EINTR]
    assert mount.counts.total().failed == 1


def test_a_read_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deadline does not run while it waits for a credit."""
    workers = HeldWorkers()
    queued = {"A"}
    looked = threading.Event()

    def is_queued(code: str) -> bool:
        looked.set()
        return code in queued

    mount = Mount(monkeypatch, ReadingStack(workers=workers), ReadLimits(0.05, is_queued))
    thread, ended = waiting_read(mount)
    assert looked.wait(PATIENCE_S)
    assert ended == []
    queued.clear()
    thread.join(PATIENCE_S)
    assert len(ended) == 1
    assert ended[0] in (errno.ETIMEDOUT, errno.EIO)


def test_statfs_access_xattrs(mount: Mount) -> None:
    """As the operations say."""
    assert mount.call("statfs", "/") == {
        "f_bsize": 4096, "f_frsize": 4096, "f_blocks": 4, "f_files": 2, "f_namemax": 255,
    }  # fmt: skip
    assert mount.call("access", "/a.mov", os.R_OK) == 0
    assert mount.refused("access", "/a.mov", os.W_OK) == errno.EROFS
    assert mount.call("getxattr", "/a.mov", "user.backlot.name") == b"Title"
    assert "user.backlot.name" in mount.call("listxattr", "/a.mov")
    assert mount.refused("getxattr", "/a.mov", "user.none") == errno.ENODATA
    assert mount.refused("getxattr", "/a.mov", "security.selinux") == errno.ENOTSUP
    assert mount.refused("getxattr", "/none", "user.backlot.name") == errno.ENOENT


def test_a_replaced_file(mount: Mount) -> None:
    """An open handle reads on from its version; the next open has the new one."""
    old = mount.open("/a.mov")
    mount.around.learned["A"] = KNOWN.__class__(
        source_version("A", 500, etag='"v2"'), 5678, verified=True
    )
    new = mount.open("/a.mov")
    for info, version in ((old, KNOWN.version), (new, mount.around.learned["A"].version)):
        seen = mount.call("read", None, 20, 0, info)
        assert seen == expected_bytes(version, ByteRange(0, 20))
    assert mount.call("getattr", "/a.mov")["st_size"] == 500
