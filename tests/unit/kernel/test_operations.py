# SPDX-License-Identifier: Apache-2.0
"""The operations of a mount against a namespace and a reader that need no mount."""

# the signatures are those of what is stood in for

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlotfs.concurrency.clock import Deadline
from backlotfs.config.time_limits import TimeLimits
from backlotfs.errors import (
    BadHandle,
    ContentChanged,
    IsADirectory,
    ReadOnlyFilesystem,
)
from backlotfs.kernel.deadlines import OperationDeadlines
from backlotfs.kernel.operations import InMemoryFiles, Operations, Owner
from backlotfs.namespace.tree import VirtualFile, VirtualVersion
from tests.fakes.clocks import ManualClock
from tests.fakes.records import probed_row, row, source_version
from tests.unit.namespace.around import KNOWN, Around, Notes
from tests.unit.open_files.stack import ReadingStack


class Mount:
    """Operations over a library of two files, of which ``b.mov`` was not probed yet."""

    def __init__(self) -> None:
        self.around = Around(probed_row("A", "a.mov"), row("B", "b.mov"))
        self.reading = ReadingStack()
        self.sparing = False
        self.namespace = self.around.shown(Notes())
        self.clock = ManualClock()
        self.around.learned["A"] = KNOWN
        limits = TimeLimits(asked_stat_s=5.0, asked_read_s=45.0)
        self.operations = Operations(
            self.namespace,
            self.reading.reader,
            OperationDeadlines(self.clock, lambda: False, lambda: 1, limits),
            Owner(11, 12),
            no_prefetch=lambda: self.sparing,
            reads_whole=lambda: False,
            program=str,
        )


@pytest.fixture
def mount() -> Mount:
    """A new one."""
    return Mount()


def test_attributes(mount: Mount) -> None:
    """stat(2) waits for a size; a look-up does not, and says so."""
    a, b = mount.namespace.find("/a.mov"), row("B", "b.mov")
    assert mount.operations.attributes(a).size == 700
    assert mount.operations.attributes_now(b).settled is False
    assert mount.around.probes == []
    assert mount.operations.attributes(b).size == 700
    assert mount.around.probes == ["B"]


@pytest.mark.parametrize(
    "flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND]
)
@pytest.mark.parametrize("path", ["/a.mov", "/note"])
def test_open_for_writing(mount: Mount, flags: int, path: str) -> None:
    """EROFS, and no handle."""
    with pytest.raises(ReadOnlyFilesystem):
        mount.operations.open(mount.namespace.find(path), path, flags)
    assert len(mount.reading.handles) == 0


def test_open(mount: Mount) -> None:
    """The version is told, and whether the program wants little."""
    for mount.sparing in (False, True):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = mount.operations.open(mount.namespace.find("/a.mov"), "a.mov", flags)
        assert opened.version == KNOWN.version
        assert opened.no_prefetch is mount.sparing
        handle = mount.reading.handles.get(opened.fh)
        assert (handle.version, handle.name) == (KNOWN.version, "a.mov")
        assert (handle.opened is None) is mount.sparing
    with pytest.raises(IsADirectory):
        mount.operations.open(mount.namespace.find("/"), "", os.O_RDONLY)


def test_read_flush_release(mount: Mount) -> None:
    """By handle."""
    fh = mount.operations.open(mount.namespace.find("/a.mov"), "a.mov", os.O_RDONLY).fh
    read = mount.operations.begin(fh, 690, 100)
    assert read is not None
    assert read.wanted.length == 10
    assert mount.operations.begin(fh, 700, 100) is None
    mount.operations.flush(fh)
    mount.reading.handles.get(fh).stale = True
    with pytest.raises(ContentChanged):
        mount.operations.flush(fh)
    mount.operations.release(fh)
    for use in (mount.operations.flush, mount.operations.release):
        with pytest.raises(BadHandle):
            use(fh)
    with pytest.raises(BadHandle):
        mount.operations.begin(fh, 0, 1)


def test_a_file_without_a_source(mount: Mount) -> None:
    """Is read from bytes that its handle keeps; the reader knows nothing of it."""
    found = mount.namespace.find("/note")
    assert isinstance(found, VirtualFile)
    opened = mount.operations.open(found, "note", os.O_RDONLY)
    assert isinstance(opened.version, VirtualVersion)
    assert (opened.version.content, opened.version.attributes.size) == (b"abc", 3)
    read = mount.operations.begin(opened.fh, 1, 4096)
    assert read is not None
    assert b"".join(read.views()) == b"bc"
    mount.operations.flush(opened.fh)
    mount.operations.release(opened.fh)
    with pytest.raises(BadHandle):
        mount.operations.begin(opened.fh, 0, 1)


def test_access(mount: Mount) -> None:
    """Anything but writing."""
    for mode in (os.F_OK, os.R_OK, os.X_OK, os.R_OK | os.X_OK):
        mount.operations.access(mode)
    for mode in (os.W_OK, os.W_OK | os.R_OK):
        with pytest.raises(ReadOnlyFilesystem):
            mount.operations.access(mode)
    with pytest.raises(ReadOnlyFilesystem):
        mount.operations.refuse_to_write()


def test_names_of_xattrs(mount: Mount) -> None:
    """The mount's own are not listed; they can be read."""
    found = mount.namespace.find("/a.mov")
    assert mount.namespace.xattr(found, "user.backlotfs.pinned")
    listed = mount.operations.xattr_names(found)
    assert "user.backlot.name" in listed
    assert not [name for name in listed if name.startswith("user.backlotfs.")]


def test_a_deadline_that_is_spent() -> None:
    """Waiters count from the moment that the operation came."""
    clock = ManualClock()
    patience = OperationDeadlines(clock, lambda: False, lambda: 1, TimeLimits())
    clock.advance(1000)
    assert not patience.for_stat().deadline.expired
    assert patience.for_open().deadline.remaining_s() == Deadline(30, clock).remaining_s()


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


def test_no_prefetch_is_asked_for_on_the_thread_of_the_open(mount: Mount) -> None:
    """Of sources only; a virtual file has nothing to fetch ahead."""
    mount.sparing = True
    assert not mount.operations.open(mount.namespace.find("/note"), "note", os.O_RDONLY).no_prefetch
    assert mount.operations.open(mount.namespace.find("/b.mov"), "b", os.O_RDONLY).version == (
        source_version("A", 700)
    )
