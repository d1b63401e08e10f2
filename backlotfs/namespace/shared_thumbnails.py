"""A library whose folders have a shared thumbnail repository each (``--shared-thumbnails``).

The freedesktop.org thumbnail standard lets a folder bring pictures of its files along, in
``.sh_thumbnails/SIZE/``, each called by the md5 of the file's relative URI. Here they are not in
the tree: each is made from the asset's preview image when somebody looks it up, and its exact size
has to be known by then. One that cannot be had is not there, whatever the reason: file managers
ask for every file in view, and a picture is nothing to fail for. A file or folder that is called
``.sh_thumbnails`` itself wins.
"""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple, Protocol

from cachetools import LRUCache

from backlotfs.api.records import Asset
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import (
    BacklotError,
    Interrupted,
    IsADirectory,
    NoSuchEntry,
    NotADirectory,
    NotSupported,
)
from backlotfs.namespace.attributes import Attributes, directory_attributes, file_attributes
from backlotfs.namespace.layouts.folder import ROOT_INODE, Folder
from backlotfs.namespace.namespace import Entry, Namespace, Version
from backlotfs.namespace.sidecars import NamespaceWithSidecars

REPOSITORY = ".sh_thumbnails"
#: Folders whose names of thumbnails are remembered; a new version of a folder is another.
_INDEXES = 64


class Wanted(NamedTuple):
    """A thumbnail of one version of a file.

    :ivar image_url: of the preview image. :ivar uri: the file's, relative to its folder.
    :ivar size: a name of the standard's: ``normal``. :ivar file_size, mtime_s: as in ``stat``.
    """

    image_url: str
    uri: str
    size: str
    file_size: int
    mtime_s: int


class Pictures(Protocol):
    """What makes thumbnails."""

    @property
    def sizes(self) -> Sequence[str]:
        """The names of the sizes, each a folder."""

    def named(self, name: str) -> Mapping[str, str]:
        """What thumbnails of a file of this name are called → the relative URI that it is from."""

    def png(self, wanted: Wanted, waiter: InterruptibleWait) -> bytes:
        """All of a thumbnail. :raises NoSuchEntry: there is none, or not in time."""


class _Repository(NamedTuple):
    inode: int
    folder: Folder[AssetRow]
    place: str
    size: str = ""  # of the sub-folder; empty: of the repository itself


class _Thumbnail(NamedTuple):
    inode: int
    source_path: str
    row: AssetRow
    size: str
    uri: str


class NamespaceWithThumbnails(Namespace):
    """A `Namespace` with thumbnails, once `show` was called."""

    _pictures: Pictures | None = None
    _index: _Index
    _listed = False

    def show(self, pictures: Pictures, *, listed: bool) -> None:
        """Have the repositories from now on. ``listed``: folders also list them."""
        self._pictures = pictures
        self._index = _Index(pictures)
        self._listed = listed

    def attributes(self, path: str, patience: Callable[[], InterruptibleWait]) -> Attributes:
        """Of a thumbnail too, for which that makes it.

        :raises NoSuchEntry: there is no such thumbnail, or not in time.
        """
        found = self._virtual(path)
        if found is None:
            shown = super().attributes(path, patience)
            if self._listed and stat.S_ISDIR(shown.mode):
                return shown._replace(nlink=shown.nlink + 1)  # so that `find` looks into it
            return shown
        if isinstance(found, _Repository):
            return directory_attributes(
                found.inode,
                mtime_s=self._current().newest_s,
                umask=self._umask,
                subdirs=0 if found.size else len(self._made.sizes),
            )
        wanted = self._wanted(found, patience)
        size = len(self._made.png(wanted, patience()))
        return file_attributes(found.inode, size, mtime_s=wanted.mtime_s, umask=self._umask)

    def entries(self, path: str) -> Iterator[Entry]:
        """Of a repository too: its sizes, and in each of them what may be there."""
        found = self._virtual(path)
        if found is None:
            lines = super().entries(path)
            if not self._listed:
                return lines
            folder = self._lookup(self._current(), path)
            if not isinstance(folder, Folder) or REPOSITORY in folder.entries:
                return lines
            return chain(lines, (Entry(REPOSITORY, _inode(folder.inode), True),))
        if isinstance(found, _Thumbnail):
            raise NotADirectory(f"{path!r} is a file")
        if found.size:
            return self._thumbnails(found)
        return (Entry(size, _inode(found.inode, size), True) for size in self._made.sizes)

    def open(self, path: str, waiter: InterruptibleWait) -> Version:
        """:raises NotSupported: a thumbnail has no source; `virtual_content` has what is in it."""
        found = self._virtual(path)
        if isinstance(found, _Repository):
            raise IsADirectory(f"{path!r} is a folder")
        if found is not None:
            raise NotSupported(f"{path!r} is made from a preview image: it has no source")
        return super().open(path, waiter)

    def virtual_content(self, path: str, patience: Callable[[], InterruptibleWait]) -> bytes | None:
        """All of a thumbnail; None when the path is something else."""
        found = self._virtual(path)
        if isinstance(found, _Repository):
            return None
        if found is None:
            return super().virtual_content(path, patience)
        return self._made.png(self._wanted(found, patience), patience())

    def is_virtual(self, path: str) -> bool:
        """Thumbnails are."""
        return isinstance(self._virtual(path), _Thumbnail) or super().is_virtual(path)

    def asset(self, path: str) -> Asset | None:
        """None of a thumbnail: it has no source to warm and no attributes to show."""
        return super().asset(path) if self._virtual(path) is None else None

    @property
    def _made(self) -> Pictures:
        assert self._pictures is not None  # nothing is virtual before `show`
        return self._pictures

    def _virtual(self, path: str) -> _Repository | _Thumbnail | None:
        """None where the path is none of ours. :raises NoSuchEntry: it would be, and is nothing."""
        if REPOSITORY not in path or self._pictures is None:  # nearly always
            return None
        parts = path.split("/")
        if REPOSITORY not in parts:
            return None
        at = parts.index(REPOSITORY)
        place, inside = "/".join(parts[:at]), parts[at + 1 :]
        folder = self._lookup(self._current(), place)
        if not isinstance(folder, Folder) or REPOSITORY in folder.entries:
            return None
        inode = _inode(folder.inode)
        if not inside:
            return _Repository(inode, folder, place)
        size, *names = inside
        if size not in self._pictures.sizes or len(names) > 1:
            raise NoSuchEntry(f"no such file or folder: {path!r}")
        if not names:
            return _Repository(_inode(inode, size), folder, place, size)
        name = self._index.file_of(folder, names[0])
        row = None if name is None else folder.entries[name]
        if name is None or row is None or isinstance(row, Folder) or self._hides(row):
            raise NoSuchEntry(f"no such file or folder: {path!r}")
        uri = self._pictures.named(name)[names[0]]
        return _Thumbnail(_inode(row.inode, size, uri), f"{place}/{name}", row, size, uri)

    def _wanted(self, found: _Thumbnail, patience: Callable[[], InterruptibleWait]) -> Wanted:
        asset = self._catalog.record(found.row.embed_code)
        if asset is None or not asset.preview_image_url:
            raise NoSuchEntry(f"{found.source_path!r} has no preview image")
        code = found.row.embed_code
        if self._is_unsized(found.row) and self._probes.seconds_until(code) > 0:
            # It may take an hour to come, and the kernel holds the folder's lock meanwhile.
            self._probes.prioritize([code])
            raise NoSuchEntry(f"the size of {found.source_path!r} is not known yet")
        try:
            source = super().attributes(found.source_path, patience)
        except Interrupted:
            raise
        except BacklotError as error:
            raise NoSuchEntry(f"no thumbnail of {found.source_path!r}: {error}") from None
        return Wanted(asset.preview_image_url, found.uri, found.size, source.size, source.mtime_s)

    def _thumbnails(self, of: _Repository) -> Iterator[Entry]:
        for name, row in of.folder.entries.items():
            if isinstance(row, Folder) or self._hides(row):
                continue
            asset = self._catalog.record(row.embed_code)
            if asset is not None and asset.preview_image_url:
                for called, uri in self._made.named(name).items():
                    yield Entry(called, _inode(row.inode, of.size, uri), False)

    def _hides(self, row: AssetRow) -> bool:
        return not self._include_unavailable and self._book.unavailable(row)


class NamespaceWithBoth(NamespaceWithThumbnails, NamespaceWithSidecars):
    """Sidecars and thumbnails; there are none of each other."""


def namespace_class(*, sidecars: bool, thumbnails: bool) -> type[Namespace]:
    """The one that shows these beside the sources."""
    if thumbnails:
        return NamespaceWithBoth if sidecars else NamespaceWithThumbnails
    return NamespaceWithSidecars if sidecars else Namespace


class _Index:
    """Which file a thumbnail is of; made for a folder at the first look-up there."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._lock = threading.Lock()
        self._folders: LRUCache[int, tuple[Folder[AssetRow], dict[str, str]]] = LRUCache(_INDEXES)

    def file_of(self, folder: Folder[AssetRow], called: str) -> str | None:
        """The file's name."""
        with self._lock:
            kept = self._folders.get(folder.inode)
            if kept is None or kept[0] is not folder:  # of an older version of the library
                kept = folder, self._names(folder)
                self._folders[folder.inode] = kept
            return kept[1].get(called)

    def _names(self, folder: Folder[AssetRow]) -> dict[str, str]:
        files = (name for name, entry in folder.entries.items() if not isinstance(entry, Folder))
        return {called: name for name in files for called in self._pictures.named(name)}


def _inode(of: int, *what: str) -> int:
    """Of what belongs to a file or folder with this inode: the same on every host."""
    text = "/".join((str(of), *what)).encode("utf-8", "surrogatepass")
    digest = blake2b(text, digest_size=8, person=b"backlotfs thumbs").digest()
    return max(ROOT_INODE + 1, int.from_bytes(digest, "big") >> 1)
