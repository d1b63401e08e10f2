# SPDX-License-Identifier: Apache-2.0
"""Makes the mount in the kernel, by mount(2) or by fusermount3, without libfuse.

A process with CAP_SYS_ADMIN in its user namespace calls mount(2) itself. All others need
``fusermount3``, which is setuid root: it opens ``/dev/fuse``, mounts, and sends the descriptor back
through a socket whose number is in ``_FUSE_COMMFD``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

from backlotfs.errors import FuseUnusable

_DEVICE = "/dev/fuse"
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_FUSERMOUNT_TIMEOUT_S = 20
#: Capability bit of CAP_SYS_ADMIN.
_SYS_ADMIN = 21

NO_DEVICE = (
    "/dev/fuse is missing; load the module: modprobe fuse; "
    "or start the container with --device /dev/fuse --cap-add SYS_ADMIN"
)
NO_RIGHT = (
    "neither this process nor fusermount3 may mount, because CAP_SYS_ADMIN is not allowed here; "
    "start the container with --device /dev/fuse --cap-add SYS_ADMIN"
)
NO_FUSERMOUNT = "fusermount3 is missing, which an ordinary user needs: apt-get install fuse3"


class MountOptions(NamedTuple):
    """The options of the mount in the kernel.

    :ivar source: the first column of ``df`` and mountinfo.
    :ivar subtype: the part of the file system type after ``fuse.``.
    """

    source: str
    allow_other: bool = False
    subtype: str = "backlotfs"


def may_mount() -> bool:
    """Whether this process may call mount(2): it has CAP_SYS_ADMIN in its user namespace."""
    return _has_sys_admin("CapEff", unknown=os.geteuid() == 0)


def may_ever_mount() -> bool:
    """Whether this process, or a program that it starts (fusermount3), may call mount(2)."""
    return _has_sys_admin("CapBnd", unknown=True)


def _has_sys_admin(which: str, *, unknown: bool) -> bool:
    """Whether a set of capabilities of proc(5) has CAP_SYS_ADMIN; ``unknown`` without /proc."""
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
        capabilities = int(status.partition(f"\n{which}:")[2].split(None, 1)[0], 16)
    except (OSError, ValueError, IndexError):
        return unknown
    return bool(capabilities >> _SYS_ADMIN & 1)


def may_pass_through() -> bool:
    """Whether this process may mount and is in the initial user namespace."""
    try:
        users = Path("/proc/self/uid_map").read_text("ascii").split()
    except OSError:
        return False
    return may_mount() and users == ["0", "0", "4294967295"]


def fusermount() -> str | None:
    """The path of the helper for ordinary users, of libfuse 3 or 2; None: it is missing."""
    return shutil.which("fusermount3") or shutil.which("fusermount")


def check_usable() -> None:
    """Check that a mount can be made. :raises FuseUnusable: it cannot; says what to do."""
    if not os.path.exists(_DEVICE):
        raise FuseUnusable(NO_DEVICE)
    if may_mount():
        return
    if not may_ever_mount():
        raise FuseUnusable(NO_RIGHT)
    if fusermount() is None:
        raise FuseUnusable(NO_FUSERMOUNT)
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        raise FuseUnusable(
            "/dev/fuse may not be opened by this user; its usual mode is 0666: "
            "sudo chmod 666 /dev/fuse, and look for a rule in /etc/udev/rules.d"
        )


def mount(mountpoint: Path, options: MountOptions) -> int:
    """Mount and return the descriptor of ``/dev/fuse``, which the caller closes.

    The mount is always read-only, ``nosuid``, ``nodev`` and ``noexec``.

    :raises FuseUnusable: the kernel or fusermount3 refuses; says why.
    """
    return _by_syscall(mountpoint, options) if may_mount() else _by_program(mountpoint, options)


def _by_syscall(mountpoint: Path, options: MountOptions) -> int:
    try:
        device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise FuseUnusable(
            NO_DEVICE if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO)
            else f"/dev/fuse cannot be opened: {error.strerror}; "
            "start the container with --device /dev/fuse --cap-add SYS_ADMIN"
        ) from None  # fmt: skip
    data = f"fd={device},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}"
    if options.allow_other:
        data += ",allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(
        os.fsencode(options.source.replace("\0", "")),
        os.fsencode(mountpoint),
        f"fuse.{options.subtype}".encode(),
        ctypes.c_ulong(_MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC),
        data.encode(),
    )
    if done:
        number = ctypes.get_errno()
        os.close(device)
        raise FuseUnusable(_refusal(mountpoint, number))
    return device


def _refusal(mountpoint: Path, number: int) -> str:
    if number == errno.EPERM:
        return (
            f"the kernel does not allow this process to mount on {mountpoint}; "
            "start the container with --device /dev/fuse --cap-add SYS_ADMIN, and look for a "
            "profile of AppArmor or seccomp that forbids mount(2)"
        )
    if number == errno.ENODEV:
        return NO_DEVICE
    return f"cannot mount on {mountpoint}: {os.strerror(number)}"


def _by_program(mountpoint: Path, options: MountOptions) -> int:
    program = fusermount()
    if program is None:
        raise FuseUnusable(NO_FUSERMOUNT)
    # A comma would begin the next option, a backslash would escape it.
    source = options.source.replace("\\", "_").replace(",", "_")
    given = f"ro,nosuid,nodev,noexec,fsname={source},subtype={options.subtype}"
    if options.allow_other:
        given += ",allow_other,default_permissions"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        ours.settimeout(_FUSERMOUNT_TIMEOUT_S)
        try:
            done = subprocess.run(
                [program, "-o", given, "--", os.fspath(mountpoint)],
                env=os.environ | {"_FUSE_COMMFD": str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_FUSERMOUNT_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FuseUnusable(f"fusermount does not run: {error}") from None
        if done.returncode:
            # the message contains the mountpoint, whose bytes may be invalid in every encoding
            said = os.fsdecode(done.stderr).strip() or f"exit code {done.returncode}"
            raise FuseUnusable(f"fusermount cannot mount on {mountpoint}: {said}")
        theirs.close()  # otherwise the next call would wait if the program has sent nothing
        descriptors: list[int] = []
        with contextlib.suppress(OSError):
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        if not descriptors:
            raise FuseUnusable(f"fusermount sent no descriptor for {mountpoint}")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]
