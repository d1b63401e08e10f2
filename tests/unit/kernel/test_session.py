# SPDX-License-Identifier: Apache-2.0
"""The session with a socket in the place of /dev/fuse: the test is the kernel."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlotfs.api.records import Label
from backlotfs.byterange import ByteRange
from backlotfs.catalog.versions import ProbedSource
from backlotfs.errors import ContentChanged, SourceGone, SourceMissing
from backlotfs.kernel import protocol
from backlotfs.kernel.session import LONG_TTL_S, MAX_BACKGROUND, SHORT_TTL_S
from backlotfs.namespace.incomplete_notice import Notice
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.sizes import Treatment
from backlotfs.namespace.tree import Entry as Listed
from backlotfs.namespace.tree import Folder, VirtualFile
from tests.fakes.records import probed_row, row, source_version
from tests.fakes.sources import StepFetch, expected_bytes
from tests.fakes.workers import PATIENCE_S
from tests.support.deadlines import wait_until
from tests.unit.kernel.kernel_end import (
    EVERYTHING,
    ROOT,
    Entry,
    Kernel,
    Line,
    Served,
    init_body,
    lines_of,
    read_body,
    served,
)
from tests.unit.namespace.around import Around, Note, Notes
from tests.unit.open_files.stack import ReadingStack

OLD = ProbedSource(source_version("A", 1000), 1234, verified=True)
NEW = ProbedSource(source_version("A", 500, etag='"v2"'), 5678, verified=True)


class Sometimes(Notes):
    """A provider whose file may be there or not."""

    there = True

    def find(self, path: str, namespace: Namespace) -> VirtualFile | None:
        """While it is there."""
        return super().find(path, namespace) if self.there else None

    def entries(
        self, folder: Folder, lines: Iterator[Listed], namespace: Namespace
    ) -> Iterator[Listed]:
        """While it is there."""
        return chain(lines, [Listed("note", 99, False)]) if self.there else lines


class Rules:
    """Programs that do not wait for sizes, or do."""

    kind = Treatment.WAIT

    def treatment(self, seconds: object) -> Treatment:
        """As the test says."""
        return self.kind

    def hides(self, seconds: float | None) -> bool:
        """As the test says."""
        return self.kind is Treatment.HIDE


def library(**more: object) -> Around:
    """``/One/a.mov`` (A) and ``/One/Two/a.mov`` (A), ``b.mov`` (B, of unknown size)."""
    labels = (Label("1", "One", "/One", None), Label("2", "Two", "/One/Two", "1"))
    around = Around(
        probed_row("A", "a.mov"),
        row("B", "b.mov", created_at_s=4321),
        labels=labels,
        members={"1": ["A"], "2": ["A", "B"]},
        layouts=("labels",),
        **more,  # type: ignore[arg-type]  # those of Around
    )
    around.learned["A"] = OLD
    return around


def replace(around: Around, found: Served) -> None:
    """A is another version from now on, as `mount.replacement` does it."""
    found.session.notifier.retire("A", around.learned["A"])
    around.learned["A"] = NEW
    found.session.notifier.attributes_changed(["A"])


# --- INIT


@pytest.mark.parametrize(
    ("offered", "minor"),
    [
        (EVERYTHING, 45),
        (EVERYTHING, 99),
        (0, 31),
        (protocol.ASYNC_READ | protocol.PARALLEL_DIROPS, 23),
        (EVERYTHING & ~protocol.INIT_EXT & 0xFFFF_FFFF, 35),
        (EVERYTHING & ~protocol.HAS_EXPIRE_ONLY, 37),
        (EVERYTHING & ~protocol.DO_READDIRPLUS, 45),
    ],
)
def test_a_kernel_that_offers_less(offered: int, minor: int) -> None:
    """Only what it has is taken, and nothing that was not wanted."""
    with served(library().namespace, init=False) as found:
        raw = found.kernel.ask(protocol.INIT, 0, init_body(offered, minor=minor)).body
        fields = struct.unpack_from("=IIIIHHIIHHI", raw)
        assert fields[:3] == (7, min(minor, 45), 128 << 10)
        assert fields[3] | fields[10] << 32 == protocol.WANTED & offered
        assert (fields[4], fields[8]) == (MAX_BACKGROUND, 256)
        assert found.session.began.wait(PATIENCE_S)
        assert found.kernel.lookup(ROOT, "One").node
        expires = offered & protocol.HAS_EXPIRE_ONLY
        assert found.kernel.lookup(ROOT, "One").entry_s == (LONG_TTL_S if expires else SHORT_TTL_S)


def test_a_short_init() -> None:
    """Of a kernel that has one word of features."""
    with served(library().namespace, init=False) as found:
        answer = found.kernel.ask(protocol.INIT, 0, init_body(0x11, minor=31)[:16])
        assert not answer.error
        assert len(answer.body) == 64


def test_a_newer_major_version() -> None:
    """The kernel comes back with ours."""
    with served(library().namespace, init=False) as found:
        answer = found.kernel.ask(protocol.INIT, 0, init_body(major=8, minor=0))
        assert answer.error == 0
        assert struct.unpack_from("=II", answer.body) == (7, 45)
        assert not found.session.began.is_set()
        found.kernel.init()
        assert found.session.began.wait(PATIENCE_S)


def test_an_older_major_version() -> None:
    """Cannot be spoken with."""
    with served(library().namespace, init=False) as found:
        assert found.kernel.ask(protocol.INIT, 0, init_body(major=6)).error == errno.EINVAL
        assert not found.session.began.is_set()


# --- names and attributes


def test_lookups() -> None:
    """What is known is good for an hour; a size that is not known has to be asked for."""
    around = library()
    with served(around.namespace) as found:
        one = found.kernel.lookup(ROOT, "One")
        assert (one.entry_s, one.attr_s) == (LONG_TTL_S, LONG_TTL_S)
        assert one.attributes.mode == stat.S_IFDIR | 0o755
        a = found.kernel.lookup(one.node, "a.mov")
        assert (a.node, a.entry_s, a.attr_s) == (row("A").inode, LONG_TTL_S, LONG_TTL_S)
        attr = a.attributes
        assert (attr.ino, attr.size, attr.mtime, attr.nlink) == (row("A").inode, 1000, 1234, 2)
        assert (attr.uid, attr.gid, attr.blocks) == (11, 12, 2)
        b = found.kernel.lookup(found.kernel.walk("One/Two"), "b.mov")
        assert (b.entry_s, b.attr_s, b.attributes.size) == (LONG_TTL_S, 0, 0)
        assert around.probes == []
        assert found.kernel.getattr(b.node)[1].size == 700
        assert around.probes == ["B"]


def test_absent_names() -> None:
    """Are remembered, except those that may come without notice."""
    around, provider = library(), Sometimes()
    provider.there = False
    with served(around.shown(provider, layouts=("labels",))) as found:
        for name in ("none", "\udcff", "a.mov", "One "):
            assert found.kernel.lookup(ROOT, name) == Entry(0, LONG_TTL_S, 0, bytes(88))
        notice = Notice.of(ROOT, 3, 60.0).name
        for name in ("note", notice):
            raw = name.encode() + b"\0"
            assert found.kernel.ask(protocol.LOOKUP, ROOT, raw).error == errno.ENOENT
        assert found.kernel.ask(protocol.LOOKUP, 12345, b"a.mov\0").error == errno.ENOENT
        provider.there = True
        assert found.kernel.lookup(ROOT, "note").node == 99


def test_a_file_that_is_not_shown_is_not_remembered_as_absent() -> None:
    """Its source may come, and another program may wait for its size."""
    rules = Rules()
    around = library(rules=rules)
    with served(around.namespace) as found:
        two = found.kernel.walk("One/Two")
        around.failures["B"] = SourceMissing("x")
        b = found.kernel.lookup(two, "b.mov")
        assert b.attr_s == 0
        assert found.kernel.ask(protocol.GETATTR, b.node, bytes(16)).error == errno.ENOENT
        around.failures.clear()
        for rules.kind, error in ((Treatment.HIDE, errno.ENOENT), (Treatment.FAIL, errno.EAGAIN)):
            assert found.kernel.ask(protocol.LOOKUP, two, b"b.mov\0").error == error
        rules.kind = Treatment.WAIT
        assert found.kernel.lookup(two, "b.mov").node


def test_virtual_files() -> None:
    """Their size is asked for each time; an open one has the size that it had."""
    with served(library().shown(Notes(), layouts=("labels",))) as found:
        kernel = found.kernel
        note = kernel.lookup(kernel.walk("One"), "note")
        assert (note.node, note.entry_s, note.attr_s) == (99, SHORT_TTL_S, 0)
        assert kernel.getattr(99) == (0, kernel.getattr(99)[1])
        assert kernel.getattr(99)[1].size == 3
        fh, how = kernel.open(99)
        assert how == protocol.FOPEN_DIRECT_IO
        with mock.patch.object(Note, "content", return_value=b"longer"):
            assert kernel.getattr(99, fh)[1].size == 3
        assert kernel.read(fh, 1, 100) == b"bc"
        kernel.close(fh, 99)


def test_attributes() -> None:
    """Of the root, of folders, and of files with the time at which they were made."""
    around = library()
    with served(around.namespace) as found:
        kernel = found.kernel
        assert kernel.getattr(ROOT)[1].ino == ROOT
        b = kernel.walk("One/Two/b.mov")
        body = struct.pack("=IIQII", 0, 0, 0, 0, 0xFFF)
        raw = kernel.ask(protocol.STATX, b, body).body
        assert len(raw) == 288
        mask, _, _, nlink = struct.unpack_from("=IIQI", raw, 32)
        (size,) = struct.unpack_from("=Q", raw, 32 + 40)
        (born_s,) = struct.unpack_from("=q", raw, 32 + 64 + 16)
        assert (mask, nlink, size, born_s) == (0xFFF, 1, 700, 4321)
        assert kernel.ask(protocol.GETATTR, 12345, bytes(16)).error == errno.ENOENT
        around.publish(probed_row("A", "a.mov"))
        assert kernel.ask(protocol.GETATTR, b, bytes(16)).error == errno.ENOENT


def test_statfs_access_xattrs() -> None:
    """As the operations say."""
    with served(library().namespace) as found:
        kernel = found.kernel
        raw = kernel.ask(protocol.STATFS).body
        assert struct.unpack_from("=QQQQQIII", raw) == (4, 0, 0, 2, 0, 4096, 255, 4096)
        assert kernel.ask(protocol.ACCESS, ROOT, struct.pack("=II", os.R_OK, 0)).error == 0
        writable = kernel.ask(protocol.ACCESS, ROOT, struct.pack("=II", os.W_OK, 0))
        assert writable.error == errno.EROFS
        a = kernel.walk("One/a.mov")

        def value(name: bytes, room: int) -> tuple[int, bytes]:
            body = struct.pack("=II", room, 0) + name + b"\0"
            answer = kernel.ask(protocol.GETXATTR, a, body)
            return answer.error, answer.body

        assert value(b"user.backlot.name", 0) == (0, struct.pack("=II", 5, 0))
        assert value(b"user.backlot.name", 100) == (0, b"Title")
        assert value(b"user.backlot.name", 4)[0] == errno.ERANGE
        assert value(b"user.none", 100)[0] == errno.ENODATA
        assert value(b"security.selinux", 100)[0] == errno.ENOTSUP
        names = kernel.ask(protocol.LISTXATTR, a, struct.pack("=II", 4096, 0)).body
        assert b"user.backlot.name" in names.split(b"\0")
        assert names.endswith(b"\0")
        length = kernel.ask(protocol.LISTXATTR, a, struct.pack("=II", 0, 0)).body
        assert length == struct.pack("=II", len(names), 0)


# --- files


def test_open_read_close() -> None:
    """The bytes, and an end where the file ends."""
    with served(library().namespace) as found:
        kernel = found.kernel
        a = kernel.walk("One/a.mov")
        fh, how = kernel.open(a, flags=os.O_RDONLY)
        assert how == protocol.FOPEN_KEEP_CACHE
        assert kernel.read(fh, 3, 50) == expected_bytes(OLD.version, ByteRange(3, 53))
        assert kernel.read(fh, 990, 50) == expected_bytes(OLD.version, ByteRange(990, 1000))
        assert kernel.read(fh, 1000, 50) == b""
        assert kernel.ask(protocol.FLUSH, a, struct.pack("=QIIQ", fh, 0, 0, 0)).error == 0
        assert kernel.ask(protocol.FSYNC, a, struct.pack("=QII", fh, 0, 0)).error == 0
        kernel.close(fh, a)
        assert len(found.reading.handles) == 0
        assert kernel.ask(protocol.READ, a, read_body(fh, 0, 5)).error == errno.EBADF
        flush = kernel.ask(protocol.FLUSH, a, struct.pack("=QIIQ", fh, 0, 0, 0))
        assert flush.error == errno.EBADF


def test_open_is_refused() -> None:
    """For writing, of a folder, of what is gone, and if there is no version."""
    around = library()
    with served(around.namespace) as found:
        kernel = found.kernel
        a, b = kernel.walk("One/a.mov"), kernel.walk("One/Two/b.mov")
        for node, flags, error in (
            (a, os.O_WRONLY, errno.EROFS),
            (a, os.O_RDONLY | os.O_TRUNC, errno.EROFS),
            (ROOT, os.O_RDONLY, errno.EISDIR),
            (12345, os.O_RDONLY, errno.ENOENT),
        ):
            assert kernel.ask(protocol.OPEN, node, struct.pack("=II", flags, 0)).error == error
        around.outcome = SourceGone("x")
        assert kernel.ask(protocol.OPEN, b, struct.pack("=II", 0, 0)).error == SourceGone.errno
        assert kernel.ask(protocol.OPENDIR, a, bytes(8)).error == errno.ENOTDIR
        assert len(found.reading.handles) == 0


def test_a_program_that_wants_little_reads_past_the_page_cache() -> None:
    """The kernel reads nothing ahead for it."""
    with served(library().namespace, no_prefetch=lambda: True) as found:
        a = found.kernel.walk("One/a.mov")
        assert found.kernel.open(a)[1] == protocol.FOPEN_DIRECT_IO


def test_a_replaced_file() -> None:
    """The open node stays what it is; the name means another node, with the same inode number."""
    around = library()
    with served(around.namespace) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        old = kernel.lookup(one, "a.mov")
        fh, _ = kernel.open(old.node)
        replace(around, found)
        code, raw = kernel.note()
        assert (code, raw[16:]) == (3, b"a.mov\0")
        new = kernel.lookup(one, "a.mov")
        assert new.node != old.node
        assert (new.attributes.ino, new.attributes.size) == (old.attributes.ino, 500)
        assert kernel.getattr(old.node)[1] == old.attributes
        assert kernel.getattr(new.node)[1].size == 500
        assert kernel.read(fh, 0, 20) == expected_bytes(OLD.version, ByteRange(0, 20))
        refused = kernel.ask(protocol.OPEN, old.node, bytes(8))
        assert refused.error == errno.ESTALE
        newer, _ = kernel.open(new.node)
        assert kernel.read(newer, 0, 20) == expected_bytes(NEW.version, ByteRange(0, 20))
        kernel.close(fh, old.node)
        kernel.close(newer, new.node)
        assert kernel.ask(protocol.GETATTR, old.node, bytes(16)).error == errno.ESTALE


def test_an_open_that_finds_another_version() -> None:
    """Than the node has: the name has to be looked up again, and the new node opens."""
    around = library()
    with served(around.namespace) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        node = kernel.lookup(one, "a.mov").node
        fh, _ = kernel.open(node)
        around.learned["A"] = NEW  # before anybody was told
        assert kernel.ask(protocol.OPEN, node, bytes(8)).error == errno.ESTALE
        assert kernel.note()[0] == 3
        new = kernel.lookup(one, "a.mov").node
        assert new != node
        assert kernel.open(new)
        kernel.close(fh, node)


def test_a_replacement_during_a_lookup() -> None:
    """The answer must not give the old attributes to a node that will be opened as the new one.

    The kernel would believe the old size for an hour: a copy would end early.
    """
    around = library()
    with served(around.namespace) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        real = found.operations.attributes_now

        def replaced_meanwhile(node: object) -> object:
            attributes = real(node)  # type: ignore[arg-type]  # a folder or a row
            if around.learned["A"] is OLD and isinstance(node, tuple):
                replace(around, found)
            return attributes

        with mock.patch.object(found.operations, "attributes_now", replaced_meanwhile):
            entry = kernel.lookup(one, "a.mov")
        stale = entry.attr_s and entry.attributes.size == OLD.version.size
        opened = kernel.ask(protocol.OPEN, entry.node, bytes(8))
        assert not stale or opened.error == errno.ESTALE


def test_a_read_that_nobody_can_answer_any_more() -> None:
    """ESTALE at the read, from a source that was replaced."""
    fetch = StepFetch()
    fetch.fail_after(0, ContentChanged("replaced"))
    with served(library().namespace, ReadingStack(fetch=fetch)) as found:
        a = found.kernel.walk("One/a.mov")
        fh, _ = found.kernel.open(a)
        assert found.kernel.ask(protocol.READ, a, read_body(fh, 0, 5)).error == errno.ESTALE


# --- listings


def test_readdir() -> None:
    """Names, inode numbers and types; no references."""
    with served(library().shown(Notes(), layouts=("labels",))) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        fh, _ = kernel.open(one, protocol.OPENDIR)
        lines = kernel.list(fh, 0, 4096, plus=False)
        assert [(line.name, line.kind) for line in lines] == [
            *((".", 4), ("..", 4), ("Two", 4), ("a.mov", 8), ("note", 8)),
        ]
        assert lines[3].ino == row("A").inode
        assert [line.offset for line in lines] == [1, 2, 3, 4, 5]
        assert kernel.list(fh, 5, 4096, plus=False) == []
        kernel.close(fh, one, protocol.RELEASEDIR)
        late = kernel.ask(protocol.READDIR, one, read_body(fh, 0, 4096))
        assert late.error == errno.EBADF
        kernel.forget(one)
        wait_until(lambda: not len(found.session._nodes), "the folder to be forgotten")


def test_the_root_while_the_saved_listing_is_read() -> None:
    """It answers at once, so that the mount does; what has to be looked up waits."""
    around = library()
    with served(around.namespace) as found:
        kernel = found.kernel
        valid_s, known = kernel.getattr(protocol.ROOT_NODE)
        around.presented.expect()
        beforehand_s, beforehand = kernel.getattr(protocol.ROOT_NODE)
        assert (beforehand_s, beforehand) == (0, known._replace(nlink=1))
        around.presented.show(around.library)
        assert kernel.getattr(protocol.ROOT_NODE) == (valid_s, known)


def test_readdirplus() -> None:
    """Each entry is a look-up, without a wait; ``.`` and ``..`` are none."""
    around = library()
    with served(around.shown(Notes(), layouts=("labels",))) as found:
        kernel = found.kernel
        two = kernel.walk("One/Two")
        fh, _ = kernel.open(two, protocol.OPENDIR)
        lines = {line.name: line for line in kernel.list(fh, 0, 4096, plus=True)}
        entries = {name: line.entry for name, line in lines.items() if line.entry is not None}
        assert [entries[name].node for name in (".", "..")] == [0, 0]
        known = {name: kernel.lookup(two, name) for name in ("a.mov", "b.mov", "note")}
        assert {name: entries[name] for name in known} == known
        assert around.probes == []
        assert all(
            line.ino == known[name].attributes.ino for name, line in lines.items() if name in known
        )


def test_what_is_hidden_is_not_listed() -> None:
    """For programs that do not wait; nor what has no source."""
    rules = Rules()
    rules.kind = Treatment.HIDE
    around = library(rules=rules)
    with served(around.namespace) as found:
        kernel = found.kernel
        two = kernel.walk("One/Two")
        for plus in (False, True):
            fh, _ = kernel.open(two, protocol.OPENDIR)
            names = [line.name for line in kernel.list(fh, 0, 4096, plus=plus)]
            assert names[:3] == [".", "..", "a.mov"]
            assert "b.mov" not in names
            assert any(map(Notice.is_name, names))
        rules.kind = Treatment.WAIT
        around.hidden = {"A"}
        fh, _ = kernel.open(two, protocol.OPENDIR)
        assert [line.name for line in kernel.list(fh, 0, 4096, plus=True)][2:] == ["b.mov"]


def test_a_listed_file_whose_size_a_program_may_not_wait_for() -> None:
    """Is listed without a node, and the listing goes on."""
    rules = Rules()
    rules.kind = Treatment.FAIL
    around = library(rules=rules)
    with served(around.namespace) as found:
        kernel = found.kernel
        two = kernel.walk("One/Two")
        fh, _ = kernel.open(two, protocol.OPENDIR)
        lines = kernel.list(fh, 0, 4096, plus=True)
        assert [(line.name, bool(line.entry and line.entry.node)) for line in lines][2:] == [
            ("a.mov", True),
            ("b.mov", False),
        ]


def test_a_listing_that_begins_anew_is_a_new_one() -> None:
    """rewinddir(3)."""
    around = library()
    with served(around.namespace) as found:
        kernel = found.kernel
        two = kernel.walk("One/Two")
        fh, _ = kernel.open(two, protocol.OPENDIR)
        before = kernel.list(fh, 0, 4096, plus=False)
        around.publish(probed_row("A", "a.mov"))
        assert kernel.list(fh, len(before), 4096, plus=False) == []
        names = [line.name for line in kernel.list(fh, 0, 4096, plus=False)]
        assert names == [".", "..", "a.mov"]
        around.labels, around.members = (), {}
        around.publish()
        gone = kernel.ask(protocol.READDIR, two, read_body(fh, 0, 4096))
        assert gone.error == errno.ENOENT


def many(count: int) -> Around:
    """A flat library of so many files, with names of any length."""
    rows = [
        probed_row(f"E{number}", f"{'n' * (number * 7 % 200)}{number}") for number in range(count)
    ]
    return Around(*rows)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 40),
    plus=st.booleans(),
    sizes=st.lists(st.integers(500, 6000), min_size=1, max_size=5),
    back=st.lists(st.integers(0, 3), max_size=8),
)
def test_each_name_is_listed_once(
    count: int, plus: bool, sizes: list[int], back: list[int]
) -> None:
    """Whatever the sizes of the pieces, and though the kernel asks again for some of it."""
    around = many(count)
    with served(around.namespace) as found:
        kernel = found.kernel
        fh, _ = kernel.open(ROOT, protocol.OPENDIR)
        seen: list[Line] = []
        references: dict[int, int] = {}
        turn = 0
        while True:
            offset = seen[-1].offset if seen else 0
            piece = kernel.list(fh, offset, sizes[turn % len(sizes)], plus=plus)
            for line in piece:
                if line.entry is not None and line.entry.node:
                    references[line.entry.node] = references.get(line.entry.node, 0) + 1
            if not piece:
                break
            seen += piece
            if turn < len(back):
                seen = seen[: max(0, len(seen) - back[turn])]
            turn += 1
        names = [line.name for line in seen]
        assert names == [".", "..", *around.namespace.root.entries]
        assert sum(references.values()) >= (count if plus else 0)
        if references:
            kernel.forget_all(references)
        wait_until(lambda: not len(found.session._nodes), "all to be forgotten")


def test_a_listing_is_of_one_version_of_the_library() -> None:
    """Whatever is asked for after a piece was made ahead: other rooms, or names only."""
    around = many(40)
    with served(around.namespace) as found:
        kernel = found.kernel
        fh, _ = kernel.open(ROOT, protocol.OPENDIR)
        names = [".", "..", *around.namespace.root.entries]
        seen = [line.name for line in kernel.list(fh, 0, 2000, plus=True)]
        around.publish(*list(around.library.rows)[10:])
        found.session.notifier.listing_changed([])
        for room, plus in ((1500, True), (1500, False), (3000, True), (3000, True), (9999, True)):
            seen += [line.name for line in kernel.list(fh, len(seen), room, plus=plus)]
        assert seen == names[: len(seen)]
        seen += [line.name for line in kernel.list(fh, len(seen), 50_000, plus=True)]
        assert seen == names


class Failing(Notes):
    """A provider whose listing fails in its middle."""

    def entries(
        self, folder: Folder, lines: Iterator[Listed], namespace: Namespace
    ) -> Iterator[Listed]:
        """Thirty of them."""
        yield from islice(lines, 30)
        raise RuntimeError("a mistake")


def test_a_listing_that_fails_in_a_piece_made_ahead() -> None:
    """The request for that piece fails, once; the one before it is answered once, too."""
    around = many(60)
    with served(around.shown(Failing())) as found:
        kernel = found.kernel
        fh, _ = kernel.open(ROOT, protocol.OPENDIR)
        room, seen = 2500, 0
        while lines := kernel.ask(protocol.READDIRPLUS, ROOT, read_body(fh, seen, room)).body:
            seen += len(lines_of(lines, plus=True))
        assert 0 < seen < 30
        assert kernel.lookup(ROOT, "0").node
        assert kernel.unanswered() == []


@settings(max_examples=40, deadline=None)
@given(
    room=st.integers(700, 4000),
    replaced=st.lists(st.lists(st.integers(0, 39), max_size=3), max_size=40),
    pieces=st.integers(1, 40),
)
def test_a_listing_shows_what_each_file_is_now(
    room: int, replaced: list[list[int]], pieces: int
) -> None:
    """Though its next piece is made ahead: files are replaced between any two pieces of it.

    A listing that is not read to its end gives its references back, too.
    """
    around = many(40)
    rows = {row.name: row for row in around.library.rows}
    sizes = {row.embed_code: row.size for row in rows.values()}
    with served(around.namespace) as found:
        kernel, notifier = found.kernel, found.session.notifier
        fh, _ = kernel.open(ROOT, protocol.OPENDIR)
        references: Counter[int] = Counter()
        offset = 0
        for turn in range(pieces):
            for number in replaced[turn] if turn < len(replaced) else []:
                code = f"E{number}"
                before = source_version(code, sizes[code], etag=f'"{sizes[code]}"')
                sizes[code] += 1
                now = source_version(code, sizes[code], etag=f'"{sizes[code]}"')
                notifier.retire(code, ProbedSource(before, 0, verified=True))
                around.learned[code] = ProbedSource(now, 0, verified=True)
                notifier.attributes_changed([code])
            lines = kernel.list(fh, offset, room, plus=True)
            for line in lines[max(0, 2 - offset) :]:
                assert line.entry is not None
                references[line.entry.node] += 1
                size = sizes[rows[line.name].embed_code]
                assert line.entry.attributes.size == size
                assert kernel.getattr(line.entry.node)[1].size == size
            offset += len(lines)
        kernel.close(fh, ROOT, protocol.RELEASEDIR)
        if references:
            kernel.forget_all(references)
        wait_until(lambda: not len(found.session._nodes), "all to be forgotten")


# --- what is refused

ANSWERED = sorted(
    {
        protocol.LOOKUP, protocol.GETATTR, protocol.STATX, protocol.OPEN, protocol.READ,
        protocol.FLUSH, protocol.RELEASE, protocol.FSYNC, protocol.OPENDIR, protocol.READDIR,
        protocol.READDIRPLUS, protocol.RELEASEDIR, protocol.FSYNCDIR, protocol.STATFS,
        protocol.ACCESS, protocol.GETXATTR, protocol.LISTXATTR, protocol.DESTROY,
    }
)  # fmt: skip
SILENT = (protocol.FORGET, protocol.BATCH_FORGET, protocol.INTERRUPT, protocol.NOTIFY_REPLY)


def test_what_is_not_served() -> None:
    """Changes are EROFS; the rest is what programs and the kernel know how to do without."""
    with served(library().namespace) as found:
        served_ones = {*ANSWERED, *SILENT, protocol.INIT}
        for opcode in (*range(1, 70), 4096, 2**32 - 1):
            if opcode in served_ones:
                continue
            expected = errno.ENOSYS
            if opcode in protocol.WRITING:
                expected = errno.EROFS
            elif opcode == protocol.READLINK:
                expected = errno.EINVAL
            elif opcode == protocol.IOCTL:
                expected = errno.ENOTTY
            assert found.kernel.ask(opcode, ROOT, bytes(64)).error == expected, opcode
        for lacking in (46, 47):  # LSEEK, COPY_FILE_RANGE
            assert found.kernel.ask(lacking, ROOT, bytes(64)).error == errno.ENOSYS


@pytest.mark.parametrize("length", [0, 3, 7, 8, 12, 23])
def test_malformed_requests(length: int) -> None:
    """Each gets one answer, and the session goes on."""
    with served(library().namespace) as found:
        kernel = found.kernel
        for opcode in SILENT:
            kernel.send(opcode, ROOT, b"\xff" * length)
        for opcode in ANSWERED:
            kernel.ask(opcode, ROOT, b"\xff" * length)
        assert kernel.lookup(ROOT, "One").node
        assert kernel.unanswered() == []


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (protocol.LOOKUP, b"One"),
        (protocol.GETATTR, b""),
        (protocol.OPEN, b""),
        (protocol.READ, struct.pack("=QQ", 1, 0)),
        (protocol.READDIR, struct.pack("=QQ", 1, 0)),
        (protocol.READDIRPLUS, struct.pack("=QQ", 1, 0)),
        (protocol.RELEASE, b""),
        (protocol.GETXATTR, struct.pack("=II", 100, 0) + b"user.a"),
        (protocol.LISTXATTR, b""),
        (protocol.ACCESS, b""),
    ],
)
def test_a_request_that_is_cut_off(opcode: int, body: bytes) -> None:
    """Is refused, and not completed with what an earlier request left in the buffer."""
    with served(library().namespace) as found:
        kernel = found.kernel
        for _ in range(10):  # fill the buffers of all threads
            kernel.ask(protocol.LOOKUP, ROOT, b"y" * 200 + b"\0")
        assert kernel.ask(opcode, ROOT, body).error == errno.EINVAL


@settings(max_examples=40, deadline=None)
@given(
    requests=st.lists(
        st.tuples(
            st.sampled_from((*ANSWERED, *protocol.WRITING, 46, 47, 99)),
            st.sampled_from((0, ROOT, 5, 2**64 - 1)),
            st.binary(max_size=80),
        ),
        max_size=12,
    )
)
def test_any_requests_get_one_answer_each(requests: list[tuple[int, int, bytes]]) -> None:
    """Whatever they hold."""
    with served(library().namespace) as found:
        kernel = found.kernel
        uniques = [kernel.send(opcode, node, body) for opcode, node, body in requests]
        for unique in uniques:
            kernel.answer(unique)
        assert kernel.lookup(ROOT, "One").node
        assert kernel.unanswered() == []


def test_a_message_without_a_header() -> None:
    """Nobody can be answered; the session goes on."""
    with served(library().namespace) as found:
        found.kernel.end.send(b"\0" * 7)
        assert found.kernel.lookup(ROOT, "One").node


# --- interrupts


def interrupt(kernel: Kernel, unique: int) -> None:
    """The caller of a request was killed."""
    kernel.send(protocol.INTERRUPT, 0, struct.pack("=Q", unique))


def test_an_interrupt_ends_a_wait() -> None:
    """Of the process that was killed, and of no other."""
    around = library()
    around.outcome = None
    with served(around.namespace) as found:
        kernel = found.kernel
        b = kernel.walk("One/Two/b.mov")
        first, second = (kernel.send(protocol.GETATTR, b, bytes(16)) for _ in range(2))
        wait_until(lambda: around.probes == ["B", "B"], "both to wait")
        interrupt(kernel, first)
        assert kernel.answer(first).error == errno.EINTR
        assert kernel.lookup(ROOT, "One").node, "others are served"
        interrupt(kernel, second)
        assert kernel.answer(second).error == errno.EINTR


def test_an_interrupt_that_comes_before_its_request() -> None:
    """Another thread may have the request in its hands."""
    around = library()
    around.outcome = None
    with served(around.namespace) as found:
        kernel = found.kernel
        b = kernel.walk("One/Two/b.mov")
        coming = kernel.send(protocol.STATFS) + 4  # the interrupt itself takes a number
        interrupt(kernel, coming)
        wait_until(lambda: coming in found.session._early, "the interrupt to be kept")
        assert kernel.send(protocol.GETATTR, b, bytes(16)) == coming
        assert kernel.answer(coming).error == errno.EINTR


def test_an_interrupt_that_comes_too_late() -> None:
    """Is nothing; many of them are not kept."""
    with served(library().namespace) as found:
        kernel = found.kernel
        answered = kernel.send(protocol.STATFS)
        kernel.answer(answered)
        for number in range(600):
            interrupt(kernel, answered + 10_000 + number)
        interrupt(kernel, answered)
        assert kernel.lookup(ROOT, "One").node
        wait_until(lambda: answered in found.session._early, "the last one to be kept")
        assert len(found.session._early) <= 256


def test_an_interrupted_read() -> None:
    """Ends at once, while its bytes are on the way."""
    around = library()
    around.outcome = None
    with served(around.namespace) as found:
        assert found.session.caller() == 0
        kernel = found.kernel
        b = kernel.walk("One/Two/b.mov")
        unique = kernel.send(protocol.OPEN, b, bytes(8), pid=4711)
        wait_until(lambda: around.probes == ["B"], "the open to wait")
        interrupt(kernel, unique)
        assert kernel.answer(unique).error == errno.EINTR


def test_the_end_of_the_mount_ends_every_wait() -> None:
    """Whoever waits for a stalled host."""
    around = library()
    around.outcome = None
    with served(around.namespace) as found:
        kernel = found.kernel
        b = kernel.walk("One/Two/b.mov")
        waiting = [kernel.send(protocol.GETATTR, b, bytes(16)) for _ in range(20)]
        wait_until(lambda: len(around.probes) == 20, "all to wait")
        found.session.end()
        assert {kernel.answer(unique).error for unique in waiting} == {errno.EINTR}


def test_many_waits_leave_a_thread_to_receive() -> None:
    """More than the threads that receive while nothing waits; they end again."""
    around = library()
    around.outcome = None
    with served(around.namespace) as found:
        kernel = found.kernel
        b = kernel.walk("One/Two/b.mov")
        waiting = [kernel.send(protocol.GETATTR, b, bytes(16)) for _ in range(50)]
        wait_until(lambda: len(around.probes) == 50, "all to wait")
        assert kernel.lookup(ROOT, "One").node
        for unique in waiting:
            interrupt(kernel, unique)
        for unique in waiting:
            assert kernel.answer(unique).error == errno.EINTR
        assert kernel.lookup(ROOT, "One").node
        wait_until(lambda: len(found.session._threads) <= 4, "the threads to end")


# --- answers that the kernel does not take


def test_a_lookup_that_nobody_takes_gives_its_reference_back() -> None:
    """The caller was killed: the kernel does not know the node."""
    with served(library().shown(Notes(), layouts=("labels",))) as found:
        kernel, nodes = found.kernel, found.session._nodes
        one = kernel.walk("One")
        fh, _ = kernel.open(one, protocol.OPENDIR)
        with mock.patch.object(nodes, "forget", wraps=nodes.forget) as forget:
            kernel.end.shutdown(socket.SHUT_RD)  # what is written to us is refused
            kernel.send(protocol.LOOKUP, one, b"a.mov\0")
            wait_until(lambda: forget.call_count == 1, "the reference to come back")
            kernel.send(protocol.READDIRPLUS, one, read_body(fh, 0, 4096))
            wait_until(lambda: forget.call_count == 4, "the references to come back")
            wait_until(lambda: len(nodes) == 1, "the last of these calls to end")


def test_an_open_that_nobody_takes_is_closed() -> None:
    """Of files and of folders."""
    with served(library().namespace) as found:
        kernel = found.kernel
        a = kernel.walk("One/a.mov")
        with mock.patch.object(
            found.reading.reader, "release", wraps=found.reading.reader.release
        ) as release:
            kernel.end.shutdown(socket.SHUT_RD)
            kernel.send(protocol.OPEN, a, bytes(8))
            wait_until(lambda: release.call_count == 1, "the handle to be closed")
            wait_until(lambda: not len(found.reading.handles), "this call to end")
        kernel.send(protocol.OPENDIR, ROOT, bytes(8))
        wait_until(
            lambda: found.session._next_folder > 1 and not found.session._folders,
            "the folder to be closed",
        )
