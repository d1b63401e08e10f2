# SPDX-License-Identifier: Apache-2.0
"""Taking mounts down, as far as it needs none."""

# ruff: noqa: ARG002  # the signatures are those of what is stood in for

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from backlotfs.errors import FuseUnusable
from backlotfs.kernel import mountpoint
from backlotfs.kernel.mount_table import FUSE_TYPE, MountEntry, MountProbe
from backlotfs.kernel.mountpoint import MountBusy, clear_dead, detach, holders, is_dead, unmount

DEVICE = "0:77"
OURS = MountEntry("/mnt/x", FUSE_TYPE, "backlot:x", frozenset(), DEVICE)


def made_by(uid: int, fs_type: str = FUSE_TYPE) -> MountEntry:
    """A mount as the kernel shows it."""
    return MountEntry("/mnt/x", fs_type, "x", frozenset({"ro", f"user_id={uid}", "group_id=0"}))


def refuse_root(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The system call fails with this errno."""

    class Libc:
        def __init__(self, *args: object, **more: object) -> None:
            """As ``ctypes.CDLL``."""

        def umount2(self, path: bytes, flags: int) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", Libc)
    monkeypatch.setattr(ctypes, "get_errno", lambda: number)
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_nothing_is_mounted(tmp_path: Path) -> None:
    """``umount`` says so; `detach` has nothing to do."""
    with pytest.raises(FuseUnusable, match="is not mounted"):
        unmount(tmp_path)
    detach(tmp_path, DEVICE)


def test_somebody_elses_mount() -> None:
    """Is left alone."""
    with pytest.raises(FuseUnusable, match=r"of type proc, not of backlotfs.*umount /proc"):
        unmount(Path("/proc"))


def test_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look from outside says so; a path that is fine, or missing, is not a dead mount."""
    assert not is_dead(tmp_path)
    assert not is_dead(tmp_path / "absent")
    monkeypatch.setattr(mountpoint, "probe_mount", lambda _path: MountProbe(None, dead=True))
    assert is_dead(tmp_path)


def test_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the system call: politely, and lazily where the daemon is dead."""
    calls: list[tuple[bytes, int]] = []

    class Libc:
        def __init__(self, *args: object, **more: object) -> None:
            """As ``ctypes.CDLL``."""

        def umount2(self, path: bytes, flags: int) -> int:
            calls.append((path, flags))
            return 0

    monkeypatch.setattr(ctypes, "CDLL", Libc)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: OURS)
    for dead in (False, True):
        monkeypatch.setattr(mountpoint, "is_dead", lambda _path, dead=dead: dead)
        unmount(Path("/mnt/x"))
    detach(Path("/mnt/x"), DEVICE)
    assert calls == [(b"/mnt/x", 0), (b"/mnt/x", 3), (b"/mnt/x", 2)]


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (errno.EBUSY, MountBusy, r"in use by vlc \(pid 7\); close it there"),
        (errno.EINVAL, FuseUnusable, "cannot be unmounted: Invalid argument"),
    ],
)
def test_root_is_refused(
    number: int, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Busy names who holds it."""
    refuse_root(monkeypatch, number)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: OURS)
    monkeypatch.setattr(mountpoint, "holders", lambda _path: ["vlc (pid 7)"])
    with pytest.raises(error, match=says):
        unmount(Path("/mnt/x"))


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("exit 0", None, ""),
        ("echo 'fusermount: failed: Device or resource busy' >&2; exit 1", MountBusy, "in use"),
        ("echo 'entry not found' >&2; exit 1", FuseUnusable, "unmounted: entry not found"),
        ("exit 3", FuseUnusable, r"failed \(3\)"),
        ("sleep 60", FuseUnusable, "does not end"),
    ],
)
def test_as_an_ordinary_user(
    script: str,
    error: type[Exception] | None,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By fusermount, whose words are passed on."""
    program = tmp_path / "fusermount3"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/args\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _name: str(program))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: OURS)
    monkeypatch.setattr(mountpoint, "holders", lambda _path: [])
    monkeypatch.setattr(mountpoint, "_FUSERMOUNT_TIMEOUT_S", 0.5)
    if error is None:
        unmount(Path("/mnt/x"))
        assert (tmp_path / "args").read_text() == "-u -- /mnt/x\n"
        detach(Path("/mnt/x"), DEVICE)
        assert (tmp_path / "args").read_text() == "-u -z -- /mnt/x\n"
    else:
        with pytest.raises(error, match=says):
            unmount(Path("/mnt/x"))


NO_MTAB = "echo 'fusermount3: failed to open /etc/mtab: No such file or directory' >&2; exit 1"


@pytest.mark.parametrize(
    ("umount", "error", "says"),
    [
        ("exit 0", None, ""),
        ("echo 'umount: /mnt/x: target is busy.' >&2; exit 32", MountBusy, "in use"),
        (
            "echo 'umount: /mnt/x: must be superuser.' >&2; exit 1", FuseUnusable,
            r"failed to open /etc/mtab: .*; make it: sudo ln -s /proc/self/mounts /etc/mtab$",
        ),
        (None, FuseUnusable, "make it: sudo ln -s"),
    ],
    ids=["it helps", "busy", "refused", "missing"],
)  # fmt: skip
def test_without_mtab(
    umount: str | None,
    error: type[Exception] | None,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """fusermount cannot unmount; umount(8) can, and needs no such file."""
    scripts = {"fusermount3": NO_MTAB, "umount": umount}
    for name, script in scripts.items():
        if script is not None:
            program = tmp_path / name
            program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/{name}.args\n{script}\n')
            program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: OURS)
    monkeypatch.setattr(mountpoint, "holders", lambda _path: [])
    if error is None:
        unmount(Path("/mnt/x"))
        assert (tmp_path / "umount.args").read_text() == "-- /mnt/x\n"
        detach(Path("/mnt/x"), DEVICE)
        assert (tmp_path / "umount.args").read_text() == "-l -- /mnt/x\n"
    else:
        with pytest.raises(error, match=says):
            unmount(Path("/mnt/x"))


def test_a_later_mount_at_the_same_mountpoint_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the mount that is meant is detached."""
    later = replace(OURS, device="0:78")
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: later)
    monkeypatch.setattr(mountpoint, "_unmount", lambda *_args: pytest.fail("unmounted"))
    detach(Path("/mnt/x"), DEVICE)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBUSY])
def test_another_process_unmounts_at_the_same_time(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing is left to do, whatever the system call says."""
    entries = [OURS, None]
    refuse_root(monkeypatch, number)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: entries.pop(0))
    monkeypatch.setattr(mountpoint, "is_dead", lambda _path: False)
    unmount(Path("/mnt/x"))
    assert not entries


def test_without_fusermount(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package to install is named."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: OURS)
    with pytest.raises(FuseUnusable, match="apt-get install fuse3"):
        unmount(Path("/mnt/x"))


@pytest.mark.parametrize(
    ("entry", "seen", "cleared"),
    [
        (made_by(1000), MountProbe(None, dead=True), True),
        (made_by(1000), MountProbe(7, dead=False), False),
        (made_by(1000), MountProbe(None, dead=False, silent=True), False),
        (made_by(100), MountProbe(None, dead=True), False),
        (made_by(1000, "fuse.sshfs"), MountProbe(None, dead=True), False),
        (None, MountProbe(None, dead=False), False),
    ],
    ids=["dead", "alive", "silent", "another user's", "another program's", "nothing"],
)
def test_what_mount_may_clear(
    entry: MountEntry | None, seen: MountProbe, cleared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead one that this very user made with backlotfs; however many lie on one another."""
    stack = [] if entry is None else [entry, entry]
    before = len(stack)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: stack[-1] if stack else None)
    monkeypatch.setattr(mountpoint, "probe_mount", lambda _path: seen)
    monkeypatch.setattr(mountpoint, "_by_program", lambda _path, _flags: str(stack.pop())[:0])
    assert clear_dead(Path("/mnt/x")) is cleared
    assert len(stack) == (0 if cleared else before)


def test_what_cannot_be_cleared_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless another mount did it meanwhile."""
    found = [made_by(1000)]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: found[-1] if found else None)
    monkeypatch.setattr(mountpoint, "probe_mount", lambda _path: MountProbe(None, dead=True))
    monkeypatch.setattr(mountpoint, "_by_program", lambda _path, _flags: "no such luck")
    with pytest.raises(FuseUnusable, match="cannot be unmounted: no such luck"):
        clear_dead(Path("/mnt/x"))
    monkeypatch.setattr(mountpoint, "_by_program", lambda _path, _flags: f"{found.pop()} is gone")
    assert clear_dead(Path("/mnt/x"))


def test_holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has a file open below it, or works in it."""
    (tmp_path / "file").touch()
    script = "import sys; file = open('file'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (found,) = holders(tmp_path)
        assert found.endswith(f"(pid {process.pid})")
        process.communicate()
    assert holders(tmp_path) == []
    monkeypatch.chdir(tmp_path)
    assert holders(tmp_path) == [], "the command that unmounts is in nobody's way"


def test_two_that_clear_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second does not take away what the first has mounted: it looks when that has cleared."""
    place = tmp_path / "library"
    found: list[MountProbe | None] = [
        MountProbe(None, dead=True)
    ]  # the dead mount, nothing, the live one
    cleared: list[MountProbe | None] = []
    mounted = threading.Event()
    second = threading.Thread(target=clear_dead, args=(place,), daemon=True)

    def slow_unmount(_mountpoint: Path, _flags: int) -> None:
        if threading.current_thread() is second:
            mounted.wait(60)
        else:
            second.start()
            second.join(0.5)  # time enough to see the dead mount, if nothing keeps it from looking
        cleared.append(found[0])
        found[0] = None

    ours = made_by(os.geteuid())
    monkeypatch.setattr(mountpoint, "mount_at", lambda _path: ours if found[0] else None)
    monkeypatch.setattr(
        mountpoint, "probe_mount", lambda _path: found[0] or MountProbe(1, dead=False)
    )
    monkeypatch.setattr(mountpoint, "_unmount", slow_unmount)
    assert clear_dead(place)
    found[0] = MountProbe(1, dead=False)
    mounted.set()
    second.join(60)
    assert cleared == [MountProbe(None, dead=True)]
    assert found == [MountProbe(1, dead=False)]
