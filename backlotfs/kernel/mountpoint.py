# SPDX-License-Identifier: Apache-2.0
"""Mountpoints: checks one, locks it while a mount is made, and unmounts.

One mount at a time is made on a mountpoint. The lock is flock(2) on the folder itself, opened
before anything is mounted on it. So the lock works between all users who can open the folder,
including root, and needs no lock file. It is held from before the last check of the mount table
until the kernel has the mount. A user who can read a mountpoint can take this lock too. That
prevents mounts there, but does no other harm. (See SECURITY.md.)
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from backlotfs.concurrency.file_lock import lock_within
from backlotfs.errors import BacklotError, FuseUnusable
from backlotfs.kernel.mount_table import SHOW_MOUNTS, MountEntry, mount_at, probe_mount

#: Most links followed in a path; the kernel has the same limit.
_MAX_LINKS = 40
#: Longest wait for another mount that is being made, on a busy machine too.
_LOCK_WAIT_S = 20.0
#: Longest wait for another process that clears a dead mount.
_CLEAR_WAIT_S = 30.0
_FUSERMOUNT_TIMEOUT_S = 20
#: fusermount reads it to unmount.
MTAB = "/etc/mtab"
MAKE_MTAB = f"sudo ln -s /proc/self/mounts {MTAB}"
_MNT_FORCE = 1
_MNT_DETACH = 2


def resolved(mountpoint: str | Path) -> Path:
    """Resolve a path without access to the mountpoint itself, whose mount may be dead."""
    path = os.path.abspath(mountpoint)
    for _ in range(_MAX_LINKS):
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        try:
            target = os.readlink(path)
        except OSError:
            break
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))
    return Path(path)


def check_mountpoint(mountpoint: Path) -> None:
    """Check a mountpoint. :raises FuseUnusable: it cannot be used; says what to do."""
    mounted = mount_at(mountpoint)
    if mounted is not None and probe_mount(mountpoint).silent:
        raise FuseUnusable(
            f"{mountpoint} holds a mount that does not answer; {_clear(mountpoint, mounted)}"
        )
    try:
        listing = os.listdir(mountpoint)
    except FileNotFoundError:
        raise FuseUnusable(
            f"{mountpoint} does not exist; create it: mkdir -p {mountpoint}"
        ) from None
    except NotADirectoryError:
        raise FuseUnusable(f"{mountpoint} is not a directory; name one to mount on") from None
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise FuseUnusable(
                f"{mountpoint} holds a dead mount (Transport endpoint is not connected); "
                + _clear(mountpoint, mounted)
            ) from None
        raise FuseUnusable(
            f"{mountpoint} cannot be read: {error.strerror}; name a folder of your own"
        ) from None
    if mounted is not None and mounted.ours:
        raise already_mounted(mountpoint)
    if listing:
        raise FuseUnusable(f"{mountpoint} is not empty; empty it, or name another folder")
    if os.geteuid() != 0 and not os.access(mountpoint, os.W_OK):
        raise FuseUnusable(
            f"{mountpoint} is not writable by this user, which fusermount demands; "
            "name a folder of your own"
        )


def not_mounted(mountpoint: Path) -> str:
    """The message that nothing is mounted here, with the command that lists mounts."""
    return f"{mountpoint} is not mounted; see what is: {SHOW_MOUNTS}"


def _clear(mountpoint: Path, mounted: MountEntry | None) -> str:
    """The remedy for an existing mount: our own command only for our own mounts."""
    command = "backlotfs umount" if mounted is None or mounted.ours else "umount -l"
    return f"clear it: {command} {mountpoint}"


def already_mounted(mountpoint: Path) -> FuseUnusable:
    """The error for a mountpoint that has a mount of backlotfs."""
    return FuseUnusable(
        f"{mountpoint} is already mounted; unmount it first: backlotfs umount {mountpoint}"
    )


class MountpointLock:
    """The lock on a mountpoint, from `acquire` to `release`."""

    def __init__(self, mountpoint: Path) -> None:
        """Lock nothing yet."""
        self._mountpoint = mountpoint
        self._folder = -1

    def acquire(self) -> None:
        """Take the lock, then check that there is no mount.

        :raises FuseUnusable: there is one, the folder cannot be opened, or another program keeps
            the lock.
        """
        self._check()
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._folder = os.open(self._mountpoint, flags)
        except FileNotFoundError:
            return  # nothing can be mounted there: mounting will report it
        except OSError as error:
            self._check()  # root cannot open another user's mount
            raise FuseUnusable(
                f"{self._mountpoint} cannot be read: {error.strerror}; name a folder of your own"
            ) from None
        try:
            self._lock()
            # The process that had the lock before may have mounted meanwhile. Then the opened
            # folder may be the root of that mount.
            self._check()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the lock. May be called again."""
        if self._folder >= 0:
            os.close(self._folder)
        self._folder = -1

    def _check(self) -> None:
        mounted = mount_at(self._mountpoint)
        if mounted is not None and mounted.ours:
            raise already_mounted(self._mountpoint)

    def _lock(self) -> None:
        if not lock_within(self._folder, _LOCK_WAIT_S, self._check):
            raise FuseUnusable(
                f"another program holds a lock on {self._mountpoint}; see which: lslocks, "
                "end it, or name another folder"
            )


class MountBusy(BacklotError):
    """A mount cannot be unmounted: programs have open files or their working directory there."""

    errno = errno.EBUSY


def unmount(mountpoint: Path) -> None:
    """Unmount what backlotfs mounted here; a dead mount is cleared.

    :raises FuseUnusable: there is no mount of backlotfs. :raises MountBusy: names the programs.
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
    # A forced unmount also ends the requests that wait for a dead or hung daemon.
    _unmount(mountpoint, _MNT_DETACH | _MNT_FORCE if dead else 0)


def clear_dead(mountpoint: Path) -> bool:
    """Unmount a dead mount of this user; True if there was one.

    A mount that answers or hangs, or is another user's, is not touched. Two processes that
    clear at the same time probe and unmount under one lock; otherwise the second could unmount
    a new mount of the first.

    :raises FuseUnusable: the dead mount cannot be unmounted.
    """
    if not _is_our_dead(mountpoint):
        return False
    cleared = False
    with _alone(mountpoint):
        # Mounts can be stacked: there may be another dead mount below this one.
        while _is_our_dead(mountpoint):
            try:
                _unmount(mountpoint, _MNT_DETACH | _MNT_FORCE)
            except FuseUnusable:
                if _is_our_dead(mountpoint):
                    raise  # otherwise another process has unmounted it
            cleared = True
    return cleared


@contextlib.contextmanager
def _alone(mountpoint: Path) -> Iterator[None]:
    """Lock the parent folder in the body, because a dead mountpoint cannot be opened.

    Every user who can read that folder can take this lock, so after `_CLEAR_WAIT_S` the body runs
    without the lock.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder = os.open(mountpoint.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, folder)
            lock_within(folder, _CLEAR_WAIT_S)
        yield


def _is_our_dead(mountpoint: Path) -> bool:
    mounted = mount_at(mountpoint)
    return mounted is not None and mounted.made_by(os.geteuid()) and probe_mount(mountpoint).dead


def detach(mountpoint: Path, device: str) -> None:
    """Unmount lazily (umount2(2), MNT_DETACH): open files stay usable until they are closed.

    Do nothing if this mount is not there any more: another one may be there.

    :param device: of the mount, see `MountEntry`. :raises FuseUnusable: the unmount failed.
    """
    mounted = mount_at(mountpoint)
    if mounted is not None and mounted.device == device:
        _unmount(mountpoint, _MNT_DETACH)


def is_dead(mountpoint: Path) -> bool:
    """Whether the daemon of a mount is gone, or does not answer."""
    seen = probe_mount(mountpoint)
    return seen.dead or seen.silent


def holders(mountpoint: Path) -> list[str]:
    """``name (pid N)`` of each process with an open file or its working directory below.

    Processes that this user must not inspect are missing. This process is left out, because it ends
    anyway.
    """
    inside = str(mountpoint) + "/"
    own = str(os.getpid())
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or process.name == own:
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
    if reason and mount_at(mountpoint) is None:
        return  # another process has unmounted it meanwhile
    if "busy" in reason.lower():
        who = ", ".join(holders(mountpoint)) or "another process"
        raise MountBusy(f"{mountpoint} is in use by {who}; close it there and unmount again")
    if reason:
        raise FuseUnusable(f"{mountpoint} cannot be unmounted: {reason}")


def _by_syscall(mountpoint: Path, flags: int) -> str:
    """Unmount by a system call; return the reason of a failure, else ``""``."""
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.umount2(os.fsencode(mountpoint), flags)
    return os.strerror(ctypes.get_errno()) if answer else ""


def _by_program(mountpoint: Path, flags: int) -> str:
    """Unmount by fusermount; return the reason of a failure, else ``""``.

    fusermount reads ``/etc/mtab``, which some containers and chroots do not have. umount(8) does
    not need this file, and allows the user who mounted to unmount.
    """
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise FuseUnusable("fusermount is missing; install it: apt-get install fuse3")
    lazily = bool(flags & _MNT_DETACH)
    reason = _failure_of([program, "-u", *(["-z"] if lazily else [])], mountpoint)
    if MTAB not in reason:
        return reason
    umount = shutil.which("umount")
    if umount is not None:
        second = _failure_of([umount, *(["-l"] if lazily else [])], mountpoint)
        if not second or "busy" in second.lower():
            return second
    return f"{reason}; make it: {MAKE_MTAB}"


def _failure_of(command: list[str], mountpoint: Path) -> str:
    try:
        done = subprocess.run(
            [*command, "--", str(mountpoint)],
            capture_output=True,
            timeout=_FUSERMOUNT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} does not end"
    if done.returncode == 0 or mount_at(mountpoint) is None:
        return ""
    # the message contains the mountpoint, whose bytes may be invalid in every encoding
    return os.fsdecode(done.stderr).strip() or f"{command[0]} failed ({done.returncode})"
