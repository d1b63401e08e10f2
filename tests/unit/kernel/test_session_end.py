# SPDX-License-Identifier: Apache-2.0
"""What happens at a bad moment: the end of a session, an interrupt, a replacement, a mistake."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from unittest import mock

import pytest

from backlotfs.catalog.db.rows import AssetRow
from backlotfs.errors import RemoteUnavailable
from backlotfs.kernel import protocol
from backlotfs.kernel.operations import Operations
from backlotfs.kernel.read_requests import ReadRequests
from backlotfs.namespace.attributes import Attributes, file_attributes
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.tree import Entry, Folder, Node
from tests.fakes.workers import HeldWorkers
from tests.support.deadlines import wait_until
from tests.unit.kernel.kernel_end import lines_of, read_body, served
from tests.unit.kernel.test_session import NEW, Sometimes, library
from tests.unit.namespace.around import Note, Notes
from tests.unit.open_files.stack import ReadingStack


def _is_at(descriptor: int, path: str) -> bool:
    return os.readlink(f"/proc/self/fd/{descriptor}") == path


def test_nothing_is_written_after_the_end() -> None:
    """The number of the descriptor may belong to another file then, such as the catalog.

    A read holds no thread, so it may get its bytes after the mount is gone.
    """
    held = HeldWorkers()
    with served(library().namespace, ReadingStack(workers=held)) as found:
        kernel = found.kernel
        a = kernel.walk("One/a.mov")
        fh, _ = kernel.open(a)
        kernel.send(protocol.READ, a, read_body(fh, 0, 5))
        wait_until(lambda: len(found.session.waiting_reads()) == 1, "the read to wait")
        number = found.session._device.descriptor
        kernel.end.close()
        wait_until(lambda: _is_at(number, os.devnull), "the session to end")
        held.run_all()
        assert _is_at(number, os.devnull)
        assert found.session.waiting_reads() == []
    os.close(number)


def test_an_interrupt_while_its_request_begins() -> None:
    """It is not lost: a killed program would not end before the time limit of its wait."""
    around = library()
    around.outcome = None
    with served(around.namespace) as found:
        kernel = found.kernel
        b = kernel.walk("One/Two/b.mov")
        coming = kernel.send(protocol.STATFS) + 4  # the interrupt itself takes a number
        kernel.answer(coming - 4)
        real = ReadRequests.interrupt

        def begin_meanwhile(reads: ReadRequests, unique: int) -> bool:
            assert kernel.send(protocol.GETATTR, b, bytes(16)) == unique == coming
            wait_until(lambda: around.probes == ["B"], "the request to begin")
            return real(reads, unique)

        with mock.patch.object(ReadRequests, "interrupt", begin_meanwhile):
            kernel.send(protocol.INTERRUPT, 0, struct.pack("=Q", coming))
            assert kernel.answer(coming).error == errno.EINTR


@pytest.mark.parametrize("plus", [False, True])
def test_a_replacement_while_names_are_answered(plus: bool) -> None:
    """A node never gets the attributes of another version.

    The kernel would cut off the pages of who has the previous version open or mapped.
    """
    around = library()
    with served(around.namespace) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        old = kernel.lookup(one, "a.mov")
        kernel.open(old.node)
        folder, _ = kernel.open(one, protocol.OPENDIR)
        real, left = Operations.attributes_now, [NEW]

        def replaced_meanwhile(operations: Operations, node: Node) -> Attributes:
            if left and isinstance(node, AssetRow):
                found.session.notifier.retire("A", around.learned["A"])
                around.learned["A"] = left.pop(0)
            return real(operations, node)

        with mock.patch.object(Operations, "attributes_now", replaced_meanwhile):
            if plus:
                lines = kernel.list(folder, 0, 4096, plus=True)
                entry = next(line.entry for line in lines if line.name == "a.mov")
            else:
                entry = kernel.lookup(one, "a.mov")
        assert not left
        assert entry is not None
        if entry.node == old.node:
            assert entry.attributes == old.attributes
        assert kernel.getattr(old.node)[1] == old.attributes
        now = kernel.lookup(one, "a.mov")
        assert now.node != old.node
        assert now.attributes.size == around.learned["A"].version.size


@pytest.mark.parametrize("opcode", [protocol.LOOKUP, protocol.READDIRPLUS])
def test_a_mistake_of_ours_gives_the_references_back(
    opcode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel gets an error, and so does not know the node."""
    with served(library().namespace) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        folder, _ = kernel.open(one, protocol.OPENDIR)
        body = b"a.mov\0" if opcode == protocol.LOOKUP else read_body(folder, 0, 4096)
        with mock.patch.object(Operations, "attributes_now", side_effect=ZeroDivisionError):
            assert kernel.ask(opcode, one, body).error == errno.EIO
        assert "ZeroDivisionError" in caplog.text
        assert len(found.session._nodes) == 1


def test_a_virtual_file_that_is_open_keeps_its_size() -> None:
    """Else a listing would cut off the pages of a program that has it mapped (SIGBUS)."""
    with served(library().shown(Notes(), layouts=("labels",))) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        note = kernel.lookup(one, "note").node
        fh, _ = kernel.open(note)
        folder, _ = kernel.open(one, protocol.OPENDIR)
        assert kernel.lookup(one, "note").attributes.size == 3
        lines = kernel.list(folder, 0, 4096, plus=True)
        entry = next(line.entry for line in lines if line.name == "note")
        assert entry is not None
        assert not entry.node or entry.attributes.size == 3
        kernel.close(fh, note)


def test_a_virtual_file_that_changes_while_it_is_open() -> None:
    """The open node stays what it is, even when its file is gone; a new look-up gives another."""
    provider = Sometimes()
    with served(library().shown(provider, layouts=("labels",))) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        old = kernel.lookup(one, "note").node
        fh, _ = kernel.open(old)
        before = kernel.getattr(old)
        assert kernel.lookup(one, "note").node == old
        with (
            mock.patch.object(Note, "content", return_value=b"longer"),
            mock.patch.object(
                Note, "attributes", return_value=file_attributes(99, 6, mtime_s=8, umask=0)
            ),
        ):
            assert kernel.ask(protocol.OPEN, old, bytes(8)).error == errno.ESTALE
            new = kernel.lookup(one, "note")
            assert new.node != old
            newer, _ = kernel.open(new.node)
            assert kernel.getattr(new.node)[1].size == 6
            assert kernel.getattr(new.node)[1].ino == before[1].ino
            assert kernel.read(newer, 0, 10) == b"longer"
            provider.there = False
            assert kernel.getattr(new.node)[1].size == 6
            assert kernel.getattr(old) == before
            assert kernel.read(fh, 0, 10) == b"abc"
            kernel.close(newer, new.node)
            kernel.close(fh, old)
        assert kernel.ask(protocol.GETATTR, old, bytes(16)).error == errno.ESTALE
        assert kernel.ask(protocol.GETATTR, new.node, bytes(16)).error == errno.ENOENT


class FailsOnce(Notes):
    """A provider that fails in the middle of its first listing."""

    failed = False

    def entries(
        self, folder: Folder, lines: Iterator[Entry], namespace: Namespace
    ) -> Iterator[Entry]:
        """All lines of the folder but the last, then an error; later everything."""
        for line in super().entries(folder, lines, namespace):
            if line.name == "note" and not self.failed:
                self.failed = True
                raise RemoteUnavailable("the catalog is busy")
            yield line


@pytest.mark.parametrize(("plus", "size"), [(False, 4096), (False, 32), (True, 4096), (True, 160)])
def test_a_listing_that_failed_does_not_end_early(plus: bool, size: int) -> None:
    """A program that reads on would take what it has for all there is."""
    around = library()
    with served(around.shown(FailsOnce(), layouts=("labels",))) as found:
        kernel = found.kernel
        one = kernel.walk("One")
        folder, _ = kernel.open(one, protocol.OPENDIR)
        opcode = protocol.READDIRPLUS if plus else protocol.READDIR
        seen: list[str] = []
        failures = 0
        while failures < 3:
            answer = kernel.ask(opcode, one, read_body(folder, len(seen), size))
            failures += bool(answer.error)
            if not answer.error and not answer.body:
                break
            seen += [line.name for line in lines_of(answer.body, plus=plus)]
        assert failures == 3 or seen == [".", "..", "Two", "a.mov", "note"]
