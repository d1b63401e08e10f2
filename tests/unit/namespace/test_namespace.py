# SPDX-License-Identifier: Apache-2.0
"""The library as folders, over a catalog, a book and a probe scheduler that the test holds."""

# the signatures are those of a provider

from __future__ import annotations

import stat

import pytest

from backlotfs.api.records import Label
from backlotfs.catalog.versions import ProbedSource
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import (
    BacklotError,
    DeadlineExceeded,
    IsADirectory,
    NoAttribute,
    NoSuchEntry,
    NotADirectory,
    NotSupported,
    ProtocolViolation,
    RemoteUnavailable,
    SourceDenied,
    SourceGone,
    SourceMissing,
)
from backlotfs.namespace.tree import ROOT_INODE, Entry
from tests.fakes.records import probed_row, row, source_version
from tests.fakes.workers import waiter
from tests.unit.namespace.around import KNOWN, Around, Notes, content_at, is_virtual


def test_the_root() -> None:
    """A folder whose time is that of the newest asset; it needs no probe."""
    around = Around(row("A", created_at_s=5), row("B", "b.mov", created_at_s=9))
    found = around.namespace.attributes(around.namespace.find("/"), waiter)
    assert (found.inode, found.mode, found.mtime_s) == (ROOT_INODE, stat.S_IFDIR | 0o755, 9)
    assert not around.probes


def test_an_empty_library() -> None:
    """Is an empty folder."""
    around = Around()
    assert list(around.namespace.entries(around.namespace.find("/"))) == []
    assert around.namespace.attributes(around.namespace.find("/"), waiter).mtime_s == 0


def test_a_known_file() -> None:
    """Answered from the book, without a wait."""
    around = Around(row("A"))
    around.learned["A"] = KNOWN

    def impatient() -> None:
        raise AssertionError("nothing to wait for")

    found = around.namespace.attributes(row("A"), impatient)  # type: ignore[arg-type]  # see its name
    assert (found.size, found.mtime_s, found.mode) == (700, 1234, stat.S_IFREG | 0o644)
    assert found.inode == row("A").inode
    assert not around.probes


def test_an_unknown_file_is_probed() -> None:
    """The true size, never a guess."""
    around = Around(row("A"))
    assert around.namespace.attributes(around.namespace.find("/clip.mov"), waiter).size == 700
    assert around.probes == ["A"]


@pytest.mark.parametrize("error", [SourceMissing("x"), SourceGone("x"), SourceDenied("x")])
def test_a_file_without_a_source_is_not_there(error: BacklotError) -> None:
    """Its size cannot be told; with ``--include-unavailable`` it is empty."""
    around = Around(row("A"))
    around.outcome = error
    with pytest.raises(NoSuchEntry, match=r"clip\.mov"):
        around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)
    around = Around(row("A", updated_at_s=77), include_unavailable=True)
    around.outcome = error
    found = around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)
    assert (found.size, found.mtime_s) == (0, 77)


@pytest.mark.parametrize("error", [RemoteUnavailable("x"), ProtocolViolation("x")])
def test_a_size_that_cannot_be_found_out_now_is_an_error(error: BacklotError) -> None:
    """Not 0, not ENOENT."""
    around = Around(row("A"))
    around.outcome = error
    with pytest.raises(type(error)):
        around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)


def test_a_recent_failure_is_not_asked_for_again() -> None:
    """The error of the last probe stands for a while, and collects no frames meanwhile."""
    around = Around(row("A"))
    around.failures["A"] = RemoteUnavailable("down")
    for _ in range(3):
        with pytest.raises(RemoteUnavailable, match="down"):
            around.namespace.attributes(around.namespace.find("/clip.mov"), waiter)
    assert not around.probes
    depth, trace = 0, around.failures["A"].__traceback__
    while trace is not None:
        depth, trace = depth + 1, trace.tb_next
    assert depth < 8


def test_a_file_in_doubt_is_probed_anew() -> None:
    """The kernel keeps what it is told, so the new size has to come before the open."""
    around = Around(row("A"))
    around.learned["A"] = ProbedSource(source_version("A", 1), 1, verified=False)
    assert around.namespace.attributes(around.namespace.find("/clip.mov"), waiter).size == 700
    assert around.probes == ["A"]


@pytest.mark.parametrize("error", [RemoteUnavailable("x"), DeadlineExceeded("x")])
def test_a_file_in_doubt_while_the_network_is_down(error: BacklotError) -> None:
    """The last known size is shown, but nothing is opened on it."""
    around = Around(row("A"))
    around.learned["A"] = ProbedSource(source_version("A", 1), 1, verified=False)
    around.outcome = error
    assert around.namespace.attributes(around.namespace.find("/clip.mov"), waiter).size == 1
    with pytest.raises(type(error)):
        around.namespace.open(around.namespace.find("/clip.mov"), waiter())


def test_open() -> None:
    """A verified version at once; an unknown one, or one in doubt, after its probe."""
    around = Around(row("A"))
    assert around.namespace.open(around.namespace.find("/clip.mov"), waiter()) == KNOWN.version
    around.learned["A"] = KNOWN
    assert around.namespace.open(around.namespace.find("/clip.mov"), waiter()) == KNOWN.version
    assert around.probes == ["A"]
    assert around.uses == 2


def test_open_without_a_source() -> None:
    """ENODATA: the file is listed and cannot be had."""
    around = Around(row("A"), include_unavailable=True)
    around.outcome = SourceMissing("null URL")
    with pytest.raises(SourceMissing):
        around.namespace.open(around.namespace.find("/clip.mov"), waiter())


def test_listing() -> None:
    """Names and inodes in one version; what is not yet known goes to the front of the queue."""
    around = Around(probed_row("A", "a.mov"), row("B", "b.mov"), row("C", "c.mov", size=5))
    around.hidden = {"B"}
    listing = around.namespace.entries(around.namespace.find("/"))
    around.publish()
    assert list(listing) == [
        Entry("a.mov", row("A").inode, False, True),
        Entry("c.mov", row("C").inode, False, True),
    ]
    assert around.listings == [["B", "C"]], "a hidden one is asked for again, in its time"
    assert around.uses == 1
    assert list(around.namespace.entries(around.namespace.find("/"))) == []


def test_unavailable_files_may_be_listed() -> None:
    """With ``--include-unavailable``."""
    around = Around(row("A"), include_unavailable=True)
    around.hidden = {"A"}
    assert [entry.name for entry in around.namespace.entries(around.namespace.find("/"))] == [
        "clip.mov"
    ]


def test_folders() -> None:
    """Counted in their parent's links; a file in two of them says so in its own."""
    labels = (Label("1", "One", "/One", None), Label("2", "Two", "/Two", None))
    around = Around(
        row("A", "a.mov"),
        labels=labels,
        members={"1": ["A"], "2": ["A"]},
        layouts=("labels",),
    )
    around.learned["A"] = KNOWN
    found = [
        (entry.name, entry.is_directory)
        for entry in around.namespace.entries(around.namespace.find("/"))
    ]
    assert ("One", True) in found
    assert around.namespace.attributes(around.namespace.find("/"), waiter).nlink == 2 + len(found)
    assert (
        around.namespace.attributes(around.namespace.find("/One"), waiter).mode
        == stat.S_IFDIR | 0o755
    )
    for path in ("/One/a.mov", "/Two/a.mov"):
        attributes = around.namespace.attributes(around.namespace.find(path), waiter)
        assert (attributes.nlink, attributes.inode) == (2, row("A").inode)


@pytest.mark.parametrize("path", ["/none", "/a/none", "/\udcff", "/clip.mov "])
def test_no_such_path(path: str) -> None:
    """ENOENT for whatever is not listed, at each use."""
    namespace = Around(row("A"), row("B", "b", size=1)).namespace
    for use in (
        lambda: namespace.attributes(namespace.find(path), waiter),
        lambda: namespace.open(namespace.find(path), waiter()),
        lambda: list(namespace.entries(namespace.find(path))),
        lambda: namespace.xattrs(namespace.find(path)),
    ):
        with pytest.raises((NoSuchEntry, NotADirectory)):
            use()


def test_the_wrong_kind() -> None:
    """A file is no folder, and the other way round."""
    namespace = Around(row("A")).namespace
    with pytest.raises(NotADirectory):
        namespace.entries(namespace.find("/clip.mov"))
    with pytest.raises(NotADirectory):
        namespace.attributes(namespace.find("/clip.mov/x"), waiter)
    with pytest.raises(IsADirectory):
        namespace.open(namespace.find("/"), waiter())


def test_a_new_version_is_seen_at_once() -> None:
    """Paths are looked up in the library as it is now."""
    around = Around(row("A", "old.mov"))
    around.publish(row("B", "new.mov"))
    with pytest.raises(NoSuchEntry):
        around.namespace.attributes(around.namespace.find("/old.mov"), waiter)
    assert (
        around.namespace.attributes(around.namespace.find("/new.mov"), waiter).inode
        == row("B").inode
    )


def test_totals() -> None:
    """Of the whole library."""
    totals = Around(row("A"), row("B", "b.mov")).namespace.totals()
    assert (totals.files, totals.size) == (2, 12345)


def test_xattrs() -> None:
    """Of a file; a folder, and a record that is gone, have none."""
    namespace = Around(row("A"), row("B", "b.mov")).namespace
    assert namespace.xattr(namespace.find("/clip.mov"), "user.backlot.name") == b"Title"
    assert "user.mime_type" in namespace.xattrs(namespace.find("/clip.mov"))
    assert namespace.xattrs(namespace.find("/")) == {}
    assert namespace.xattrs(namespace.find("/b.mov")) == {}
    with pytest.raises(NoAttribute):
        namespace.xattr(namespace.find("/clip.mov"), "user.other")
    with pytest.raises(NotSupported):
        namespace.xattr(namespace.find("/clip.mov"), "security.capability")


def test_no_stat_waits_for_a_credit_to_see_a_size_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last size is shown; it is probably the same."""

    def wait(*_of: object) -> None:
        raise AssertionError("nothing to wait for")

    monkeypatch.setattr(InterruptibleWait, "result", wait)
    around = Around(row("A"))
    around.learned["A"] = ProbedSource(source_version("A", 1), 1, verified=False)
    around.outcome, around.queued = None, {"A"}
    assert around.namespace.attributes(around.namespace.find("/clip.mov"), waiter).size == 1
    assert around.probes == ["A"]


def test_a_provider() -> None:
    """What it adds is listed, found and read; nothing of it is opened as a source."""
    namespace = Around(row("A")).shown(Notes(), layouts=("dates",))
    for place in ("", "/1970", "/1970/01"):
        assert list(namespace.entries(namespace.find(place or "/")))[-1] == Entry("note", 99, False)
        assert namespace.attributes(namespace.find(f"{place}/note"), waiter).size == 3
        assert is_virtual(namespace, f"{place}/note")
        assert content_at(namespace, f"{place}/note", waiter) == b"abc"
        assert namespace.xattrs(namespace.find(f"{place}/note")) == {}
        assert namespace.asset(namespace.find(f"{place}/note")) is None
        with pytest.raises(NotSupported):
            namespace.open(namespace.find(f"{place}/note"), waiter())
        with pytest.raises(NotADirectory):
            namespace.entries(namespace.find(f"{place}/note"))
    assert not is_virtual(namespace, "/1970/01/clip.mov")
    assert not is_virtual(namespace, "/none")
    assert not is_virtual(namespace, "/1970/01/clip.mov/note")


def test_a_source_that_is_called_like_a_virtual_file_wins() -> None:
    """Providers are asked only where the tree has nothing."""
    namespace = Around(probed_row("A", "note")).shown(Notes())
    assert namespace.attributes(namespace.find("/note"), waiter).inode == row("A").inode
    assert content_at(namespace, "/note", waiter) is None
    assert namespace.open(namespace.find("/note"), waiter()).embed_code == "A"
