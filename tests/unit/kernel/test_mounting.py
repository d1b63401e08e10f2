# SPDX-License-Identifier: Apache-2.0
"""How the mount is made in the kernel, by the system call or by fusermount3."""

# the signatures are those of what is stood in for

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backlotfs.errors import FuseUnusable
from backlotfs.kernel import mounting
from backlotfs.kernel.mounting import (
    MountOptions,
    check_usable,
    fusermount,
    may_ever_mount,
    may_mount,
    mount,
)

#: A program that sends a descriptor through ``_FUSE_COMMFD``, as fusermount3 does.
SENDS = """
import os, socket, sys
place = socket.socket(fileno=int(os.environ["_FUSE_COMMFD"]))
socket.send_fds(place, [b"\\0"], [os.open({opens!r}, os.O_RDONLY)])
"""


def status(capabilities: str) -> str:
    """``/proc/self/status``."""
    return f"Name:\tx\nCapInh:\t{'f' * 16}\nCapEff:\t{capabilities}\nCapBnd:\t{'f' * 16}\n"


@pytest.mark.parametrize(
    ("text", "uid", "may"),
    [
        (status("000001ffffffffff"), 1000, True),
        (status("0000000000200000"), 1000, True),
        (status("ffffffffffdfffff"), 0, False),
        (status("0000000000000000"), 0, False),
        (None, 0, True),
        (None, 1000, False),
    ],
)
def test_who_may_mount(
    text: str | None, uid: int, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has CAP_SYS_ADMIN, root or not; without /proc, root."""

    def read_text(path: Path, *args: object) -> str:
        assert path == Path("/proc/self/status")
        if text is None:
            raise FileNotFoundError(2, "no /proc")
        return text

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert may_mount() is may
    assert may_ever_mount()


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"fusermount3", "fusermount"}, "/bin/fusermount3"),
        ({"fusermount"}, "/bin/fusermount"),
        (set(), None),
    ],
)
def test_the_helper(found: set[str], expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of libfuse 3, else that of libfuse 2."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in found else None)
    assert fusermount() == expected


@pytest.mark.parametrize(
    ("may", "device", "helper", "open_to_user", "says"),
    [
        (None, True, True, True, "CAP_SYS_ADMIN is not allowed here; .*--cap-add SYS_ADMIN"),
        (True, False, True, True, "/dev/fuse is missing; .*modprobe fuse"),
        (True, True, False, False, None),
        (False, True, False, True, "fusermount3 is missing, .*apt-get install fuse3"),
        (False, True, True, False, "may not be opened by this user; .*chmod 666 /dev/fuse"),
        (False, True, True, True, None),
    ],
)
def test_check_usable(
    may: bool | None,
    device: bool,
    helper: bool,
    open_to_user: bool,
    says: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each missing piece with its remedy; whoever may mount needs no helper. None: nobody may."""
    monkeypatch.setattr(mounting, "may_mount", lambda: bool(may))
    monkeypatch.setattr(mounting, "may_ever_mount", lambda: may is not None)
    monkeypatch.setattr(os.path, "exists", lambda _path: device)
    monkeypatch.setattr(os, "access", lambda _path, _mode: open_to_user)
    monkeypatch.setattr(shutil, "which", lambda _name: "/bin/fusermount3" if helper else None)
    if says is None:
        check_usable()
    else:
        with pytest.raises(FuseUnusable, match=says):
            check_usable()


class Syscall:
    """mount(2), which notes its arguments or fails; the device is an ordinary file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails = 0
        device = folder / "fuse"
        device.touch()
        self.device = device
        monkeypatch.setattr(mounting, "_DEVICE", str(device))
        monkeypatch.setattr(mounting, "may_mount", lambda: True)
        monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_more: self)
        monkeypatch.setattr(ctypes, "get_errno", lambda: self.fails)

    def mount(self, *args: Any) -> int:
        """As libc's."""
        self.calls.append(args)
        return -1 if self.fails else 0

    def open_descriptors(self) -> int:
        """How many descriptors of the device this process has."""
        count = 0
        for number in os.listdir("/proc/self/fd"):
            try:
                count += os.readlink(f"/proc/self/fd/{number}") == str(self.device)
            except OSError:
                continue
        return count


@pytest.fixture
def syscall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Syscall:
    """This process may mount."""
    return Syscall(monkeypatch, tmp_path)


@pytest.mark.parametrize("allow_other", [False, True])
def test_by_the_system_call(syscall: Syscall, allow_other: bool) -> None:
    """Always read-only, and nothing on it runs or is trusted; the source is taken as it is."""
    source = "backlot:a,b\\c"
    descriptor = mount(Path("/mnt/\udcff"), MountOptions(source, allow_other, "sshfs"))
    try:
        ((given, target, kind, flags, data),) = syscall.calls
        assert (given, target, kind) == (source.encode(), b"/mnt/\xff", b"fuse.sshfs")
        assert flags.value == 1 | 2 | 4 | 8
        more = b",allow_other,default_permissions" if allow_other else b""
        ids = f"user_id={os.geteuid()},group_id={os.getegid()}".encode()
        assert data == f"fd={descriptor},rootmode=40000,".encode() + ids + more
        assert not os.get_inheritable(descriptor)
        assert os.fstat(descriptor).st_ino == syscall.device.stat().st_ino
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EPERM, "does not allow this process to mount on /mnt/x; .*--cap-add SYS_ADMIN"),
        (errno.ENODEV, "modprobe fuse"),
        (errno.ENOTDIR, "cannot mount on /mnt/x: Not a directory"),
    ],
)
def test_the_kernel_refuses(syscall: Syscall, number: int, says: str) -> None:
    """Says what to do; the device is closed again."""
    syscall.fails = number
    with pytest.raises(FuseUnusable, match=says):
        mount(Path("/mnt/x"), MountOptions("backlot:x"))
    assert syscall.open_descriptors() == 0


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOENT, "modprobe fuse"),
        (errno.ENXIO, "modprobe fuse"),
        (errno.EACCES, "cannot be opened: Permission denied; start the container with --device"),
        (errno.EPERM, "cannot be opened: Operation not permitted; start the container"),
    ],
)
def test_the_device_cannot_be_opened(
    syscall: Syscall, number: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is missing, or a container does not have it."""

    def fail(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as without:
        without.setattr(os, "open", fail)
        with pytest.raises(FuseUnusable, match=says):
            mount(Path("/mnt/x"), MountOptions("backlot:x"))
    assert syscall.calls == []


class Helper:
    """A program in the place of fusermount3."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "fusermount3"
        monkeypatch.setattr(mounting, "may_mount", lambda: False)
        monkeypatch.setattr(mounting, "fusermount", lambda: str(self.program))

    def does(self, code: str) -> None:
        """Run this; the arguments are written down first."""
        notes = (
            f"import os, sys\nopen({str(self.folder / 'args')!r}, 'w').write(repr(sys.argv[1:]))\n"
        )
        self.program.write_text(f"#!{sys.executable}\n{notes}{code}\n")
        self.program.chmod(0o755)

    @property
    def arguments(self) -> str:
        """What it was called with."""
        return (self.folder / "args").read_text()


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Helper:
    """This process may not mount."""
    return Helper(monkeypatch, tmp_path)


@pytest.mark.parametrize("allow_other", [False, True])
def test_by_the_program(helper: Helper, allow_other: bool) -> None:
    """It sends the descriptor; no option can be smuggled in by a name."""
    sent = helper.folder / "sent"
    sent.write_bytes(b"the device")
    helper.does(SENDS.format(opens=str(sent)))
    options = MountOptions("backlot:a,allow_other,b\\c", allow_other)
    descriptor = mount(Path("/mnt/-x"), options)
    try:
        assert os.read(descriptor, 100) == b"the device"
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)
    given = "ro,nosuid,nodev,noexec,fsname=backlot:a_allow_other_b_c,subtype=backlotfs"
    given += ",allow_other,default_permissions" if allow_other else ""
    assert helper.arguments == repr(["-o", given, "--", "/mnt/-x"])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("sys.exit(0)", "sent no descriptor for /mnt/x"),
        ("os.write(2, b'fusermount3: failed: no \\xff'); sys.exit(1)", "fusermount3: failed: no"),
        ("sys.exit(3)", "cannot mount on /mnt/x: exit code 3"),
        ("os.kill(os.getpid(), 9)", "cannot mount on /mnt/x: exit code -9"),
        ("import time; time.sleep(60)", "does not run: .*timed out"),
    ],
)
def test_the_program_fails(
    helper: Helper, code: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said is passed on; nothing is waited for any longer."""
    if "sleep" in code:
        monkeypatch.setattr(mounting, "_FUSERMOUNT_TIMEOUT_S", 1.0)
    helper.does(code)
    with pytest.raises(FuseUnusable, match=says):
        mount(Path("/mnt/x"), MountOptions("backlot:x"))


def test_the_program_cannot_be_started(helper: Helper) -> None:
    """It is no program."""
    helper.program.write_text("no program")
    with pytest.raises(FuseUnusable, match="does not run: "):
        mount(Path("/mnt/x"), MountOptions("backlot:x"))


def test_without_the_program(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package to install is named."""
    monkeypatch.setattr(mounting, "fusermount", lambda: None)
    with pytest.raises(FuseUnusable, match="apt-get install fuse3"):
        mount(Path("/mnt/x"), MountOptions("backlot:x"))


def test_the_program_cannot_read_our_input(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets nothing but its socket."""
    seen: list[dict[str, Any]] = []
    real: Callable[..., Any] = subprocess.run

    def run(*args: Any, **more: Any) -> Any:
        seen.append(more)
        return real(*args, **more)

    monkeypatch.setattr(subprocess, "run", run)
    helper.does("sys.exit(1)")
    with pytest.raises(FuseUnusable):
        mount(Path("/mnt/x"), MountOptions("backlot:x"))
    (more,) = seen
    assert more["stdin"] == subprocess.DEVNULL
    assert [str(number) for number in more["pass_fds"]] == [more["env"]["_FUSE_COMMFD"]]
