"""The tier's folder: made, checked, and taken by one mount at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from backlotfs.errors import CacheUnusable
from backlotfs.trusted_paths import open_private_folder

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class LockedDirectory:
    """A folder that is ours until `close`. Its files are opened through it; not thread-safe."""

    def __init__(self, path: Path) -> None:
        """Make it where there is none, and lock it.

        The lock outlives a fork: who closes it last lets go of it.

        :raises CacheUnusable: it is somebody else's, open to others, in use by another mount, or
            cannot be written.
        """
        self.path = path
        self._files: list[int] = []
        try:
            self._folder = open_private_folder(path, make=True)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        self._files.append(self._folder)
        try:
            fcntl.flock(self.open("lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise self._unusable("another mount is using it") from error
        except OSError as error:
            self.close()
            raise self._unusable(error.strerror or str(error)) from error

    def open(self, name: str) -> int:
        """A descriptor of a file in it (0600), made where there is none; `close` closes it.

        :raises OSError: it cannot be opened for writing, or is no file of ours.
        """
        file = os.open(name, _FLAGS, 0o600, dir_fd=self._folder)
        self._files.append(file)
        found = os.fstat(file)
        _check(found)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(None, f"{name} is not a file")
        return file

    def replace(self, name: str, text: str) -> None:
        """Put ``text`` into the file, whole or not at all, also where the machine goes down.

        :raises OSError: it was not done.
        """
        new = os.open(f"{name}.new", _FLAGS | os.O_TRUNC, 0o600, dir_fd=self._folder)
        with open(new, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{name}.new", name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def text(self, name: str) -> str:
        """What `replace` put there.

        :raises OSError: nothing, or it cannot be read.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(name, flags, dir_fd=self._folder), errors="replace") as text:
            _check(os.fstat(text.fileno()))
            return text.read()

    def close(self) -> None:
        """Close the files and let others in. May be called again."""
        while self._files:
            os.close(self._files.pop())

    def _unusable(self, reason: str) -> CacheUnusable:
        return CacheUnusable(f"the disk cache {self.path} is not used: {reason}")


def _check(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise OSError(None, "it belongs to another user")
    if found.st_mode & _OTHERS:
        raise OSError(None, "it is open to other users (chmod -R go= would close it)")
