"""FUSE operations against a namespace and a reader that need no mount."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.concurrency.clock import Deadline
from backlotfs.concurrency.interruptible_wait import InterruptibleWait, WouldWait
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import (
    BadHandle,
    ContentChanged,
    NoAttribute,
    NoSuchEntry,
    NotSupported,
    RemoteUnavailable,
)
from backlotfs.kernel.deadlines import OperationDeadlines
from backlotfs.kernel.device_loop import UnsettledLookups
from backlotfs.kernel.operations import BacklotOperations, InMemoryFiles, Owner
from backlotfs.namespace.attributes import Attributes, Totals
from backlotfs.namespace.namespace import OpenTarget
from backlotfs.namespace.tree import Entry
from backlotfs.open_files.reader import Opened, OpenMode
from backlotfs.source.version import SourceVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import source_version

FILE = Attributes(inode=9, mode=stat.S_IFREG | 0o444, nlink=1, size=513, mtime_s=5)
WRITING = [
    "chmod", "chown", "create", "ftruncate", "link", "mkdir", "mknod", "removexattr", "rename",
    "rmdir", "setxattr", "symlink", "truncate", "unlink", "utimens", "write",
]  # fmt: skip


@dataclass
class Info:
    """``struct fuse_file_info``."""

    flags: int = os.O_RDONLY
    fh: int = 0
    keep_cache: int = 0
    direct_io: int = 0


class Below:
    """Namespace and reader in one: one file, ``/a.mov``."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.deadlines: list[float] = []
        self.mode = OpenMode(keep_cache=True, direct_io=False)
        self.released: list[int] = []
        self.begun: list[tuple[int, int, int]] = []
        self.sparing: list[bool] = []
        self.sized = self.made_on_demand = False
        self.current: SourceVersion | None = source_version("A")
        self.told: list[tuple[str, SourceVersion | None]] = []

    def _check(self, path: str) -> None:
        if self.error is not None:
            raise self.error
        if path not in ("/", "/a.mov"):
            raise NoSuchEntry(path)

    def attributes(self, path: str, patience: Callable[[], InterruptibleWait]) -> Attributes:
        self._check(path)
        if not self.sized:
            try:
                self.deadlines.append(patience().deadline.remaining_s())
            except WouldWait:
                if self.made_on_demand:
                    raise
                return FILE._replace(settled=False)
        return FILE

    def entries(self, path: str) -> Iterator[Entry]:
        self._check(path)
        return iter([Entry("dir", 7, True), Entry("a.mov", 9, False)])

    def open(
        self,
        path: object,
        *args: object,
        settling: bool = False,
        name: str = "",
        no_prefetch: bool = False,
    ) -> object:
        if isinstance(path, SourceVersion):
            self.sparing.append(no_prefetch)
            return Opened(42, self.mode)
        assert isinstance(path, str)
        self._check(path)
        return OpenTarget(source_version("A"), settling=False)

    def source(self, embed_code: str) -> SourceVersion | None:
        return self.current

    def source_changed(self, embed_code: str, current: SourceVersion | None) -> None:
        self.told.append((embed_code, current))

    def virtual_content(self, path: str, patience: Callable[[], InterruptibleWait]) -> bytes | None:
        return b"{}" * 50 if path == "/a.mov.json" else None

    def begin(self, fh: int, offset: int, size: int) -> None:
        self.begun.append((fh, offset, size))

    def flush(self, fh: int) -> None:
        self._check("/")

    def release(self, fh: int) -> None:
        self.released.append(fh)

    def totals(self) -> Totals:
        return Totals(files=3, size=4097)

    def xattrs(self, path: str) -> dict[str, bytes]:
        self._check(path)
        return {"user.a": b"1", "user.backlotfs.cached": b"9", "user.b": b"2"}

    def xattr(self, path: str, name: str) -> bytes:
        self._check(path)
        if not name.startswith("user."):
            raise NotSupported(name)
        if name != "user.a":
            raise NoAttribute(name)
        return b"1"


class Adapter:
    """Operations over `Below`."""

    def __init__(self) -> None:
        self.below = Below()
        self.mounted: list[bool] = []
        self.sparing = False
        self.lookups = UnsettledLookups()
        clock = ManualClock()
        self.operations = BacklotOperations(
            self.below,  # type: ignore[arg-type]  # the methods that are called
            self.below,  # type: ignore[arg-type]  # likewise
            OperationDeadlines(
                clock, lambda: False, lambda: 1, TimeLimits(asked_stat_s=5.0, asked_read_s=45.0)
            ),
            Owner(11, 12),
            mounted=lambda: self.mounted.append(True),
            no_prefetch=lambda: self.sparing,
            lookups=self.lookups,
        )

    def refused(self, operation: str, *args: object) -> int:
        """The errno of an operation that fails."""
        with pytest.raises(OSError) as caught:  # noqa: PT011  # its errno is the answer
            self.operations(operation, *args)
        assert isinstance(caught.value.errno, int)
        return caught.value.errno


@pytest.fixture
def adapter() -> Adapter:
    """A new one."""
    return Adapter()


@pytest.mark.parametrize("operation", WRITING)
def test_every_writing_operation_is_refused(adapter: Adapter, operation: str) -> None:
    """EROFS, whatever the arguments."""
    for args in ((), ("/a.mov",), ("/a.mov", 1, 2, 3, 4)):
        assert adapter.refused(operation, *args) == errno.EROFS


@pytest.mark.parametrize(
    "flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND]
)
def test_open_for_writing(adapter: Adapter, flags: int) -> None:
    """EROFS too, and no handle."""
    info = Info(flags)
    assert adapter.refused("open", "/a.mov", info) == errno.EROFS
    assert info.fh == 0


@pytest.mark.parametrize(
    ("mode", "flags"),
    [
        (OpenMode(keep_cache=True, direct_io=False), (1, 0)),
        (OpenMode(keep_cache=False, direct_io=True), (0, 1)),
        (OpenMode(keep_cache=False, direct_io=False), (0, 0)),
    ],
)
def test_open(adapter: Adapter, mode: OpenMode, flags: tuple[int, int]) -> None:
    """Handle and cache flags are written into the kernel's structure."""
    adapter.below.mode = mode
    info = Info(os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, keep_cache=7, direct_io=7)
    assert adapter.operations("open", "/a.mov", info) == 0
    assert (info.fh, info.keep_cache, info.direct_io) == (42, *flags)


@pytest.mark.parametrize("current", [None, source_version("A"), source_version("A", etag='"new"')])
def test_open_of_a_source_that_is_replaced_meanwhile(
    adapter: Adapter, current: SourceVersion | None
) -> None:
    """The new handle is marked: what told the other handles came too early for it."""
    adapter.below.current = current
    assert adapter.operations("open", "/a.mov", Info()) == 0
    assert adapter.below.told == ([] if current == source_version("A") else [("A", current)])


def test_read_flush_release(adapter: Adapter) -> None:
    """By handle; the path plays no part."""
    info = Info(fh=42)
    adapter.operations.begin(42, 5, 100)
    assert adapter.below.begun == [(42, 5, 100)]
    assert adapter.operations("flush", None, info) == 0
    assert adapter.operations("release", None, info) == 0
    assert adapter.below.released == [42]
    assert adapter.operations("fsync", None, 0, info) == 0
    assert adapter.operations("fsyncdir", None, 0, 0) == 0


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (ContentChanged("x"), errno.ESTALE),
        (BadHandle("x"), errno.EBADF),
        (RemoteUnavailable("x"), errno.EIO),
        (KeyError("x"), errno.EIO),
    ],
)
def test_errors_of_open_files(adapter: Adapter, error: Exception, number: int) -> None:
    """Of flush, by which a copying program learns of a replaced source."""
    adapter.below.error = error
    assert adapter.refused("flush", None, Info()) == number


def test_getattr(adapter: Adapter) -> None:
    """A short wait."""
    assert adapter.operations("getattr", "/a.mov") == FILE
    assert adapter.below.deadlines == [5.0]


def test_no_such_path(adapter: Adapter) -> None:
    """ENOENT, at each use, also for names that are not UTF-8."""
    for path in ("/none", "/\udcff"):
        for operation, *args in (
            ("getattr",), ("readdir",), ("open", Info()), ("getxattr", "user.a"), ("listxattr",),
        ):  # fmt: skip
            assert adapter.refused(operation, path, *args) == errno.ENOENT


def test_readdir(adapter: Adapter) -> None:
    """No state is kept between the calls."""
    assert adapter.operations("opendir", "/") == 0
    assert [entry.name for entry in adapter.operations.readdir("/")] == ["dir", "a.mov"]
    assert adapter.operations("releasedir", "/", 0) == 0


def test_statfs(adapter: Adapter) -> None:
    """The library's total, nothing free."""
    found = adapter.operations("statfs", "/")
    assert isinstance(found, dict)
    assert (found["f_blocks"], found["f_bsize"], found["f_frsize"]) == (2, 4096, 4096)
    assert (found["f_bfree"], found["f_bavail"], found["f_ffree"], found["f_favail"]) == (0,) * 4
    assert (found["f_files"], found["f_namemax"]) == (3, 255)


def test_access(adapter: Adapter) -> None:
    """Anything but writing."""
    for mode in (os.F_OK, os.R_OK, os.X_OK, os.R_OK | os.X_OK):
        assert adapter.operations("access", "/a.mov", mode) == 0
    for mode in (os.W_OK, os.W_OK | os.R_OK):
        assert adapter.refused("access", "/a.mov", mode) == errno.EROFS


def test_xattrs(adapter: Adapter) -> None:
    """ENODATA for what is not there, ENOTSUP outside ``user.*``; the mount's own are not listed."""
    assert adapter.operations("getxattr", "/a.mov", "user.a") == b"1"
    assert adapter.operations("listxattr", "/a.mov") == ["user.a", "user.b"]
    assert adapter.refused("getxattr", "/a.mov", "user.c") == errno.ENODATA
    assert adapter.refused("getxattr", "/a.mov", "security.selinux") == errno.ENOTSUP


def test_the_rest(adapter: Adapter) -> None:
    """No links; what is not known is ENOSYS; the beginning and the end of a session."""
    assert adapter.refused("readlink", "/a.mov") == errno.EINVAL
    for unknown in ("ioctl", "lock", "bmap", "poll"):
        assert adapter.refused(unknown, "/a.mov") == errno.ENOSYS
    adapter.operations("init", "/")
    assert adapter.mounted == [True]
    assert adapter.operations("destroy", "/") is None


def test_a_deadline_that_is_spent() -> None:
    """Waiters count from the moment that the operation came."""
    clock = ManualClock()
    patience = OperationDeadlines(clock, lambda: False, lambda: 1, TimeLimits())
    clock.advance(1000)
    assert not patience.for_stat().deadline.expired
    assert patience.for_open().deadline.remaining_s() == Deadline(30, clock).remaining_s()


def test_a_caller_that_wants_little_opens_sparingly(adapter: Adapter) -> None:
    """It is asked at each open, on the thread of the operation."""
    for adapter.sparing in (False, True):
        adapter.operations("open", "/a.mov", Info())
    assert adapter.below.sparing == [False, True]


def test_a_look_up_does_not_wait_for_a_size(adapter: Adapter) -> None:
    """Its attributes are marked as not settled; those of a `stat` are waited for."""
    for sized in (True, False):
        adapter.below.sized = sized
        adapter.lookups.begin()
        assert adapter.operations.getattr("/a.mov").settled is sized
        assert adapter.lookups.end() is not sized
    assert adapter.below.deadlines == []
    assert adapter.operations.getattr("/a.mov").settled
    assert adapter.below.deadlines == [5.0]


def test_a_look_up_of_a_file_that_is_made_on_demand_waits(adapter: Adapter) -> None:
    """Its size is that of what is made: nothing else can be answered."""
    adapter.below.made_on_demand = True
    adapter.lookups.begin()
    assert adapter.operations.getattr("/a.mov").settled
    assert not adapter.lookups.end()
    assert adapter.below.deadlines == [5.0]


@given(content=st.binary(max_size=300), offset=st.integers(0, 400), size=st.integers(0, 400))
def test_a_file_in_memory(content: bytes, offset: int, size: int) -> None:
    """A read is a slice of the bytes; at the end, and of an empty file, nothing."""
    files = InMemoryFiles()
    fh = files.open("/a.json", content)
    demand = files.begin(fh, offset, size)
    seen = b"" if demand is None else b"".join(demand.views())
    assert seen == content[offset : offset + size]
    assert demand is None or (demand.complete and not demand.missed and not demand.first_use_bytes)


def test_each_open_keeps_its_bytes() -> None:
    """Whatever is opened or closed beside it."""
    files = InMemoryFiles()
    old, new = files.open("/a.json", b"old"), files.open("/a.json", b"new")
    files.release(new)
    kept = files.begin(old, 0, 9)
    assert kept is not None
    assert b"".join(kept.views()) == b"old"
    with pytest.raises(BadHandle):
        files.begin(new, 0, 1)
    with pytest.raises(BadHandle):
        files.release(new)


def test_handles_of_sources_are_others() -> None:
    """They are counted from 1."""
    files = InMemoryFiles()
    assert files.open("/a.json", b"") in files
    assert 1 not in files
    assert 2**40 not in files


def test_a_file_without_a_source(adapter: Adapter) -> None:
    """Is read past the page cache, from bytes that its handle keeps; the reader knows no such."""
    info = Info(keep_cache=0)
    assert adapter.operations("open", "/a.mov.json", info) == 0
    assert (info.keep_cache, info.direct_io) == (0, 1)
    demand = adapter.operations.begin(info.fh, 90, 4096)
    assert demand is not None
    assert b"".join(demand.views()) == b"{}" * 5
    assert adapter.operations.begin(info.fh, 100, 10) is None
    adapter.below.error = RemoteUnavailable("only sources come from somewhere")
    assert adapter.operations("flush", None, info) == 0
    assert adapter.operations("release", None, info) == 0
    assert adapter.below.released == []
    assert adapter.below.begun == []
