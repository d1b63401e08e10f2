# SPDX-License-Identifier: Apache-2.0
"""The tree of a mount: folders, their files, and the lookup of paths.

`layouts` builds each `Folder` completely; afterwards any thread may read it. A file in it is the
inode number of its asset, whose row is made by the `AssetTable` when it is needed. Virtual files
and folders, which have no source, are not in the tree: providers make them on demand (see
`namespace.Provider`).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import compress, islice
from operator import mul
from typing import Generic, NamedTuple, TypeVar, cast
from zlib import crc32

from cachetools import LRUCache

from backlotfs.catalog.db.rows import AssetRow, hashed_inode
from backlotfs.catalog.db.table import AssetTable
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.config.settings import NameMode
from backlotfs.errors import NoSuchEntry, NotADirectory
from backlotfs.namespace.attributes import Attributes
from backlotfs.namespace.naming import age_key, distinct, key

#: The root's inode number in FUSE.
ROOT_INODE = 1
#: Number of folders for which `PerFolder` keeps values.
_FOLDERS_KEPT = 64

#: Makes the waiter of an operation; called only if the operation has to wait.
StartWait = Callable[[], InterruptibleWait]
T = TypeVar("T")


class Folder:
    """A folder: maps names to folders and files. Immutable once the layout is built.

    :ivar inode: see `folder_inode`; `ROOT_INODE` for the root.
    :ivar assets: the version of the library that its files are of.
    :ivar entries: the folders first, then the files. A file is the inode number of its asset, so
        that a million files need little memory.
    :ivar subfolders: the number of entries that are folders.
    """

    __slots__ = ("assets", "entries", "inode", "subfolders")

    def __init__(self, inode: int, assets: AssetTable) -> None:
        self.inode = inode
        self.assets = assets
        self.entries: dict[str, Folder | int] = {}
        self.subfolders = 0

    def __repr__(self) -> str:
        return f"<Folder {self.inode}: {self.subfolders} of {len(self.entries)} are folders>"

    def get(self, name: str) -> Node | None:
        """The folder or file of this name; None if there is none."""
        found = self.entries.get(name)
        return self.assets.at(found) if isinstance(found, int) else found

    def folders(self) -> Iterator[tuple[str, Folder]]:
        """The entries that are folders."""
        folders = islice(self.entries.items(), self.subfolders)
        return cast("Iterator[tuple[str, Folder]]", folders)

    def files(self) -> Iterator[tuple[str, int]]:
        """The entries that are files."""
        files = islice(self.entries.items(), self.subfolders, None)
        return cast("Iterator[tuple[str, int]]", files)

    def inodes(self) -> Iterator[int]:
        """The inode numbers of the files."""
        return cast("Iterator[int]", islice(self.entries.values(), self.subfolders, None))

    def rows(self, among: Container[int] | None = None) -> Iterator[AssetRow]:
        """The rows of the files; only of those with these inode numbers, if given."""
        inodes = self.inodes() if among is None else filter(among.__contains__, self.inodes())
        return (row for row in map(self.assets.at, inodes) if row is not None)

    def put_folder(self, name: str, folder: Folder) -> None:
        """Add a folder under a free name. Call it before the first file is added."""
        self.entries[name] = folder
        self.subfolders += 1

    def put_files(self, names: Iterable[str], inodes: Iterable[int], mode: NameMode) -> None:
        """Add all files, each under its given name unless a folder has that name.

        Such a file gets `` [embed_code]`` before the extension, so that the names of folders do
        not depend on files. A file that has this longer name already keeps it.

        :param names: different ones, as given in this mode. :param inodes: of the same assets.
        """
        files = zip(names, inodes, strict=True)
        if not self.subfolders:
            self.entries = dict(files)
            return
        folder_keys = {key(mode, name) for name, _ in self.folders()}
        displaced: list[int] = []
        for name, inode in files:
            if key(mode, name) in folder_keys:
                displaced.append(inode)
            else:
                self.entries[name] = inode
        if not displaced:
            return
        taken = folder_keys.union(key(mode, name) for name in self.entries)
        for row in sorted(filter(None, map(self.assets.at, displaced)), key=age_key):
            name = distinct(mode, row.name, row.embed_code, taken)
            taken.add(key(mode, name))
            self.entries[name] = row.inode


def entries_digest(folder: Folder, *, missing: bool) -> int:
    """A digest below 2**63 of a folder's names and inode numbers, which ignores their order.

    It takes 0.2 s for a million files, because no Python code runs for a single file.

    :param missing: files whose source is missing are listed too.
    """
    names: Iterable[str] = islice(folder.entries, folder.subfolders, None)
    inodes = list(folder.inodes())
    absent = folder.assets.missing
    if absent and not missing:
        listed = [inode not in absent for inode in inodes]
        names, inodes = compress(names, listed), list(compress(inodes, listed))
    total: int = sum(map(mul, map(crc32, map(str.encode, names)), inodes))
    total += sum(inodes)
    total += sum((crc32(name.encode()) + 1) * below.inode for name, below in folder.folders())
    return total % 2**63


#: A folder or file of the tree.
Node = Folder | AssetRow


class Entry(NamedTuple):
    """One entry of a listing. ``in_tree``: False for a virtual file or folder."""

    name: str
    inode: int
    is_directory: bool
    in_tree: bool = False


class VirtualFile(ABC):
    """A file that has no source; the mount makes its bytes."""

    @property
    @abstractmethod
    def inode(self) -> int:
        """The inode number, which is the same on every host."""

    @abstractmethod
    def attributes(self, start_wait: StartWait) -> Attributes:
        """The attributes. :raises NoSuchEntry: the file is gone, or cannot be made now."""

    @abstractmethod
    def content(self, start_wait: StartWait) -> bytes:
        """All bytes. :raises NoSuchEntry: the file is gone, or cannot be made now."""

    def xattrs(self) -> dict[str, bytes]:
        """The extended attributes; none unless a subclass has some."""
        return {}


class VirtualVersion(NamedTuple):
    """The content and attributes of a virtual file when it was opened."""

    content: bytes
    attributes: Attributes


class VirtualFolder(ABC):
    """A folder that holds virtual files only."""

    @property
    @abstractmethod
    def inode(self) -> int:
        """The inode number, which is the same on every host."""

    @abstractmethod
    def attributes(self) -> Attributes:
        """The attributes."""

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """The entries of the folder."""


class PerFolder(Generic[T]):
    """Caches a computed value for each of the most recently used folders. Thread-safe."""

    def __init__(self, compute: Callable[[Folder], T]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._kept: LRUCache[int, tuple[Folder, T]] = LRUCache(_FOLDERS_KEPT)

    def of(self, folder: Folder) -> T:
        """The value for this folder."""
        with self._lock:
            kept = self._kept.get(folder.inode)
            if kept is None or kept[0] is not folder:  # from an older version of the library
                kept = folder, self._compute(folder)
                self._kept[folder.inode] = kept
            return kept[1]


def node_at(root: Folder, path: str) -> Node:
    """The folder or file at a path.

    :raises NoSuchEntry: there is none. :raises NotADirectory: a component is a file.
    """
    direct = root.get(path[1:])
    if direct is not None:
        return direct
    node: Node = root
    for name in path.split("/"):
        if not name:
            continue
        if not isinstance(node, Folder):
            raise NotADirectory(f"{path!r}: a file has no entries")
        found = node.get(name)
        if found is None:
            raise NoSuchEntry(f"no such file or folder: {path!r}")
        node = found
    return node


def folders_below(root: Folder) -> Iterator[tuple[str, Folder]]:
    """The paths of the root (``""``) and of every folder below it, with the folders.

    There is no recursion, because labels may nest deeply.
    """
    waiting = [("", root)]
    while waiting:
        path, folder = waiting.pop()
        yield path, folder
        waiting += ((f"{path}/{name}", below) for name, below in folder.folders())


def codes_below(root: Folder, path: str) -> set[str]:
    """The embed codes of the file at this path, or of all files below the folder.

    :raises NoSuchEntry, NotADirectory: see `node_at`.
    """
    found = node_at(root, path)
    if isinstance(found, AssetRow):
        return {found.embed_code}
    inodes = {inode for _, folder in folders_below(found) for inode in folder.inodes()}
    return set(root.assets.codes(inodes))


def paths_of(root: Folder, embed_codes: Collection[str]) -> dict[str, list[str]]:
    """All paths of these assets by embed code, sorted; an asset without a path is left out."""
    codes = {root.assets.inode(code): code for code in embed_codes}
    found: dict[str, list[str]] = {}
    for path, folder in folders_below(root):
        for name, inode in folder.files():
            if inode in codes:
                found.setdefault(codes[inode], []).append(f"{path}/{name}")
    return {code: sorted(paths) for code, paths in found.items()}


def folder_inode(what: str) -> int:
    """The inode number of a folder.

    :param what: identifies the folder (``label:<id>``, ``dates:2013/01``) independently of its name
        and path, so that a renamed label keeps its inode.
    """
    return hashed_inode(what.encode("utf-8", "surrogatepass"), b"backlotfs folder")
