# SPDX-License-Identifier: Apache-2.0
"""The provider of a shared thumbnail repository in each folder (``--shared-thumbnails``).

In the freedesktop.org thumbnail standard a folder may contain thumbnails of its files, in
``.sh_thumbnails/SIZE/``; the name of each is the md5 of the file's relative URI. A thumbnail is
made from the asset's preview image when `stat` is called, which needs its exact size. A
thumbnail that cannot be made, for any reason, does not exist (ENOENT): file managers ask for the
thumbnail of every visible file, and another error would not help them. A file or folder of the
library named ``.sh_thumbnails`` hides the repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.db.rows import AssetRow, hashed_inode
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import BacklotError, Interrupted, NoSuchEntry
from backlotfs.namespace.attributes import Attributes, directory_attributes, file_attributes
from backlotfs.namespace.namespace import Namespace
from backlotfs.namespace.tree import (
    Entry,
    Folder,
    PerFolder,
    StartWait,
    VirtualFile,
    VirtualFolder,
)

REPOSITORY = ".sh_thumbnails"


class Wanted(NamedTuple):
    """A thumbnail of one version of a file.

    :ivar image_url: URL of the preview image. :ivar uri: URI of the file, relative to its folder.
    :ivar size: a size name of the standard: ``normal``. :ivar file_size, mtime_s: as in ``stat``.
    """

    image_url: str
    uri: str
    size: str
    file_size: int
    mtime_s: int


class Pictures(Protocol):
    """Makes thumbnails; a mount uses `thumbnails.shared.SharedPictures`."""

    @property
    def sizes(self) -> Sequence[str]:
        """The names of the sizes, which are the folders' names."""

    def named(self, name: str) -> Mapping[str, str]:
        """Map the names of the thumbnails of a file of this name to the URIs they are made from."""

    def png(self, wanted: Wanted, waiter: InterruptibleWait) -> bytes:
        """The bytes of a thumbnail. :raises NoSuchEntry: there is none, or not in time."""


class Thumbnails:
    """Provides the repositories of all folders. Any thread may call it."""

    def __init__(
        self, catalog: Catalog, probes: ProbeScheduler, pictures: Pictures, *, listed: bool
    ) -> None:
        """Make the provider. :param listed: whether listings show the repository."""
        self.subfolders = int(listed)
        self.version = 0
        self._catalog = catalog
        self._probes = probes
        self._pictures = pictures
        self._sources = PerFolder(self._sources_of)

    def find(self, path: str, namespace: Namespace) -> VirtualFile | VirtualFolder | None:
        """The repository, size folder or thumbnail at a path; see `Provider.find`."""
        if REPOSITORY not in path:
            return None
        parts = path.split("/")
        if REPOSITORY not in parts:
            return None
        at = parts.index(REPOSITORY)
        place, inside = "/".join(parts[:at]), parts[at + 1 :]
        folder = namespace.folder_at(place)
        if folder is None or REPOSITORY in folder.entries:
            return None
        repository = _Repository(self, namespace, folder)
        if not inside:
            return repository
        size, *names = inside
        if size not in self._pictures.sizes or len(names) > 1:
            return None
        if not names:
            return repository.of_size(size)
        name = self._sources.of(folder).get(names[0])
        row = None if name is None else folder.get(name)
        if name is None or not isinstance(row, AssetRow) or not namespace.is_listed(row):
            return None
        uri = self._pictures.named(name)[names[0]]
        return _Thumbnail(self, namespace, f"{place}/{name}", row, size, uri)

    def may_add(self, name: str) -> bool:
        """Thumbnails are added when files get preview images; see `Provider.may_add`."""
        return name.endswith(".png")

    def digest(self, folder: Folder) -> int:  # noqa: ARG002  # every folder has a repository
        """Always 0, because every folder has a repository; see `Provider.digest`."""
        return 0

    def entries(
        self, folder: Folder, lines: Iterator[Entry], namespace: Namespace
    ) -> Iterator[Entry]:
        """Add the repository at the end, if it is listed; see `Provider.entries`."""
        if not self.subfolders or REPOSITORY in folder.entries:
            return lines
        repository = _Repository(self, namespace, folder)
        return chain(lines, (Entry(REPOSITORY, repository.inode, True),))

    def png(self, wanted: Wanted, waiter: InterruptibleWait) -> bytes:
        """Make a thumbnail; see `Pictures.png`."""
        return self._pictures.png(wanted, waiter)

    def wanted(self, thumbnail: _Thumbnail, start_wait: StartWait) -> Wanted:
        """Find the image and file of a thumbnail. :raises NoSuchEntry: it cannot be made now."""
        row, source_path = thumbnail.row, thumbnail.source_path
        image_url = self._image_url(row)
        if image_url is None:
            raise NoSuchEntry(f"{source_path!r} has no preview image")
        code, namespace = row.embed_code, thumbnail.namespace
        if namespace.lacks_size(row) and self._probes.seconds_until(code) > 0:
            # The size may take an hour, and the caller would wait for it. With fusepy the kernel
            # would also lock the folder meanwhile.
            self._probes.prioritize([row])
            raise NoSuchEntry(f"the size of {source_path!r} is not known yet")
        try:
            source = namespace.attributes(row, start_wait)
        except Interrupted:
            raise
        except BacklotError as error:
            raise NoSuchEntry(f"no thumbnail of {source_path!r}: {error}") from None
        return Wanted(image_url, thumbnail.uri, thumbnail.size, source.size, source.mtime_s)

    def list_size(self, repository: _Repository) -> Iterator[Entry]:
        """List the possible thumbnails of one size in a folder."""
        folder, is_listed = repository.folder, repository.namespace.is_listed
        for (name, _), row in zip(folder.files(), folder.rows(), strict=True):
            if is_listed(row) and self._image_url(row) is not None:
                for called, uri in self._pictures.named(name).items():
                    yield Entry(called, _inode(row.inode, repository.size, uri), False)

    def list_sizes(self, repository: _Repository) -> Iterator[Entry]:
        """List the folders of a repository."""
        for size in self._pictures.sizes:
            yield Entry(size, repository.of_size(size).inode, True)

    @property
    def sizes(self) -> Sequence[str]:
        """The names of the sizes; see `Pictures.sizes`."""
        return self._pictures.sizes

    def _image_url(self, row: AssetRow) -> str | None:
        asset = self._catalog.record(row.embed_code)
        return None if asset is None else asset.preview_image_url or None

    def _sources_of(self, folder: Folder) -> dict[str, str]:
        """Map the names of a folder's thumbnails to the names of their files."""
        return {called: name for name, _ in folder.files() for called in self._pictures.named(name)}


@dataclass(frozen=True, slots=True)
class _Repository(VirtualFolder):
    """The repository of a folder, or with a ``size`` the folder of that size in it."""

    provider: Thumbnails
    namespace: Namespace
    folder: Folder
    size: str = ""

    def of_size(self, size: str) -> _Repository:
        return _Repository(self.provider, self.namespace, self.folder, size)

    @property
    def inode(self) -> int:
        repository = _inode(self.folder.inode)
        return _inode(repository, self.size) if self.size else repository

    def attributes(self) -> Attributes:
        """The attributes, with the time of the folder that the repository belongs to.

        A size folder is at least as new as the newest record of that folder, because a first
        preview image updates the record.
        """
        mtime_s = self.namespace.folder_time(self.folder)
        if self.size:
            updated_at_s = self.folder.assets.update_times(self.folder.inodes())
            mtime_s = max(mtime_s, max(updated_at_s, default=0))
        return directory_attributes(
            self.inode,
            mtime_s=mtime_s,
            umask=self.namespace.options.umask,
            subdirs=0 if self.size else len(self.provider.sizes),
        )

    def entries(self) -> Iterator[Entry]:
        """The size folders, or the possible thumbnails in a size folder."""
        return self.provider.list_size(self) if self.size else self.provider.list_sizes(self)


@dataclass(frozen=True, slots=True)
class _Thumbnail(VirtualFile):
    """A thumbnail at a path. ``uri``: see `Wanted`."""

    provider: Thumbnails
    namespace: Namespace
    source_path: str
    row: AssetRow
    size: str
    uri: str

    @property
    def inode(self) -> int:
        return _inode(self.row.inode, self.size, self.uri)

    def attributes(self, start_wait: StartWait) -> Attributes:
        """The attributes; this makes the picture, because its size is needed."""
        wanted = self.provider.wanted(self, start_wait)
        return file_attributes(
            self.inode,
            len(self.provider.png(wanted, start_wait())),
            mtime_s=wanted.mtime_s,
            umask=self.namespace.options.umask,
        )

    def content(self, start_wait: StartWait) -> bytes:
        """The picture in PNG format."""
        return self.provider.png(self.provider.wanted(self, start_wait), start_wait())


def _inode(of: int, *what: str) -> int:
    """The inode of a thumbnail or size folder, which is the same on every host."""
    text = "/".join((str(of), *what)).encode("utf-8", "surrogatepass")
    return hashed_inode(text, b"backlotfs thumbs")
