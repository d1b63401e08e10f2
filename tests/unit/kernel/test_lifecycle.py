# SPDX-License-Identifier: Apache-2.0
"""One mount from its beginning to its end, over an adapter that mounts nothing."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backlotfs.concurrency.clock import SystemClock
from backlotfs.errors import FuseUnusable
from backlotfs.kernel import lifecycle
from backlotfs.kernel.fusepy_adapter import FusepyAdapter
from backlotfs.kernel.lifecycle import KernelMount, raise_read_ahead, uses_session
from backlotfs.kernel.mount_table import MountProbe, mount_at, probe_mount
from backlotfs.kernel.mounting import MountOptions
from backlotfs.kernel.mountpoint import MountpointLock
from backlotfs.kernel.operations import Operations
from backlotfs.kernel.read_requests import ReadContext, ReadCounts, ReadLimits
from backlotfs.kernel.session import FuseSession
from tests.fakes.workers import PATIENCE_S

CONTEXT = ReadContext(SystemClock(), ReadCounts(str, SystemClock()), ReadLimits(7.0))


class Loop(FuseSession):
    """A session that ends when it is told to.

    :ivar locked: whether the mountpoint was locked when the session began, and after it was
        mounted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()
        self.error: Exception | None = None
        self.served: list[object] = []
        self.locked: list[bool] = []
        self.ends_if_interrupted = False

    def end(self) -> None:
        """As a session whose files are all closed."""
        super().end()
        if self.ends_if_interrupted:
            self.over.set()

    def serve(
        self,
        mountpoint: Path,
        options: MountOptions,
        operations: Operations,
        context: ReadContext,
        mounted: Callable[[], None],
    ) -> None:
        """Mount nothing."""
        self.served += [mountpoint, options, context]
        if self.error is not None:
            raise self.error
        mounted()
        self.began.set()
        assert self.over.wait(PATIENCE_S)


class Mount:
    """A mount on ``/proc``, which is another file system than its parent, as a mount is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.loop = Loop()
        self.exits: list[int] = []
        self.detached: list[tuple[Path, str]] = []
        monkeypatch.setattr(lifecycle, "FuseSession", lambda _passthrough: self.loop)
        # other runs of the tests use /proc too
        monkeypatch.setattr(lifecycle, "MountpointLock", lambda _path: MountpointLock(folder))
        monkeypatch.setattr(
            lifecycle, "detach", lambda path, device: self.detached.append((path, device))
        )
        monkeypatch.setattr(lifecycle, "raise_read_ahead", lambda _device: True)
        monkeypatch.setattr(lifecycle, "GRACE_S", 0.01)
        monkeypatch.setattr(os, "_exit", self.exits.append)
        self.kernel = KernelMount(Path("/proc"), MountOptions("backlot:x"), "session")

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Until the loop ends."""
        operations: Any = None
        self.kernel.run(operations, CONTEXT, ready)


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mount:
    """A new one."""
    return Mount(monkeypatch, tmp_path)


def test_ready_once_the_mountpoint_answers(mount: Mount) -> None:
    """From another thread; the adapter gets what it needs to mount and to read."""
    told: list[str] = []

    def ready() -> None:
        told.append(threading.current_thread().name)
        mount.loop.over.set()

    mount.run(ready)
    assert told == ["ready"]
    assert mount.loop.served == [
        Path("/proc"),
        MountOptions("backlot:x"),
        CONTEXT,
    ]


def test_ready_though_a_process_could_not_be_started(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mountpoint is looked at again: else the command would wait for ever."""
    failures = [BlockingIOError(11, "no process"), OSError(24, "no descriptor")]

    def probe_later(path: Path) -> MountProbe:
        if failures:
            raise failures.pop()
        return probe_mount(path)

    monkeypatch.setattr(lifecycle, "probe_mount", probe_later)
    mount.run(mount.loop.over.set)
    assert not failures


def test_a_mount_that_fails(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is that of the mount; the mountpoint is free for the next."""
    freed: list[bool] = []
    monkeypatch.setattr(MountpointLock, "release", lambda _lock: freed.append(True))
    mount.loop.error = FuseUnusable("the kernel does not mount")
    with pytest.raises(FuseUnusable, match="does not mount"):
        mount.run()
    assert freed


def test_stop(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of the name space, then every waiting operation gives up; a second time is nothing."""
    monkeypatch.setattr(lifecycle, "GRACE_S", PATIENCE_S)
    mount.loop.ends_if_interrupted = True
    serving = threading.Thread(target=mount.run)
    serving.start()
    assert mount.loop.began.wait(PATIENCE_S)
    mount.kernel.stop(lambda: None)
    mount.kernel.stop(lambda: None)
    serving.join()
    proc = mount_at("/proc")
    assert proc is not None
    assert mount.detached == [(Path("/proc"), proc.device)]
    assert mount.loop.interrupted()
    assert mount.exits == []


def test_stop_while_files_are_open(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment of grace it ends all the same, after a last word; a failing detach too."""
    tries: list[Path] = []

    def fail(mountpoint: Path, device: str) -> None:
        tries.append(mountpoint)
        raise FuseUnusable("busy")

    monkeypatch.setattr(lifecycle, "detach", fail)
    last: list[str] = []
    serving = threading.Thread(target=mount.run)
    serving.start()
    assert mount.loop.began.wait(PATIENCE_S)
    mount.kernel.stop(lambda: last.append("closed"))
    assert (last, mount.exits) == (["closed"], [0])
    assert tries == [Path("/proc")] * 2
    mount.loop.over.set()
    serving.join()


def test_stop_after_it_was_unmounted(mount: Mount) -> None:
    """The kernel may have given its device number to the mount that is there now."""
    mount.loop.over.set()
    mount.run()
    mount.kernel.stop(lambda: None)
    assert mount.detached == []


def test_stop_before_anything_is_mounted(mount: Mount) -> None:
    """What is mounted there belongs to somebody else, and stays."""
    mount.loop.over.set()
    mount.kernel.stop(lambda: None)
    assert mount.detached == []


@pytest.mark.parametrize(
    ("binding", "platform", "session"),
    [
        ("session", "linux", True),
        ("session", "darwin", True),
        ("auto", "linux", True),
        ("auto", "darwin", False),
        ("auto", "freebsd14", False),
        ("fusepy", "linux", False),
    ],
)
def test_the_binding(
    binding: str, platform: str, session: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own on Linux, unless it is told otherwise."""
    monkeypatch.setattr(sys, "platform", platform)
    assert uses_session(binding) is session
    monkeypatch.setattr(FusepyAdapter, "__init__", lambda _adapter: None)
    adapter = KernelMount(Path("/mnt/x"), MountOptions("s"), binding).adapter
    assert isinstance(adapter, FuseSession if session else FusepyAdapter)


def test_no_read_ahead_for_what_is_no_mount() -> None:
    """It is a wish only."""
    assert not raise_read_ahead(os.makedev(4000, 1))
