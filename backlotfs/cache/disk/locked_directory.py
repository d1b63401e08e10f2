# SPDX-License-Identifier: Apache-2.0
"""The folder of the disk cache: checked, and locked by one mount at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from backlotfs.errors import CacheInUse, CacheUnusable
from backlotfs.trusted_paths import make_cache_tag, open_private_folder

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MOST_HOLDER_BYTES = 8192


class LockedDirectory:
    """A folder that this mount keeps locked until `close`, and its files. Not thread-safe."""

    def __init__(self, path: Path, holder: str = "") -> None:
        """Create the folder if it is missing, and lock it.

        The lock survives a fork: it is released when both processes have closed it.

        :param holder: see `name_holder`.
        :raises CacheInUse: another process has locked the folder.
        :raises CacheUnusable: the folder belongs to another user, is open to others, or cannot be
            written.
        """
        self.path = path
        self._files: list[int] = []
        self._names: dict[str, int] = {}
        try:
            self._folder = open_private_folder(path, make=True)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        self._files.append(self._folder)
        try:
            fcntl.flock(self.open("lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = self._holder()
            self.close()
            raise CacheInUse(self._not_used("another mount is using it"), other) from error
        except OSError as error:
            self.close()
            raise self._unusable(error.strerror or str(error)) from error
        self.name_holder(holder)
        with contextlib.suppress(OSError):  # the tag is only for backup programs
            make_cache_tag(self._folder, path)

    def open(self, name: str) -> int:
        """Open or create a file in the folder (0600); `close` closes its descriptor.

        :raises OSError: it cannot be opened for writing, is not a regular file, belongs to another
            user, or is open to others.
        """
        file = os.open(name, _FLAGS, 0o600, dir_fd=self._folder)
        self._files.append(file)
        found = os.fstat(file)
        _check(found)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(None, f"{name} is not a file")
        self._names[name] = file
        return file

    def open_folder(self, name: str) -> tuple[int, bool]:
        """Open or make a folder in the folder (0700); `close` closes its descriptor.

        :returns: the descriptor, and whether the folder was made.
        :raises OSError: it cannot be made or opened, belongs to another user, or is open to others.
        """
        made = True
        try:
            os.mkdir(name, 0o700, dir_fd=self._folder)
        except FileExistsError:
            made = False
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        folder = os.open(name, flags, dir_fd=self._folder)
        self._files.append(folder)
        _check(os.fstat(folder))
        self._names[name] = folder
        return folder, made

    def name_holder(self, holder: str) -> None:
        """Write into the lock file who has locked the folder: any text; empty: it is not known.

        Other processes that find the folder locked get this text (`CacheInUse`).
        """
        lock = self._names["lock"]
        with contextlib.suppress(OSError):  # a full disk: then it is not known
            os.ftruncate(lock, 0)
            os.pwrite(lock, os.fsencode(holder), 0)

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return os.fsdecode(os.pread(self._names["lock"], _MOST_HOLDER_BYTES, 0))
        return ""

    @property
    def removed(self) -> bool:
        """Whether the folder, or an open file of it, is not at its path any more.

        The folder was removed or moved, or something was mounted over it. Everything that is
        written to the open files is lost when this mount ends.
        """
        try:
            gone = not _same(self._folder, os.stat(self.path, follow_symlinks=False))
            return gone or any(
                not _same(file, os.stat(name, dir_fd=self._folder, follow_symlinks=False))
                for name, file in self._names.items()
            )
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False  # the state of the folder is unknown

    def unlock(self) -> None:
        """Release the lock, so that this mount can lock the folder again after files were lost."""
        with contextlib.suppress(OSError):  # the files are lost, so the lock protects nothing
            fcntl.flock(self._names["lock"], fcntl.LOCK_UN)

    def replace(self, name: str, text: str) -> None:
        """Replace the file's content by ``text`` atomically, even if the power fails.

        :raises OSError: nothing was changed.
        """
        new = os.open(f"{name}.new", _FLAGS | os.O_TRUNC, 0o600, dir_fd=self._folder)
        with open(new, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{name}.new", name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def text(self, name: str) -> str:
        """The content that `replace` wrote.

        :raises OSError: there is no such file, it cannot be read, belongs to another user, or is
            open to others.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with open(os.open(name, flags, dir_fd=self._folder), errors="replace") as text:
            _check(os.fstat(text.fileno()))
            return text.read()

    def close(self) -> None:
        """Close the files and release the lock. Idempotent."""
        while self._files:
            close_file(self._files.pop())

    def _unusable(self, reason: str) -> CacheUnusable:
        return CacheUnusable(self._not_used(reason))

    def _not_used(self, reason: str) -> str:
        return f"the disk cache {self.path} is not used: {reason}"


def close_file(file: int) -> None:
    """Close a descriptor for which no write is pending.

    On NFS and FUSE the call may fail although the descriptor is closed and everything was read.
    """
    with contextlib.suppress(OSError):
        os.close(file)


def _same(file: int, found: os.stat_result) -> bool:
    return os.path.samestat(os.fstat(file), found)


def _check(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise OSError(None, "it belongs to another user")
    if found.st_mode & _OTHERS:
        raise OSError(None, "it is open to other users (chmod -R go= would close it)")
