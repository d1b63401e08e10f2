"""Opening files of the media folder: regular files beneath it, and nothing else.

Every path is walked from the folder down, one component at a time, each opened relative to the
descriptor of the one before without following links. So a link never leads outside, also one that
was put in while the emulator runs, and a FIFO or a device is noticed without waiting for it.
With ``follow_links`` links are followed, inside of the folder and outside.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MOST_LEVELS = 64
"""Folders inside of each other; what lies deeper is not looked at."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def open_regular_file(path: str | Path, *, dir_fd: int | None = None, follow: bool = False) -> int:
    """A descriptor of a regular file, for reading. Never waits for a writer, as of a FIFO.

    :param dir_fd: the folder that ``path`` starts from.
    :param follow: whether a link at its end is followed.
    :raises OSError: when it cannot be opened, or is no regular file.
    """
    # looked at before it is opened: opening a device can do something by itself
    _check_regular(os.stat(path, dir_fd=dir_fd, follow_symlinks=follow), path)
    descriptor = os.open(path, _FILE | (0 if follow else os.O_NOFOLLOW), dir_fd=dir_fd)
    try:
        _check_regular(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(f"{os.fsencode(path)!r} is not a regular file")


@dataclass(frozen=True, slots=True)
class FolderScan:
    """What a folder holds.

    :ivar files: path below the folder to status, of each regular file that is not hidden.
    :ivar links: paths of links that were left out.
    :ivar too_deep: paths of folders that were left out because they are nested too deeply.
    """

    files: dict[str, os.stat_result] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    too_deep: list[str] = field(default_factory=list)


class MediaFolder:
    """A folder whose files are served. Thread-safe; keeps no descriptor between calls."""

    def __init__(self, path: Path, *, follow_links: bool = False) -> None:
        """The folder at ``path``, which may itself be named by a link.

        :raises OSError: when it is not there, or is no folder.
        """
        self.path = path.absolute()
        self.follow_links = follow_links
        self._inode: tuple[int, int] | None = None
        with self._opened([]) as descriptor:
            self._inode = _inode(descriptor)

    def open(self, name: str) -> int:
        """A descriptor of the file ``name`` (a path below the folder, with ``/``), for reading.

        :raises OSError: when it is gone, is no regular file, or lies behind a link.
        """
        *folders, last = _components(name)
        with self._opened(folders) as parent:
            return open_regular_file(last, dir_fd=parent, follow=self.follow_links)

    def stat(self, name: str) -> os.stat_result:
        """The status of the file ``name``, without opening it.

        :raises OSError: as ``open``.
        """
        *folders, last = _components(name)
        with self._opened(folders) as parent:
            status = os.stat(last, dir_fd=parent, follow_symlinks=self.follow_links)
        _check_regular(status, name)
        return status

    def scan(self) -> FolderScan:
        """All files below the folder that are not hidden, in the order of their paths.

        :raises OSError: when a folder cannot be read.
        """
        found = FolderScan()
        seen: set[tuple[int, int]] = set()
        folders, linked_folders = [""], deque[str]()
        while folders or linked_folders:
            # real folders first: one that is reached both ways keeps its own path
            name = folders.pop() if folders else linked_folders.popleft()
            if name.count("/") >= MOST_LEVELS:
                found.too_deep.append(name)
                continue
            try:
                with self._opened(_components(name) if name else []) as descriptor:
                    if _inode(descriptor) not in seen:  # links can make circles
                        seen.add(_inode(descriptor))
                        inside = self._scan_one(descriptor, name, found, linked_folders)
                        folders += reversed(inside)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went away since its parent was read, or a link took its place
        return found

    def _scan_one(
        self, descriptor: int, name: str, found: FolderScan, linked_folders: deque[str]
    ) -> list[str]:
        """Note the files of one folder and the folders that its links lead to; its own folders."""
        folders: list[str] = []
        with os.scandir(descriptor) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                if entry.name.startswith("."):
                    continue
                path = f"{name}/{entry.name}" if name else entry.name
                if entry.is_symlink() and not self.follow_links:
                    found.links.append(path)
                    continue
                try:
                    status = entry.stat(follow_symlinks=self.follow_links)
                except OSError:  # it went away, or leads nowhere
                    continue
                if stat.S_ISDIR(status.st_mode):
                    (linked_folders if entry.is_symlink() else folders).append(path)
                elif stat.S_ISREG(status.st_mode):
                    found.files[path] = status
        return folders

    @contextmanager
    def _opened(self, folders: Sequence[str]) -> Iterator[int]:
        """A descriptor of the folder at the end of these components, closed at the end."""
        if self.follow_links:
            descriptor = os.open(self.path.joinpath(*folders), _FOLDER)
            folders = []
        else:
            descriptor = os.open(self.path, _FOLDER)
        try:
            if not self.follow_links and self._inode not in (None, _inode(descriptor)):
                raise FileNotFoundError(f"{self.path} is not the folder that it was at the start")
            for one in folders:
                # ENOTDIR for a link: O_DIRECTORY is looked at first
                inner = os.open(one, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)


def _components(name: str) -> list[str]:
    components = name.split("/")
    if any(one in ("", ".", "..") for one in components):
        raise FileNotFoundError(f"{name!r} is not a path below the folder")
    return components


def _inode(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
