"""Taking mounts down: politely, lazily, and when the daemon behind them is dead."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from backlotfs.errors import BacklotError, FuseUnusable
from backlotfs.kernel.mount_table import mount_at
from backlotfs.kernel.mountpoint import not_mounted
from backlotfs.kernel.probe_mount import look

_MNT_FORCE = 1
_MNT_DETACH = 2
_FUSERMOUNT_TIMEOUT_S = 20
#: A dead mount is cleared within this, also where fusermount does not end.
_LOCK_WAIT_S = 30.0
_LOCK_POLL_S = 0.02


class MountBusy(BacklotError):
    """Programs have files or their working directory there."""

    errno = errno.EBUSY


def unmount(mountpoint: Path) -> None:
    """Unmount what backlotfs mounted here; a dead mount is cleared.

    :raises FuseUnusable: nothing of ours is mounted here. :raises MountBusy: with who holds it.
    """
    mounted = mount_at(mountpoint)
    if mounted is None:
        raise FuseUnusable(not_mounted(mountpoint))
    if not mounted.ours:
        raise FuseUnusable(
            f"{mountpoint} is a mount of type {mounted.fs_type}, not of backlotfs; "
            f"if it is to go: umount {mountpoint}"
        )
    dead = is_dead(mountpoint)
    # Forced as well: that ends what still waits for a daemon that is gone, or answers no more.
    _unmount(mountpoint, _MNT_DETACH | _MNT_FORCE if dead else 0)


def clear_dead(mountpoint: Path) -> bool:
    """Take away what a killed mount of this user left here; whether there was anything.

    Nothing else is touched: not a mount that answers, or only hangs, and nobody else's. Between two
    that clear at once, the look and the unmount are under one lock: else the second would take away
    what the first has mounted meanwhile.

    :raises FuseUnusable: it is dead and ours, and cannot be taken away.
    """
    if not _is_our_dead(mountpoint):
        return False
    cleared = False
    with _alone(mountpoint):
        # Mounts may lie on one another: whoever mounted over a dead one made a second.
        while _is_our_dead(mountpoint):
            try:
                _unmount(mountpoint, _MNT_DETACH | _MNT_FORCE)
            except FuseUnusable:
                if _is_our_dead(mountpoint):
                    raise  # and else another mount was faster
            cleared = True
    return cleared


@contextlib.contextmanager
def _alone(mountpoint: Path) -> Iterator[None]:
    """Hold the lock, flock(2) on the folder above: a dead mountpoint itself cannot be opened.

    Who can read that folder can hold the lock too: it is waited for so long, then done without.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder = os.open(mountpoint.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, folder)
            until_s = time.monotonic() + _LOCK_WAIT_S
            while time.monotonic() < until_s:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(_LOCK_POLL_S)
        yield


def _is_our_dead(mountpoint: Path) -> bool:
    mounted = mount_at(mountpoint)
    return mounted is not None and mounted.made_by(os.geteuid()) and look(mountpoint).dead


def detach(mountpoint: Path) -> None:
    """Take the mount out of the namespace at once; open files live on until they are closed.

    Does nothing when nothing is mounted there. :raises FuseUnusable: it could not be done.
    """
    if mount_at(mountpoint) is not None:
        _unmount(mountpoint, _MNT_DETACH)


def is_dead(mountpoint: Path) -> bool:
    """Whether the daemon behind a mount is gone, or does not answer."""
    seen = look(mountpoint)
    return seen.dead or seen.silent


def holders(mountpoint: Path) -> list[str]:
    """``name (pid N)`` of each process with a file or its working directory below; best effort."""
    inside = str(mountpoint) + "/"
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        links = [process / "cwd", process / "root"]
        with contextlib.suppress(OSError):
            links += (process / "fd").iterdir()
        for link in links:
            with contextlib.suppress(OSError):
                if (os.readlink(link) + "/").startswith(inside):
                    name = (process / "comm").read_text("utf-8", "replace").strip()
                    found.append(f"{name} (pid {process.name})")
                    break
    return found


def _unmount(mountpoint: Path, flags: int) -> None:
    reason = _by_syscall(mountpoint, flags) if os.geteuid() == 0 else _by_program(mountpoint, flags)
    if "busy" in reason.lower():
        who = ", ".join(holders(mountpoint)) or "another process"
        raise MountBusy(f"{mountpoint} is in use by {who}; close it there and unmount again")
    if reason:
        raise FuseUnusable(f"{mountpoint} cannot be unmounted: {reason}")


def _by_syscall(mountpoint: Path, flags: int) -> str:
    """Why not; empty when it is done."""
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.umount2(os.fsencode(mountpoint), flags)
    return os.strerror(ctypes.get_errno()) if answer else ""


def _by_program(mountpoint: Path, flags: int) -> str:
    """Why not; empty when it is done."""
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise FuseUnusable("fusermount is missing; install it: apt-get install fuse3")
    command = [program, "-u", *(["-z"] if flags & _MNT_DETACH else []), "--", str(mountpoint)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_FUSERMOUNT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{program} does not end"
    if done.returncode == 0 or mount_at(mountpoint) is None:
        return ""
    return done.stderr.strip() or f"{program} failed ({done.returncode})"
