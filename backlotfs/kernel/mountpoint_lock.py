"""One mount at a time is made on a mountpoint.

The lock is flock(2) on the folder itself, opened before anything is mounted on it: so it holds
between any two users who can open the folder, root included, and no file has to lie anywhere. It is
held from the last look into the mount table until the kernel has the mount, which is a moment.
Who can read a mountpoint can hold this lock too, and so keep others from mounting there; nothing
worse. (See SECURITY.md.)
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from backlotfs.errors import FuseUnusable
from backlotfs.kernel.mount_table import mount_at

#: Another mount is made within this, on a busy machine too.
_WAIT_S = 20.0
_POLL_S = 0.02


def already_mounted(mountpoint: Path) -> FuseUnusable:
    """The error for a place that has a mount of ours on it."""
    return FuseUnusable(
        f"{mountpoint} is already mounted; to mount anew: backlotfs umount {mountpoint}"
    )


class MountpointLock:
    """Held from `acquire` to `release`."""

    def __init__(self, mountpoint: Path) -> None:
        """Open nothing yet."""
        self._mountpoint = mountpoint
        self._folder = -1

    def acquire(self) -> None:
        """Wait for another mount that is just being made here, then look whether there is one.

        :raises FuseUnusable: there is; or the folder cannot be opened, or the lock is not let go.
        """
        self._check()
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._folder = os.open(self._mountpoint, flags)
        except FileNotFoundError:
            return  # nothing can be mounted there: libfuse says so
        except OSError as error:
            self._check()  # root cannot open another user's mount
            raise FuseUnusable(
                f"{self._mountpoint} cannot be read: {error.strerror}; name a folder of your own"
            ) from None
        try:
            self._lock()
            # Whoever had the lock before may have mounted meanwhile; and what was opened may be
            # the root of his mount already.
            self._check()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let others look. May be called again."""
        if self._folder >= 0:
            os.close(self._folder)
        self._folder = -1

    def _check(self) -> None:
        mounted = mount_at(self._mountpoint)
        if mounted is not None and mounted.ours:
            raise already_mounted(self._mountpoint)

    def _lock(self) -> None:
        until_s = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._check()
                if time.monotonic() > until_s:
                    raise FuseUnusable(
                        f"another program holds a lock on {self._mountpoint}; see which: lslocks, "
                        "end it, or name another folder"
                    ) from None
                time.sleep(_POLL_S)
            else:
                return
