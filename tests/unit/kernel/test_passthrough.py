# SPDX-License-Identifier: Apache-2.0
"""Which opens are passed through, against a kernel that is stood in for."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from backlotfs.kernel.passthrough import NO_DISK, NOT_ALLOWED, OFF, OLD_KERNEL, STACKED, Passthrough
from backlotfs.kernel.protocol import Device
from tests.fakes.records import source_version
from tests.fakes.workers import PATIENCE_S
from tests.support.open_files import open_files

A = source_version("A", 700)
B = source_version("B", 700)


class Kernel:
    """Registers backing files under ids, as ``/dev/fuse`` does.

    :ivar registered: the ids that are registered now.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registered: list[int] = []
        self.opens = 0
        self.refusal = 0
        monkeypatch.setattr(fcntl, "ioctl", self._ioctl)

    def _ioctl(self, _device: int, request: int, argument: bytearray, _mutate: bool) -> int:
        if self.refusal:
            raise OSError(self.refusal, os.strerror(self.refusal))
        if request & 0xFF == 2:
            self.registered.remove(struct.unpack("=I", argument)[0])
            return 0
        file, flags, padding = struct.unpack("=iIQ", argument)
        assert os.fstat(file).st_size == 700
        assert (flags, padding) == (0, 0)
        self.opens += 1
        self.registered.append(self.opens)
        return self.opens


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A new one."""
    return Kernel(monkeypatch)


@pytest.fixture
def complete(tmp_path: Path) -> Callable[[str, str], int]:
    """Opens a complete file of 700 bytes for each version."""
    file = tmp_path / "complete"
    file.write_bytes(bytes(700))
    return lambda _code, _validator: os.open(file, os.O_RDONLY)


def begun(open_complete: Callable[[str, str], int | None] | None, off: str = "") -> Passthrough:
    """One whose session has begun."""
    passthrough = Passthrough(open_complete, off)
    passthrough.begin(Device(-1), offered=True)
    return passthrough


def test_open_files_of_a_node_share_its_backing_file(
    kernel: Kernel, complete: Callable[[str, str], int]
) -> None:
    """Until the last is closed; the next open registers it again."""
    passthrough, before = begun(complete), open_files()
    assert [passthrough.opened(5, A), passthrough.opened(5, A), passthrough.opened(6, B)] == [
        1, 1, 2,
    ]  # fmt: skip
    assert passthrough.state() == ("", 3, 2)
    assert passthrough.is_used(A)
    assert not passthrough.is_used(source_version("A", 700, etag='"v2"'))
    passthrough.closed(5)
    assert kernel.registered == [1, 2]
    passthrough.closed(5)
    assert kernel.registered == [2]
    assert passthrough.opened(5, A) == 3
    for node in (5, 6, 7):
        passthrough.closed(node)
    assert kernel.registered == []
    assert passthrough.state() == ("", 4, 0)
    assert not passthrough.is_used(A)
    assert open_files() <= before


def test_a_node_stays_as_it_was_decided(
    kernel: Kernel, complete: Callable[[str, str], int]
) -> None:
    """A version that is complete only later is read through the mount until the last release."""
    there = False
    passthrough = begun(lambda code, validator: complete(code, validator) if there else None)
    assert passthrough.opened(5, A) == 0
    there = True
    assert passthrough.opened(5, A) == 0
    assert not passthrough.is_used(A)
    passthrough.closed(5)
    assert passthrough.opened(5, A) == 0
    passthrough.closed(5)
    passthrough.closed(5)
    assert passthrough.opened(5, A) == 1
    assert kernel.registered == [1]


def test_a_slow_disk_holds_up_only_its_own_node(
    kernel: Kernel, complete: Callable[[str, str], int]
) -> None:
    """Other files are opened and closed, and ``status`` answers; all opens of the node agree."""
    asked, go_on = threading.Event(), threading.Event()

    def slow(code: str, validator: str) -> int:
        if code == "A":
            asked.set()
            assert go_on.wait(PATIENCE_S)
        return complete(code, validator)

    passthrough = begun(slow)
    ids: list[int] = []
    threads = [
        threading.Thread(target=lambda: ids.append(passthrough.opened(5, A)), daemon=True)
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert asked.wait(PATIENCE_S)
    assert passthrough.opened(6, B) == 1
    assert passthrough.state() == ("", 1, 1)
    passthrough.closed(6)
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert ids == [2, 2, 2]
    assert kernel.registered == [2]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EPERM, NOT_ALLOWED),
        (errno.ELOOP, STACKED),
        (errno.EBADF, os.strerror(errno.EBADF)),
    ],
)
def test_a_kernel_that_refuses(
    kernel: Kernel, complete: Callable[[str, str], int], number: int, reason: str
) -> None:
    """Reads go through the mount; it says why, and does not ask again."""
    passthrough, before = begun(complete), open_files()
    kernel.refusal = number
    assert passthrough.opened(5, A) == 0
    kernel.refusal = 0
    assert passthrough.opened(6, B) == 0
    assert passthrough.state() == (reason, 0, 0)
    assert open_files() <= before


def test_not_this_file(kernel: Kernel, complete: Callable[[str, str], int]) -> None:
    """Neither a file of another length nor an empty one is given to the kernel."""
    passthrough, before = begun(complete), open_files()
    assert passthrough.opened(5, source_version("A", 699)) == 0
    assert passthrough.opened(6, source_version("B", 0)) == 0
    assert passthrough.state() == ("", 0, 0)
    assert kernel.registered == []
    assert open_files() <= before


def test_a_disk_that_fails(kernel: Kernel) -> None:
    """The open goes through the mount, and the next file is asked for again."""

    def fails(_code: str, _validator: str) -> int:
        file = os.open(os.devnull, os.O_RDONLY)
        os.close(file)
        return file

    passthrough = begun(fails)
    assert passthrough.opened(5, A) == 0
    assert passthrough.state() == ("", 0, 0)
    assert kernel.registered == []


def test_why_it_is_not_wanted(kernel: Kernel, complete: Callable[[str, str], int]) -> None:
    """The setting, no disk, an old kernel: each is told, and nothing is registered."""
    assert Passthrough(complete).wanted
    old = Passthrough(complete)
    old.begin(Device(-1), offered=False)
    for passthrough, reason in (
        (begun(complete, OFF), OFF),
        (begun(None), NO_DISK),
        (old, OLD_KERNEL),
    ):
        assert not passthrough.wanted
        assert passthrough.opened(5, A) == 0
        assert passthrough.state() == (reason, 0, 0)
    assert kernel.registered == []
