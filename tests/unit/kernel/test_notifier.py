# SPDX-License-Identifier: Apache-2.0
"""What the kernel is told when the library changes, by a device that takes notes."""

# the signatures are those of what is stood in for

from __future__ import annotations

import errno
import gc
import os
import struct
import threading
from collections.abc import Iterator
from unittest import mock

import pytest

from backlotfs.api.records import Label
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.versions import ProbedSource
from backlotfs.kernel import notifier as notifier_module
from backlotfs.kernel.nodes import NodeTable
from backlotfs.kernel.notifier import Notifier
from backlotfs.kernel.protocol import Device
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.tree import ROOT_INODE, Entry, Folder
from tests.fakes.records import probed_row, row, source_version
from tests.fakes.workers import PATIENCE_S
from tests.support.deadlines import wait_until
from tests.unit.namespace.around import Around

ONE, TWO = Label("1", "One", "/One", None), Label("2", "Two", "/Two", None)
A, B = probed_row("A", "a.mov"), probed_row("B", "b.mov")
OLD = ProbedSource(source_version("A"), 1, verified=True)


class Noted(Device):
    """Takes down what is sent; ``refusal`` is raised for each.

    :ivar told: ``name``, ``expire``, ``attributes`` or ``epoch``, with node and name.
    """

    __slots__ = ("hold", "refusal", "sending", "told")

    def __init__(self) -> None:
        super().__init__(-1)
        self.told: list[tuple[object, ...]] = []
        self.refusal: int | None = None
        self.hold: threading.Event | None = None
        self.sending = threading.Event()

    def notify(self, message: bytes) -> None:
        """One message, as <linux/fuse.h> lays it out."""
        self.sending.set()
        if self.hold is not None:
            assert self.hold.wait(PATIENCE_S)
        length, code, unique = struct.unpack_from("=IiQ", message)
        assert (length, unique) == (len(message), 0)
        if code == 2:
            node, offset, size = struct.unpack_from("=Qqq", message, 16)
            assert (offset, size) == (-1, 0), "pages are never taken back"
            self.told.append(("attributes", node))
        elif code == 3:
            parent, length, flags = struct.unpack_from("=QII", message, 16)
            name = message[32:-1]
            assert (len(name), message[-1]) == (length, 0)
            self.told.append(("expire" if flags else "name", parent, name.decode()))
        else:
            assert code == 8
            self.told.append(("epoch",))
        if self.refusal is not None:
            raise OSError(self.refusal, os.strerror(self.refusal))


class Told:
    """A notifier of a library whose kernel knows everything in it."""

    def __init__(self, around: Around, *, expires: bool = True, epochs: bool = True) -> None:
        self.around = around
        self.namespace = around.namespace
        self.device = Noted()
        self.notifier = Notifier()
        self.nodes = NodeTable(self.namespace)
        self.know_all()
        self.notifier.attach(
            self.namespace, self.nodes, self.device, expires=expires, epochs=epochs
        )
        # it compares with what was shown when it began
        self.settle()
        self.device.told.clear()

    def know_all(self) -> None:
        """The kernel has looked up every file."""
        for place in self.namespace.snapshot().places.values():
            names = [
                *(Entry(name, below.inode, True, True) for name, below in place.folder.folders()),
                *(Entry(name, inode, False, True) for name, inode in place.folder.files()),
            ]
            self.nodes.refer(place.folder.inode, names)

    def settle(self) -> None:
        """Wait until all that was asked for is sent."""
        done = threading.Event()
        real = self.around.row

        def row_of(embed_code: str) -> AssetRow | None:
            if embed_code == "settled?":
                done.set()
            return real(embed_code)

        with mock.patch.object(self.around, "row", row_of):
            for _ in range(2):  # the first may have come with others
                done.clear()
                self.notifier.attributes_changed(["settled?"])
                assert done.wait(PATIENCE_S)

    def publish(self, *rows: AssetRow, touched: tuple[str, ...] = ()) -> None:
        """Another version of the library."""
        self.around.publish(*rows)
        self.notifier.listing_changed(touched)

    def told(self, what: str | None = None) -> list[tuple[object, ...]]:
        """What was sent, or that of one kind."""
        self.settle()
        return [line for line in self.device.told if what is None or line[0] == what]

    def folder(self, path: str) -> int:
        """The node of a folder."""
        found = self.namespace.find(path)
        assert isinstance(found, Folder)
        return found.inode


def flat(**more: bool) -> Told:
    """Two files in the root."""
    return Told(Around(A, B), **more)


def labelled(*, members: dict[str, list[str]] | None = None, **more: bool) -> Told:
    """``/One/a.mov``, ``/Two/b.mov``."""
    around = Around(
        A,
        B,
        labels=(ONE, TWO),
        members=members or {"1": ["A"], "2": ["B"]},
        layouts=("labels",),
    )
    return Told(around, **more)


@pytest.fixture(autouse=True)
def end_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Detach every notifier of a test."""
    made: list[Notifier] = []
    real = Notifier.attach

    def attach(notifier: Notifier, *args: object, **more: bool) -> None:
        made.append(notifier)
        real(notifier, *args, **more)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr(Notifier, "attach", attach)
    yield
    for notifier in made:
        notifier.detach()


def test_uploads_and_deletions() -> None:
    """The name, whose absence may be remembered, or which is gone; and the folder's time."""
    told = flat()
    told.publish(A, B, probed_row("C", "c.mov", size=5)._replace(created_at_s=9999))
    assert ("name", ROOT_INODE, "c.mov") in told.told()
    assert ("attributes", ROOT_INODE) in told.told()
    told.device.told.clear()
    told.publish(A)
    assert set(told.told("name")) == {
        ("name", ROOT_INODE, "b.mov"),
        ("name", ROOT_INODE, "c.mov"),
    }


def test_a_new_name() -> None:
    """Both the old and the new one; not those of other files."""
    told = flat()
    told.publish(A._replace(name="z.mov"), B, touched=("A",))
    assert set(told.told("name")) == {
        ("name", ROOT_INODE, "a.mov"),
        ("name", ROOT_INODE, "z.mov"),
    }
    assert ("attributes", A.inode) in told.told()


def test_a_name_that_means_another_file() -> None:
    """Once."""
    told = flat()
    told.publish(probed_row("C", "a.mov"), B)
    assert told.told("name") == [("name", ROOT_INODE, "a.mov")]


def test_nothing_new() -> None:
    """No message."""
    told = flat()
    told.publish(A, B)
    assert told.told() == []


def test_a_replaced_source() -> None:
    """Every name of it, after the node is retired; never the pages of the old node."""
    told = labelled(members={"1": ["A"], "2": ["A", "B"]})
    told.notifier.retire("A", OLD)
    assert told.nodes.node_of(A) is None
    told.notifier.attributes_changed(["A"])
    assert set(told.told()) == {
        ("name", told.folder("/One"), "a.mov"),
        ("name", told.folder("/Two"), "a.mov"),
    }
    told.device.told.clear()
    told.notifier.names_changed("B")
    assert told.told("name") == [("name", told.folder("/Two"), "b.mov")]


def test_what_the_kernel_does_not_know() -> None:
    """Nothing is sent for a source that was never looked up."""
    told = flat()
    told.nodes.forget(A.inode, 1)
    told.notifier.retire("A", OLD)
    told.notifier.attributes_changed(["A", "none"])
    assert told.told() == []


def test_attributes() -> None:
    """Of files that were touched."""
    told = flat()
    told.notifier.attributes_changed(["B"])
    assert told.told() == [("attributes", B.inode)]


def test_a_file_that_moves_to_another_folder() -> None:
    """Its name in both."""
    told = labelled()
    told.around.members = {"1": [], "2": ["A", "B"]}
    told.publish(A, B)
    assert set(told.told("name")) == {
        ("name", told.folder("/One"), "a.mov"),
        ("name", told.folder("/Two"), "a.mov"),
    }


def test_folders_only_expire() -> None:
    """To invalidate one would break a shell in it, and unmount what is mounted below it."""
    told = labelled()
    told.around.labels = (Label("1", "First", "/First", None), TWO, Label("3", "New", "/New", None))
    told.publish(A, B)
    assert set(told.told("expire")) == {
        ("expire", ROOT_INODE, "One"),
        ("expire", ROOT_INODE, "First"),
        ("expire", ROOT_INODE, "New"),
    }
    assert told.told("name") == []


def test_a_kernel_that_cannot_expire() -> None:
    """Has short memories of folders instead: nothing is sent of them."""
    told = labelled(expires=False)
    told.around.labels = (ONE,)
    told.around.members = {"1": ["A", "B"]}
    told.publish(A, B)
    assert told.told("expire") == []
    assert ("name", told.folder("/One"), "b.mov") in told.told()


def test_a_file_in_the_place_of_a_folder() -> None:
    """Expires too: the kernel may have the folder in use."""
    told = labelled()
    told.around.labels = (TWO,)
    told.around.members = {"2": ["A", "B"]}
    told.publish(A, B)
    assert ("expire", ROOT_INODE, "One") in told.told()


def test_a_folder_that_went_and_came_back() -> None:
    """The kernel may still have its names, and their absence, from before: they are told."""
    told = labelled()
    one = told.folder("/One")
    told.around.labels, told.around.members = (TWO,), {"2": ["B"]}
    told.publish(A, B)
    told.settle()
    told.around.labels, told.around.members = (ONE, TWO), {"1": ["B"], "2": ["B"]}
    told.publish(A, B)
    # a.mov is not in it any more, b.mov may be remembered as absent
    assert {("name", one, "a.mov"), ("name", one, "b.mov")} <= set(told.told("name"))


def test_a_folder_that_is_gone_is_forgotten_when_the_kernel_has_forgotten_it() -> None:
    """Else labels that come and go, each with all its files, would fill the memory."""
    told = labelled()
    one = told.folder("/One")

    def kept() -> int:
        gc.collect()
        return sum(isinstance(found, Folder) and found.inode == one for found in gc.get_objects())

    told.around.labels, told.around.members = (TWO,), {"2": ["B"]}
    told.publish(A, B)
    told.settle()
    assert kept() == 1
    told.nodes.forget(one, 1)
    told.publish(B)
    told.settle()
    assert kept() == 0


def test_two_listings_while_the_kernel_is_slow() -> None:
    """What went and came back was absent for a while, and the kernel may have seen that."""
    told = flat()
    told.device.hold = threading.Event()
    told.device.sending.clear()
    told.notifier.attributes_changed(["A"])
    assert told.device.sending.wait(PATIENCE_S)
    told.publish(A)
    told.namespace.snapshot()  # somebody looks, and finds no b.mov
    told.publish(A, B)
    told.device.hold.set()
    assert ("name", ROOT_INODE, "b.mov") in told.told()


@pytest.mark.parametrize("epochs", [True, False])
def test_many_names(epochs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message for all where the kernel has it, else each by itself."""
    monkeypatch.setattr(notifier_module, "MOST_NAMES", 10)
    told = flat(epochs=epochs)
    told.publish(A, B, *(probed_row(f"N{number}", f"{number}.mov") for number in range(11)))
    if epochs:
        assert told.told("epoch") == [("epoch",)]
        assert told.told("name") == []
    else:
        assert told.told("epoch") == []
        assert len(told.told("name")) == 11
    told.device.told.clear()
    told.publish(A, B)
    told.publish(A, B, row("C", "c.mov"))
    assert told.told("epoch" if epochs else "name")


@pytest.mark.parametrize(
    "number", [errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EBUSY, errno.EINVAL]
)
def test_refused_notifications(number: int, caplog: pytest.LogCaptureFixture) -> None:
    """What the kernel has not cached is no error; any other is logged. The thread goes on."""
    told = flat()
    told.device.refusal = number
    told.publish(A)
    told.settle()
    told.device.refusal = None
    told.publish(A, B)
    assert told.told("name").count(("name", ROOT_INODE, "b.mov")) == 2
    assert bool(caplog.records) is (number == errno.EINVAL)


@pytest.mark.parametrize("number", [errno.ENODEV, errno.EBADF])
def test_the_end_of_the_mount_ends_it(number: int) -> None:
    """Nothing more is sent."""
    told = flat()
    threads = [thread for thread in threading.enumerate() if thread.name == "notifier"]
    told.device.refusal = number
    told.publish(A)
    wait_until(lambda: any(not thread.is_alive() for thread in threads), "the thread to have ended")


def test_before_attach_and_after_detach() -> None:
    """Calls are nothing."""
    notifier = Notifier()
    for _ in range(2):
        notifier.retire("A", OLD)
        notifier.names_changed("A")
        notifier.attributes_changed(["A"])
        notifier.listing_changed(["A"])
        notifier.detach()
    told = flat()
    told.notifier.detach()
    told.publish(A)
    told.notifier.names_changed("A")
    assert told.device.told == []


def test_nothing_is_sent_once_detach_has_returned() -> None:
    """The descriptor is closed then, and its number may belong to another file."""
    told = flat()
    told.device.hold = threading.Event()
    told.device.sending.clear()
    told.publish()  # two names go
    assert told.device.sending.wait(PATIENCE_S)
    returned = threading.Event()

    def detach() -> None:
        told.notifier.detach()
        returned.set()

    detaching = threading.Thread(target=detach, daemon=True)
    detaching.start()
    at_once = returned.wait(0.5)
    told.device.sending.clear()
    told.device.hold.set()
    assert returned.wait(PATIENCE_S)
    if at_once:
        assert not told.device.sending.wait(1.0), "sent after detach has returned"


def test_a_mistake_of_ours_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next change is told."""
    told = flat()

    def fail(_namespace: Namespace, _code: str) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as mistaken:
        mistaken.setattr(Namespace, "row", fail)
        told.notifier.attributes_changed(["A"])
        wait_until(lambda: "ZeroDivisionError" in caplog.text, "the log to say so")
    told.notifier.attributes_changed(["B"])
    assert ("attributes", B.inode) in told.told()
