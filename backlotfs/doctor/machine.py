"""What a mount needs of the system: Python, libfuse 2, the device, its helpers, limits, a place."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import stat
import sys
from pathlib import Path

from backlotfs.doctor.finding import Finding, failed, failed_by, fine, note
from backlotfs.errors import FuseUnusable
from backlotfs.kernel.fuse_library import load_fuse
from backlotfs.kernel.mountpoint import check_mountpoint, resolved
from backlotfs.kernel.session import READ_AHEAD_KB

OLDEST_PYTHON = (3, 11)
#: Connections, slabs of the disk tier and sockets of a busy mount stay well below.
ENOUGH_FILES = 1024
#: Where mount(8) looks for what makes a mount of another type, and nowhere else.
_HELPERS = "/sbin:/usr/sbin"
_FUSE_FAILED = 5


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """New enough?"""
    text = ".".join(map(str, version))
    if version >= OLDEST_PYTHON:
        return fine("python", f"{text} ({platform.python_implementation()})")
    return failed("python", f"{text} is too old", "apt-get install python3 (3.11 or newer)")


def check_libfuse() -> Finding:
    """Can libfuse 2 be loaded?"""
    try:
        load_fuse()
    except FuseUnusable as error:
        return failed_by(
            "libfuse 2", error, "apt-get install libfuse2 || apt-get install libfuse2t64"
        )
    return fine("libfuse 2", "found")


def check_device(device: Path = Path("/dev/fuse")) -> Finding:
    """Can the device be opened? A container may show it and still forbid it."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return failed(
            "/dev/fuse",
            "missing",
            "modprobe fuse; for a container: --device /dev/fuse --cap-add SYS_ADMIN",
            _FUSE_FAILED,
        )
    except PermissionError:
        return failed(
            "/dev/fuse",
            "may not be opened by this user",
            f"chmod 666 {device}; for a container: --device /dev/fuse --cap-add SYS_ADMIN",
            _FUSE_FAILED,
        )
    except OSError as error:
        return failed("/dev/fuse", error.strerror or "unusable", "modprobe fuse", _FUSE_FAILED)
    return fine("/dev/fuse", "can be opened")


def check_fusermount(*, is_root: bool, path: str | None = None) -> Finding:
    """Is the helper there that mounts for ordinary users, and may it?

    :param path: where to look instead of ``PATH``.
    """
    found = shutil.which("fusermount", path=path)
    if found is None:
        remedy = "apt-get install fuse3"
        if is_root:
            return note("fusermount", "missing; ordinary users cannot mount", remedy)
        return failed("fusermount", "missing", remedy, _FUSE_FAILED)
    status = os.stat(found)
    if not is_root and not (status.st_mode & stat.S_ISUID and status.st_uid == 0):
        return failed("fusermount", "is not setuid root", f"chmod u+s {found}", _FUSE_FAILED)
    return fine("fusermount", found)


def check_allow_other(
    *, is_root: bool, wanted: bool, conf: Path = Path("/etc/fuse.conf")
) -> Finding:
    """May an ordinary user let others into a mount?

    :param wanted: the profile asks for ``allow_other``.
    """
    try:
        text = conf.read_text("utf-8", "replace")
    except OSError:
        text = ""
    if re.search(r"^[ \t]*user_allow_other[ \t]*(#.*)?$", text, re.M):
        return fine("allow_other", f"user_allow_other is in {conf}")
    if is_root:
        return fine("allow_other", "root needs no leave")
    remedy = f"echo user_allow_other | sudo tee -a {conf}"
    if wanted:
        return failed(
            "allow_other", f"the profile asks for it, {conf} forbids it", remedy, _FUSE_FAILED
        )
    return note("allow_other", f"not possible: no user_allow_other in {conf}", remedy)


def check_read_ahead(*, is_root: bool) -> Finding:
    """Will the kernel ask in large pieces?"""
    if is_root and os.access("/sys/class/bdi", os.W_OK):
        return fine("read-ahead", f"the mount raises it to {READ_AHEAD_KB} KiB")
    return note(
        "read-ahead",
        "stays at the kernel's 128 KiB: copies cost more CPU",
        "mount as root (systemd/ has a unit), with allow_other and uid=",
    )


def check_open_files(limit: int | None = None) -> Finding:
    """How many files and connections may a mount have open?

    :param limit: the soft limit; the process's own unless given.
    """
    if limit is None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= ENOUGH_FILES:
        words = "any number" if limit == resource.RLIM_INFINITY else str(limit)
        return fine("open files", f"{words} at a time")
    return note(
        "open files",
        f"no more than {limit} at a time: reads fail when many are open",
        f"ulimit -n {ENOUGH_FILES}, or LimitNOFILE= of the unit",
    )


def check_mount_helper(path: str = _HELPERS) -> Finding:
    """Would ``mount -t backlotfs`` and a line of fstab find us?"""
    found = shutil.which("mount.backlotfs", path=path)
    if found is None:
        return note(
            "mount(8)",
            "mount -t backlotfs, fstab and systemd are not set up; backlotfs mount works",
            "sudo make install, in the checkout",
        )
    return fine("mount(8)", found)


def check_place(mountpoint: Path) -> Finding:
    """Could a library be mounted there?"""
    place = resolved(mountpoint)
    try:
        check_mountpoint(place)
    except FuseUnusable as error:
        return failed_by("mountpoint", error)
    return fine("mountpoint", f"{place} is there, and empty")
