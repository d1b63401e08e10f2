"""Is this a place to mount on? If not: which of the usual reasons, and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from backlotfs.errors import FuseUnusable
from backlotfs.kernel.mount_table import SHOW_MOUNTS, MountEntry, mount_at
from backlotfs.kernel.mountpoint_lock import already_mounted
from backlotfs.kernel.probe_mount import look

#: As many as the kernel follows.
_MAX_LINKS = 40


def resolved(mountpoint: str | Path) -> Path:
    """An absolute path without links, without touching the mountpoint itself: it may be dead."""
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
    """:raises FuseUnusable: when nothing should be mounted here; the message says what to do."""
    mounted = mount_at(mountpoint)
    if mounted is not None and look(mountpoint).silent:
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
    """The sentence for a place with no mount on it, and how to find the right one."""
    return f"{mountpoint} is not mounted; see what is: {SHOW_MOUNTS}"


def _clear(mountpoint: Path, mounted: MountEntry | None) -> str:
    """The remedy: our command unmounts only our own."""
    command = "backlotfs umount" if mounted is None or mounted.ours else "umount -l"
    return f"clear it: {command} {mountpoint}"
