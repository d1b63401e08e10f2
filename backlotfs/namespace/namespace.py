"""The library as a folder: the face of `namespace` towards the kernel adapter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from backlotfs.api.records import Asset
from backlotfs.catalog.library import Library
from backlotfs.catalog.source_book import KnownSource
from backlotfs.errors import (
    BacklotError,
    DeadlineExceeded,
    NoSuchEntry,
    RemoteUnavailable,
    SourceDenied,
    SourceGone,
    SourceMissing,
)
from backlotfs.namespace.attributes import (
    Attributes,
    Totals,
    directory_attributes,
    file_attributes,
)
from backlotfs.namespace.naming import assign_names
from backlotfs.namespace.tree import DirNode, FileNode, Tree, flat_tree
from backlotfs.namespace.xattrs import extended_attributes, value_of
from backlotfs.remote.identity import SourceIdentity
from backlotfs.waiting import Waiter


class Listing(Protocol):
    """What is needed of the catalog."""

    @property
    def library(self) -> Library:
        """The last good listing."""

    def used(self) -> None:
        """Somebody uses the mount."""


class Book(Protocol):
    """What is needed of the source book."""

    def known(self, embed_code: str) -> KnownSource | None:
        """What is known of a source, verified or not."""

    def settling(self, known: KnownSource) -> bool:
        """Whether the kernel may still believe the size of an older version."""

    def failure(self, embed_code: str) -> BacklotError | None:
        """Why the last probe failed, while that is recent."""

    def unavailable(self, embed_code: str) -> bool:
        """Whether there is no source to be had."""

    def total_size(self) -> int:
        """Bytes of all sources whose size is known."""


class Sizing(Protocol):
    """What is needed of the sizer."""

    def request(self, embed_code: str) -> Future[KnownSource]:
        """Probe now, or join the probe that runs."""

    def listed(self, embed_codes: list[str]) -> None:
        """Somebody lists these."""


class Version(NamedTuple):
    """What to open.

    :ivar settling: the kernel may still believe the size of the version before it.
    """

    identity: SourceIdentity
    settling: bool


class Entry(NamedTuple):
    """One line of a listing."""

    name: str
    inode: int
    is_directory: bool


class Namespace:
    """Any thread may call it. Only `attributes` and `open` of a source not yet known wait."""

    def __init__(
        self,
        catalog: Listing,
        book: Book,
        sizer: Sizing,
        *,
        umask: int,
        include_unavailable: bool = False,
    ) -> None:
        self._catalog = catalog
        self._book = book
        self._sizer = sizer
        self._umask = umask
        self._include_unavailable = include_unavailable
        self._lock = threading.Lock()
        self._given: dict[str, str] = {}
        self._tree = flat_tree({})
        self._tree_version = 0
        self._newest_s = 0

    def attributes(self, path: str, waiter: Waiter) -> Attributes:
        """What ``stat`` says; waits for the probe of a source that is not known yet.

        :raises NoSuchEntry: no such path, or there is no source to be had.
        :raises BacklotError: the size cannot be found out now: never a guess, never 0.
        """
        node = self._current().lookup(path)
        if isinstance(node, DirNode):
            subdirs = sum(isinstance(entry, DirNode) for entry in node.entries.values())
            return directory_attributes(
                node.inode, mtime_s=self._newest_s, umask=self._umask, subdirs=subdirs
            )
        try:
            known = self._settled(node.embed_code, waiter)
        except (SourceMissing, SourceGone, SourceDenied) as error:
            if not self._include_unavailable:
                raise NoSuchEntry(f"{path!r} has no source file") from error
            empty = SourceIdentity(node.embed_code, 0, None, None)
            known = KnownSource(empty, self._updated_at(node.embed_code), verified=False)
        return file_attributes(node.inode, known.identity, mtime_s=known.mtime_s, umask=self._umask)

    def entries(self, path: str) -> Iterator[Entry]:
        """The lines of a folder, all of one version of the library.

        :raises NoSuchEntry, NotADirectory: `path` is no folder.
        """
        self._catalog.used()
        folder = self._current().directory(path)
        # Also the hidden ones: whether they have a source now is asked again, in its time.
        self._sizer.listed(
            [node.embed_code for node in folder.entries.values() if isinstance(node, FileNode)]
        )
        shown = [
            (name, node)
            for name, node in folder.entries.items()
            if isinstance(node, DirNode)
            or self._include_unavailable
            or not self._book.unavailable(node.embed_code)
        ]
        return (Entry(name, node.inode, isinstance(node, DirNode)) for name, node in shown)

    def open(self, path: str, waiter: Waiter) -> Version:
        """The version of a source to open: probed anew if it is in doubt.

        :raises IsADirectory, NoSuchEntry: `path` is no file.
        :raises SourceMissing, SourceGone, SourceDenied: there is no source to be had.
        :raises BacklotError: it cannot be found out now.
        """
        node = self._current().file(path)
        self._catalog.used()
        known = self._book.known(node.embed_code)
        if known is None or not known.verified:
            known = self._probe(node.embed_code, waiter)
        return Version(known.identity, self._book.settling(known))

    def xattrs(self, path: str) -> dict[str, bytes]:
        """All extended attributes of a path; a folder has none."""
        node = self._current().lookup(path)
        if isinstance(node, DirNode):
            return {}
        asset = self._catalog.library.assets.get(node.embed_code)
        if asset is None:
            return {}
        return extended_attributes(asset, path.rpartition("/")[2])

    def xattr(self, path: str, name: str) -> bytes:
        """One extended attribute. :raises NotSupported, NoAttribute: see `xattrs.value_of`."""
        return value_of(self.xattrs(path), name)

    def totals(self) -> Totals:
        """Of the whole library, for ``statfs``."""
        return Totals(files=len(self._given), size=self._book.total_size())

    def assets(self) -> Iterator[tuple[str, Asset]]:
        """Name and asset of everything in the library."""
        self._current()
        given, assets = self._given, self._catalog.library.assets
        return ((given[code], asset) for code, asset in assets.items() if code in given)

    def _settled(self, embed_code: str, waiter: Waiter) -> KnownSource:
        """What to show: of a source in doubt the new size if it can be had, else the last one."""
        known = self._book.known(embed_code)
        if known is None:
            return self._probe(embed_code, waiter)
        if known.verified:
            return known
        try:
            # The kernel keeps what it is told: a size corrected only in `open` comes too late.
            return self._probe(embed_code, waiter)
        except (RemoteUnavailable, DeadlineExceeded):
            return known

    def _probe(self, embed_code: str, waiter: Waiter) -> KnownSource:
        failure = self._book.failure(embed_code)
        if failure is not None:
            raise failure.with_traceback(None)  # it is kept: it must not collect frames
        return waiter.result(self._sizer.request(embed_code), f"finding out about {embed_code}")

    def _current(self) -> Tree:
        if self._catalog.library.version != self._tree_version:
            with self._lock:
                library = self._catalog.library
                if library.version != self._tree_version:
                    self._given = assign_names(library.assets.values(), self._given)
                    self._tree = flat_tree(self._given)
                    self._newest_s = max(
                        (asset.updated_at_s for asset in library.assets.values()), default=0
                    )
                    self._tree_version = library.version
        return self._tree

    def _updated_at(self, embed_code: str) -> int:
        asset = self._catalog.library.assets.get(embed_code)
        return asset.updated_at_s if asset is not None else 0
