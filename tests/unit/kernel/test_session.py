"""One mount from the call of the loop to its end, over a loop that is none; its options."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backlotfs.concurrency.clock import SystemClock
from backlotfs.errors import FuseUnusable
from backlotfs.kernel import session as session_module
from backlotfs.kernel.mount_table import MountProbe, probe_mount
from backlotfs.kernel.read_requests import ReadCounts
from backlotfs.kernel.session import MAX_BACKGROUND, KernelTtl, MountOptions, MountSession
from tests.fakes.workers import PATIENCE_S
from tests.unit.kernel.made_fuse import made_fuse


@pytest.mark.parametrize(
    ("source", "fsname"),
    [
        ("backlot:main", "backlot:main"),
        ("backlot:a,allow_other", "backlot:a_allow_other"),
        ("back\\lot", "back_lot"),
    ],
)
def test_source(source: str, fsname: str) -> None:
    """A comma in it would begin the next option."""
    assert MountOptions(source, KernelTtl.long()).fuse_options()["fsname"] == fsname


def test_options() -> None:
    """Read-only, and nothing on it runs or is trusted; requests enough for stalled readers."""
    options = MountOptions("s", KernelTtl.short()).fuse_options()
    assert all(options[name] for name in ("ro", "nosuid", "nodev", "noexec", "use_ino"))
    assert options["max_background"] == MAX_BACKGROUND
    assert "allow_other" not in options
    assert "kernel_cache" not in options


def test_type() -> None:
    """Its own, unless it is told to borrow one."""
    assert MountOptions("s", KernelTtl.short()).fuse_options()["subtype"] == "backlotfs"
    borrowed = MountOptions("s", KernelTtl.short(), subtype="sshfs")
    assert borrowed.fuse_options()["subtype"] == "sshfs"


def test_allow_other() -> None:
    """Lets others in, under the files' own permissions."""
    options = MountOptions("s", KernelTtl.long(), allow_other=True).fuse_options()
    assert options["allow_other"]
    assert options["default_permissions"]


def test_memory() -> None:
    """Long only where entries can be taken back; with folders 5 s at most, and no absences."""
    brief = MountOptions("s", KernelTtl.short()).fuse_options()
    assert 0 < float(str(brief["attr_timeout"])) <= 5
    assert 0 < float(str(brief["entry_timeout"])) <= 5
    assert brief["negative_timeout"] == 0
    assert KernelTtl.long().entries > KernelTtl.short().entries


# ruff: noqa: ARG002  # the signatures are those of what is stood in for


def _no_reads(fh: int, offset: int, size: int) -> None:
    """No file is open."""


class Loop:
    """In the place of libfuse's: calls ``init`` and ends when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mountpoint: Path) -> None:
        self.fuse = made_fuse()
        self.options: dict[str, Any] = {}
        self.over = threading.Event()
        self.fails = False
        self.exits: list[int] = []
        self.interrupted = False
        self.detached: list[Path] = []
        monkeypatch.setattr(session_module, "fuse_class", lambda: self._run)
        monkeypatch.setattr(session_module, "load_fuse", lambda: self.fuse)
        monkeypatch.setattr(session_module, "interruption_check", lambda: lambda: self.interrupted)
        monkeypatch.setattr(
            session_module, "serve_with", lambda _libfuse, _reads, _lookups, _mounted: None
        )
        monkeypatch.setattr(session_module, "detach", self.detached.append)
        monkeypatch.setattr(session_module, "GRACE_S", 0.01)
        monkeypatch.setattr(os, "_exit", self.exits.append)
        self.session = MountSession(mountpoint, MountOptions("backlot:x", KernelTtl.short()))

    def _run(self, operations: Callable[[], None], mountpoint: str, **options: Any) -> None:
        self.options = options
        operations()
        if self.fails:
            raise RuntimeError(1)
        assert self.over.wait(PATIENCE_S)

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """The loop; ``init`` is the session's own."""
        self.session.run(self.session.began, _no_reads, SystemClock(), ready, ReadCounts(str))  # type: ignore[arg-type]  # all that is called


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Loop:
    """On ``/proc``, which is another file system than its parent, as a mount is."""
    return Loop(monkeypatch, Path("/proc"))


def test_ready_once_the_mountpoint_answers(loop: Loop) -> None:
    """From another thread, since ``init`` runs before the kernel is answered."""
    told: list[str] = []

    def ready() -> None:
        told.append(threading.current_thread().name)
        loop.over.set()

    loop.run(ready)
    assert told == ["ready"]
    assert loop.options["foreground"]
    assert loop.options["raw_fi"]
    assert loop.options["fsname"] == "backlot:x"


def test_ready_though_a_process_could_not_be_started(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mountpoint is looked at again: else the command would wait for ever."""
    failures = [BlockingIOError(11, "no process"), OSError(24, "no descriptor")]

    def probe_later(path: Path) -> MountProbe:
        if failures:
            raise failures.pop()
        return probe_mount(path)

    monkeypatch.setattr(session_module, "probe_mount", probe_later)
    loop.run(loop.over.set)
    assert not failures


def test_a_mount_that_fails(loop: Loop) -> None:
    """Says where; libfuse has said why."""
    loop.fails = True
    with pytest.raises(FuseUnusable, match="could not mount on /proc"):
        loop.run()


def test_stop(loop: Loop) -> None:
    """Out of the name space, then every waiting operation gives up; a second time is nothing."""
    loop.over.set()
    loop.run()
    loop.session.stop(lambda: None)
    loop.session.stop(lambda: None)
    assert loop.detached == [Path("/proc")]
    assert loop.session.interrupted()
    assert loop.exits == []


def test_stop_while_files_are_open(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment of grace it ends all the same, after a last word; a failing detach too."""

    def fail(mountpoint: Path) -> None:
        raise FuseUnusable("busy")

    monkeypatch.setattr(session_module, "detach", fail)
    last: list[str] = []
    loop.session.stop(lambda: last.append("closed"))
    assert (last, loop.exits) == (["closed"], [0])


def test_the_loop_ends_because_of_stop(loop: Loop) -> None:
    """What libfuse says then is no error."""
    loop.session.stop(lambda: None)
    loop.fails = True
    loop.run()


def test_callers(loop: Loop) -> None:
    """Whether the caller was killed, and who it is."""
    assert not loop.session.interrupted()
    loop.interrupted = True
    assert loop.session.interrupted()
    assert loop.session.caller() == 4711
    loop.session.invalidate(["a"])
