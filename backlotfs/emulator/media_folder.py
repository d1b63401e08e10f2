# SPDX-License-Identifier: Apache-2.0
"""Finds and opens regular files below the media folder, and no others.

Each component of a path is opened in turn, relative to the component before it, without following
links. So no link leads outside of the folder, even one that is made while the emulator runs. FIFOs
and devices are refused without being opened. With ``follow_links`` links are followed, inside and
outside of the folder.
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
"""Most levels of nested folders; deeper folders are not read."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def open_regular_file(path: str | Path, *, dir_fd: int | None = None, follow: bool = False) -> int:
    """Open a regular file for reading, and return its descriptor. It never waits.

    :param dir_fd: the folder that ``path`` is relative to.
    :param follow: whether to follow a link at the end of ``path``.
    :raises OSError: the file cannot be opened, or is not a regular file.
    """
    # check before the open, because to open a device can have an effect
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
    """The result of a scan; all paths are relative to the folder.

    :ivar files: the status of each regular file that is not hidden, by path.
    :ivar links: paths of links that were left out.
    :ivar hidden: paths of hidden files and folders, which were left out.
    :ivar special: paths of FIFOs, devices and sockets, which were left out.
    :ivar unreadable: paths of files and folders that this process may not read.
    :ivar too_deep: paths of folders that were left out because they are nested too deeply.
    """

    files: dict[str, os.stat_result] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    too_deep: list[str] = field(default_factory=list)


class MediaFolder:
    """A folder whose files are served. Thread-safe; keeps no descriptor between calls."""

    def __init__(self, path: Path, *, follow_links: bool = False) -> None:
        """Serve the folder at ``path``, which may be a link.

        :raises OSError: it does not exist, or is not a folder.
        """
        self.path = path.absolute()
        self.follow_links = follow_links
        self._inode: tuple[int, int] | None = None
        with self._opened([]) as descriptor:
            self._inode = _inode(descriptor)

    def open(self, name: str) -> int:
        """Open a file for reading; ``name`` is its path below the folder.

        :raises OSError: it is gone, is not a regular file, or its path has a link.
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
        """All files below the folder that are not hidden.

        The files of a folder are in the order of their names, before the files of its subfolders.

        :raises OSError: the folder itself cannot be read.
        """
        found = FolderScan()
        seen: set[tuple[int, int]] = set()
        folders, linked_folders = [""], deque[str]()
        while folders or linked_folders:
            # real folders first, so a folder that a link leads to keeps its own path
            name = folders.pop() if folders else linked_folders.popleft()
            if name.count("/") >= MOST_LEVELS:
                found.too_deep.append(name)
                continue
            try:
                with self._opened(_components(name) if name else []) as descriptor:
                    if _inode(descriptor) not in seen:  # links can lead to a folder again
                        seen.add(_inode(descriptor))
                        inside = self._scan_one(descriptor, name, found, linked_folders)
                        folders += reversed(inside)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it was removed or replaced by a link since its parent was read
            except PermissionError:
                if not name:
                    raise
                found.unreadable.append(name)
        return found

    def _scan_one(
        self, descriptor: int, name: str, found: FolderScan, linked_folders: deque[str]
    ) -> list[str]:
        """Add the files and linked folders of one folder; return the paths of its own folders."""
        folders: list[str] = []
        with os.scandir(descriptor) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                path = f"{name}/{entry.name}" if name else entry.name
                if entry.name.startswith("."):
                    found.hidden.append(path)
                    continue
                if entry.is_symlink() and not self.follow_links:
                    found.links.append(path)
                    continue
                try:
                    status = entry.stat(follow_symlinks=self.follow_links)
                except OSError:  # it was removed, or is a broken link
                    continue
                if stat.S_ISDIR(status.st_mode):
                    (linked_folders if entry.is_symlink() else folders).append(path)
                elif not stat.S_ISREG(status.st_mode):
                    found.special.append(path)
                elif os.access(entry.name, os.R_OK, dir_fd=descriptor, effective_ids=True):
                    found.files[path] = status
                else:
                    found.unreadable.append(path)
        return folders

    @contextmanager
    def _opened(self, folders: Sequence[str]) -> Iterator[int]:
        """A descriptor, open within the block, of the folder with these path components."""
        if self.follow_links:
            descriptor = os.open(self.path.joinpath(*folders), _FOLDER)
            folders = []
        else:
            descriptor = os.open(self.path, _FOLDER)
        try:
            if not self.follow_links and self._inode not in (None, _inode(descriptor)):
                raise FileNotFoundError(f"{self.path} is not the folder that it was at the start")
            for one in folders:
                # a link gives ENOTDIR and not ELOOP, because the kernel checks O_DIRECTORY first
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
