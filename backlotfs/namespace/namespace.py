# SPDX-License-Identifier: Apache-2.0
"""The namespace of a mount: it looks up files and folders and answers stat, readdir and getxattr.

A path or a name is looked up in the tree of the newest version of the library (`layouts.build`). If
the tree does not have it, the providers look it up: each adds files and folders that have no source
(sidecars, captions, thumbnails). So a source with the name of a virtual file hides that file. The
result of a look-up (`Found`) is valid for one operation; a later operation looks it up again.

A caller waits for the size of a file that is unknown or may have changed (`sizes.SourceSizes`), for
the bytes of a thumbnail, for a saved listing that is still being read, and at an open after a long
pause for a refresh of the listing. For a program that does not wait for sizes, listings leave out
files of unknown size and contain a notice that says how many are missing.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

from backlotfs.api.records import Asset
from backlotfs.catalog.catalog import Catalog
from backlotfs.catalog.db.folders import FolderTime, shown_in_part
from backlotfs.catalog.db.rows import AssetRow, inode_of
from backlotfs.catalog.library import Library
from backlotfs.catalog.probe_scheduler import ProbeScheduler
from backlotfs.catalog.versions import ProbedSource, SourceVersionCache
from backlotfs.concurrency.interruptible_wait import InterruptibleWait, WouldWait
from backlotfs.config.settings import NameMode
from backlotfs.errors import (
    BacklotError,
    IsADirectory,
    NoSuchEntry,
    NotADirectory,
    NotSupported,
    SourceDenied,
    SourceGone,
    SourceMissing,
)
from backlotfs.namespace.attributes import (
    EARLIEST_S,
    LATEST_S,
    PREFIX,
    UNLISTED,
    Attributes,
    CacheState,
    Totals,
    directory_attributes,
    extended_attributes,
    file_attributes,
    value_of,
)
from backlotfs.namespace.incomplete_notice import Notice
from backlotfs.namespace.layouts import Layout, build
from backlotfs.namespace.sizes import SourceSizes, UnsizedRules
from backlotfs.namespace.tree import (
    ROOT_INODE,
    Entry,
    Folder,
    Node,
    StartWait,
    VirtualFile,
    VirtualFolder,
    entries_digest,
    folders_below,
    node_at,
)
from backlotfs.source.version import SourceVersion

#: An open after a long pause waits this long for a refresh of the listing.
OPEN_WAIT_S = 1.5
#: Number of folders that were listed last, in which the place of an opened file is looked for.
LISTED_REMEMBERED = 16


class Provider(Protocol):
    """Adds files or folders without a source to the folders of a mount. Any thread may call it.

    :ivar subfolders: how many folders it lists in each folder.
    :ivar version: grows when its entries change although the library is the same.
    """

    @property
    def subfolders(self) -> int:
        """How many folders it lists in each folder."""

    @property
    def version(self) -> int:
        """Grows when its entries change although the library is the same."""

    def may_add(self, name: str) -> bool:
        """Whether a file of this name may be added or removed without a new library version."""

    def digest(self, folder: Folder) -> int:
        """A digest of its entries in a folder, without those that every file or folder has."""

    def find(self, path: str, namespace: Namespace) -> VirtualFile | VirtualFolder | None:
        """The provider's file or folder at a path that is not in the tree; None if it has none."""

    def entries(
        self, folder: Folder, lines: Iterator[Entry], namespace: Namespace
    ) -> Iterator[Entry]:
        """The listing ``lines`` of a folder of the tree, with this provider's entries added."""


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """How the library is shown.

    :ivar layouts: see `layouts.build`.
    :ivar include_unavailable: also show files whose source cannot be read.
    """

    layouts: Sequence[str]
    names: NameMode
    umask: int
    include_unavailable: bool = False


@dataclass(frozen=True, slots=True)
class ReadState:
    """Functions of the read path that the namespace calls.

    :ivar cached: returns the cache state of a source; does not wait.
    :ivar open_failed: called after each failed open with embed code, path and error.
    """

    cached: Callable[[str], CacheState] = lambda _code: CacheState()
    open_failed: Callable[[str, str, BacklotError], None] = lambda _code, _path, _error: None


class Place(NamedTuple):
    """A folder of the tree. ``path``: ``""`` for the root."""

    folder: Folder
    path: str


class Snapshot(NamedTuple):
    """One version of the library with its folders.

    :ivar places: the folders by inode number.
    :ivar newest_s: when the newest asset was made, seconds since the epoch.
    :ivar beside: the version of what the providers list.
    """

    library: Library
    layout: Layout
    places: dict[int, Place]
    newest_s: int
    beside: int


#: Size, time and ``st_nlink`` of a file in a listing.
PlainFile = tuple[int, int, int]
#: What a look-up finds: a folder of the tree, the row of an asset, a virtual file or folder.
Found = Node | VirtualFile | VirtualFolder


class Namespace:
    """The folders and files of a mount. Any thread may call it.

    Every look-up waits while a saved listing is still being read (`has_listing`). Otherwise only
    `attributes`, `open` and `content` wait: for a source whose size is unknown or may have changed,
    or for a thumbnail that has to be made. `open` may also wait `OPEN_WAIT_S` for a refresh.
    """

    def __init__(
        self,
        catalog: Catalog,
        versions: SourceVersionCache,
        probes: ProbeScheduler,
        options: TreeOptions,
        *,
        providers: Sequence[Provider] = (),
        rules: UnsizedRules | None = None,
        read_state: ReadState | None = None,
    ) -> None:
        """Build the tree of the library as it is now.

        :param providers: their entries are listed in this order.
        :param rules: who waits for a size that is not known yet; None: every program.
        """
        self.options = options
        self._catalog = catalog
        self._versions = versions
        self._sizes = SourceSizes(versions, probes, rules)
        self._providers = tuple(providers)
        self._subfolders = sum(provider.subfolders for provider in providers)
        self._read_state = read_state or ReadState()
        self._incomplete: set[int] = set()
        self._listed: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()
        catalog.folder_times.open(self._view())
        self._snapshot = self._build(catalog.library)

    # Look-ups.

    def find(self, path: str) -> Found:
        """Look up a path. :raises NoSuchEntry, NotADirectory: there is none."""
        now = self.snapshot()
        try:
            return node_at(now.layout.root, path)
        except NoSuchEntry:
            return self._beside_the_tree(path)

    def child(self, place: Place, name: str) -> Found:
        """Look up a name in a folder of the tree. :raises NoSuchEntry: there is none."""
        found = place.folder.get(name)
        return self._beside_the_tree(f"{place.path}/{name}") if found is None else found

    def place(self, inode: int) -> Place | None:
        """The folder of the tree with this inode number; None if there is none now."""
        return self.snapshot().places.get(inode)

    def row(self, embed_code: str) -> AssetRow | None:
        """The row of an asset; None if it is not presented now."""
        return self._catalog.row(embed_code)

    def in_tree(self, inode: int) -> Node | None:
        """The folder or asset with this inode number; None if it is not presented now."""
        row = self._catalog.library.rows.at(inode)
        if row is not None:
            return row
        place = self.place(inode)
        return None if place is None else place.folder

    def _beside_the_tree(self, path: str) -> Found:
        for provider in self._providers:
            found = provider.find(path, self)
            if found is not None:
                return found
        notice = self._notice_at(path)
        if notice is None:
            raise NoSuchEntry(f"no such file or folder: {path!r}")
        return notice

    @property
    def has_providers(self) -> bool:
        """Whether virtual files may be added or removed without a new version of the library."""
        return bool(self._providers)

    def may_appear(self, name: str) -> bool:
        """Whether a virtual file of this name may be added without a new version of the library."""
        return Notice.is_name(name) or any(beside.may_add(name) for beside in self._providers)

    # Operations.

    def attributes(self, found: Found, start_wait: StartWait) -> Attributes:
        """The attributes for ``stat``; waits for the probe of a source that is not known yet.

        :param start_wait: if it raises `WouldWait`, the attributes are not `Attributes.settled`.
        :raises NoSuchEntry: there is no source that can be read.
        :raises SizeUnknown: the program does not wait for the size.
        :raises BacklotError: the probe failed; the size is never a guess and never 0.
        """
        if isinstance(found, AssetRow):
            return self._file_attributes(found, start_wait)
        if isinstance(found, Folder):
            subfolders = found.subfolders + self._subfolders
            return directory_attributes(
                found.inode,
                mtime_s=self.folder_time(found),
                umask=self.options.umask,
                subdirs=subfolders,
            )
        if isinstance(found, VirtualFolder):
            return found.attributes()
        return found.attributes(start_wait)

    def root_beforehand(self) -> Attributes | None:
        """The attributes of the root while a saved listing is still being read; else None.

        None also if the time of the root is not known. ``st_nlink`` is 1, as in btrfs and
        overlayfs, because the number of folders is not known yet.
        """
        if not self._catalog.presented.expected:
            return None
        mtime_s, umask = self._catalog.folder_times.of(ROOT_INODE), self.options.umask
        if mtime_s is None:
            return None
        return directory_attributes(ROOT_INODE, mtime_s=mtime_s, umask=umask)._replace(nlink=1)

    def attributes_of_version(self, source: ProbedSource) -> Attributes:
        """The attributes of a version that another one has replaced."""
        code, size = source.version.embed_code, source.version.size
        inode = self._catalog.library.rows.inode(code) or inode_of(code)
        return file_attributes(
            inode,
            size,
            mtime_s=source.mtime_s,
            umask=self.options.umask,
            nlink=self.links(inode),
        )

    def plain_files(self, inodes: Iterable[int]) -> list[PlainFile | None]:
        """The size, time and links of each of these files; None if its row is not current.

        The rows of nearly all files have the current size and time. So a listing of 100 000 files
        needs no call and no `AssetRow` for each of them.
        """
        # before the rows are read, because a version that is not newer any more is in its row
        newer = self._versions.newer()
        nlink, assets = self._snapshot.layout.nlink, self._catalog.library.rows
        numbers, unsettled = assets.numbers, assets.unsettled
        sizes, mtimes_s = assets.sizes, assets.mtimes_s
        found: list[PlainFile | None] = []
        for inode in inodes:
            number = numbers.get(inode)
            if (
                number is None
                or inode in unsettled
                or (newer and assets.code(number) in newer)
                or not EARLIEST_S <= (mtime_s := mtimes_s[number]) <= LATEST_S
            ):
                found.append(None)
            else:
                found.append((sizes[number], mtime_s, nlink.get(inode, 1) if nlink else 1))
        return found

    def entries(self, found: Found) -> Iterator[Entry]:
        """The entries of a folder, all from one version of the library.

        For programs that do not wait for sizes, files of unknown size are left out, and a notice
        with their number is added.

        :raises NotADirectory: it is a file.
        """
        self._catalog.used()
        if isinstance(found, VirtualFolder):
            return found.entries()
        if not isinstance(found, Folder):
            raise NotADirectory("a file has no entries")
        with self._lock:
            self._listed[found.inode] = None
            self._listed.move_to_end(found.inode)
            if len(self._listed) > LISTED_REMEMBERED:
                self._listed.popitem(last=False)
        assets = found.assets
        hidden, seconds = self._sizes.list_folder(found.rows(assets.unsettled))
        left_out: Set[str] = hidden
        if not self.options.include_unavailable:
            left_out = hidden | self._versions.unavailable_among(found.rows(assets.missing))
        lines = _lines(found, left_out)
        if hidden:
            self._incomplete.add(found.inode)
            self._catalog.folder_times.incomplete(found.inode)
            notice = Notice.of(found.inode, len(hidden), seconds)
            lines = chain(lines, (Entry(notice.name, notice.inode, False),))
        for provider in reversed(self._providers):
            lines = provider.entries(found, lines, self)
        return lines

    def open(self, found: Found, waiter: InterruptibleWait) -> SourceVersion:
        """The version of a source to open; a source that may have changed is probed first.

        :raises IsADirectory: it is a folder.
        :raises NotSupported: the file has no source; see `content`.
        :raises SizeUnknown: the program does not wait for the size.
        :raises SourceMissing, SourceGone, SourceDenied: there is no source that can be read.
        :raises BacklotError: the probe failed.
        """
        if isinstance(found, Folder | VirtualFolder):
            raise IsADirectory("a folder cannot be opened as a file")
        if isinstance(found, VirtualFile):
            raise NotSupported("the file is made by the mount: it has no source")
        self._catalog.used(OPEN_WAIT_S)
        code = found.embed_code
        try:
            return self._sizes.for_open(code, waiter).version
        except BacklotError as error:
            self._read_state.open_failed(code, found.name, error)
            raise

    def content(self, found: VirtualFile, start_wait: StartWait) -> bytes:
        """The current bytes of a virtual file."""
        self._catalog.used()
        return found.content(start_wait)

    def xattrs(self, found: Found, *, own: bool = True) -> dict[str, bytes]:
        """All extended attributes of a file; a folder has none.

        :param own: with the mount's own attributes. To find out how much of a file is cached takes
            a while, and programs copy the other attributes of each file.
        """
        if isinstance(found, VirtualFile):
            return found.xattrs()
        if not isinstance(found, AssetRow):
            return {}
        asset = self._catalog.record(found.embed_code)
        if asset is None:
            return {}
        local = self._read_state.cached(found.embed_code) if own else None
        return extended_attributes(asset, found.name, local)

    def xattr(self, found: Found, name: str) -> bytes:
        """One extended attribute. :raises NotSupported, NoAttribute: see `attributes.value_of`."""
        if not name.startswith(PREFIX):
            return value_of({}, name)  # refused without reading the record
        return value_of(self.xattrs(found, own=name.startswith(UNLISTED)), name)

    def totals(self) -> Totals:
        """The number and total size of all files, for ``statfs``; does not wait.

        With rules (`AssetFilter.choice`) only the files that are shown are counted.
        """
        if self._catalog.presented.admit.choice is None:
            return Totals(files=self._catalog.assets(), size=self._catalog.total_size())
        rows = self._catalog.presented.current.rows
        return Totals(files=len(rows), size=self._versions.total_size(rows))

    # Calls of the rest of the mount.

    def source(self, embed_code: str) -> SourceVersion | None:
        """The known version of an asset's source; None if it was not probed yet."""
        known = self._versions.known(embed_code)
        return None if known is None else known.version

    def folder_with(self, embed_code: str, near: int | None) -> Folder | None:
        """The first folder that shows an asset under its own name; None if there is none.

        :param near: the inode number of the folder to search first. The folders that were listed
            last are searched next, then the root.
        """
        row = self.row(embed_code)
        if row is None:
            return None
        with self._lock:
            listed = list(reversed(self._listed))
        places = self.snapshot().places
        for inode in ([] if near is None else [near]) + listed + [ROOT_INODE]:
            place = places.get(inode)
            if place is not None and place.folder.entries.get(row.name) == row.inode:
                return place.folder
        return None

    def asset(self, found: Found) -> Asset | None:
        """The API record of an asset; None for folders and virtual files."""
        return self._catalog.record(found.embed_code) if isinstance(found, AssetRow) else None

    def name_of(self, embed_code: str) -> str:
        """The file name of an asset, for messages; its embed code if it has no name."""
        row = self.row(embed_code)
        return row.name if row is not None and row.name else embed_code

    @property
    def root(self) -> Folder:
        """The root of the current tree; see `tree.node_at`."""
        return self.snapshot().layout.root

    @property
    def has_listing(self) -> bool:
        """Whether look-ups do not have to wait for a saved listing that is still being read."""
        return not self._catalog.presented.expected

    # Calls of the providers.

    def folder_time(self, folder: Folder) -> int:
        """When the entries of a folder of the tree last changed."""
        mtime_s = self._catalog.folder_times.of(folder.inode)
        return self._snapshot.newest_s if mtime_s is None else mtime_s

    def folder_at(self, path: str) -> Folder | None:
        """The folder of the tree at a path; None if there is none."""
        try:
            found = node_at(self.root, path)
        except (NoSuchEntry, NotADirectory):
            return None
        return found if isinstance(found, Folder) else None

    def links(self, inode: int) -> int:
        """``st_nlink`` of an asset's source: the number of its paths."""
        return self.snapshot().layout.places(inode)

    def is_listed(self, row: AssetRow) -> bool:
        """Whether an asset is listed; it is not while its source is known to be missing."""
        return self.options.include_unavailable or not self._versions.unavailable(row)

    def lacks_size(self, row: AssetRow) -> bool:
        """Whether the source was not probed yet, so that its size is unknown."""
        return self._sizes.is_unknown(row)

    def _notice_at(self, path: str) -> Notice | None:
        """The notice at this path, if its folder still has files of unknown size."""
        place, _, name = path.rpartition("/")
        folder = self.folder_at(place) if Notice.is_name(name) else None
        if folder is None or not any(
            map(self._sizes.is_unknown, folder.rows(folder.assets.unsettled))
        ):
            return None
        return Notice(name, folder.inode, self.folder_time(folder), self.options.umask)

    # Sizes.

    def _file_attributes(self, row: AssetRow, start_wait: StartWait) -> Attributes:
        code, umask = row.embed_code, self.options.umask
        nlink = self._snapshot.layout.places(row.inode)
        if self._versions.is_current(row):  # nearly always, and 100 000 times in an `ls -l`
            return file_attributes(
                row.inode, row.size, mtime_s=row.mtime_s, umask=umask, nlink=nlink
            )
        settled = True
        known: ProbedSource | None
        try:
            known = self._sizes.for_stat(code, start_wait)
        except WouldWait:
            known, settled = self._versions.known(code), False
        except (SourceMissing, SourceGone, SourceDenied) as error:
            if not self.options.include_unavailable:
                raise NoSuchEntry(f"{row.name!r} has no source file") from error
            known = None
        size, mtime_s = (
            (0, row.updated_at_s) if known is None else (known.version.size, known.mtime_s)
        )
        return file_attributes(row.inode, size, mtime_s=mtime_s, umask=umask, nlink=nlink)._replace(
            settled=settled
        )

    # Versions of the library.

    def snapshot(self) -> Snapshot:
        """The newest version of the library with its folders."""
        if self._catalog.library.version != self._snapshot.library.version:
            with self._lock:
                library = self._catalog.library
                if library.version != self._snapshot.library.version:
                    self._snapshot = self._build(library)
        elif self._compare_again():
            with self._lock:
                if self._compare_again():  # otherwise another thread has done it
                    self._snapshot = self._snapshot._replace(beside=self._beside())
                    self._update_times(self._snapshot)
        return self._snapshot

    def _compare_again(self) -> bool:
        """Whether the entries of providers have changed, and folders may be compared again."""
        return self._snapshot.beside != self._beside() and self._catalog.folder_times.update_due

    def _build(self, library: Library) -> Snapshot:
        assets, options = library.rows, self.options
        layout = build(
            options.layouts,
            assets,
            library.labels,
            library.members,
            names=options.names,
            # if a part of the library is shown, labels without a shown file have no folder
            empty_labels=self._catalog.presented.admit.choice is None,
        )
        places = {folder.inode: Place(folder, path) for path, folder in folders_below(layout.root)}
        snapshot = Snapshot(library, layout, places, assets.newest_s, self._beside())
        self._update_times(snapshot)
        return snapshot

    # Times of folders.

    def _view(self) -> str:
        """Describes which entries the folders of this mount can have; see `db.folders`."""
        admit, options = self._catalog.presented.admit, self.options
        view: list[object] = [
            list(options.layouts),
            str(options.names),
            options.include_unavailable,
            sorted(admit.types),
            sorted(admit.statuses),
            [type(provider).__name__ for provider in self._providers],
        ]
        if admit.choice is not None:
            view.append(admit.choice.texts)
        return json.dumps(view)

    def _beside(self) -> int:
        return sum(provider.version for provider in self._providers)

    def _update_times(self, now: Snapshot) -> None:
        """Compare each folder's entries with its earlier ones; see `FolderTimes.update`."""
        if not now.library.version:
            return  # nothing was listed yet
        times = self._catalog.folder_times
        found = {}
        for folder, _ in now.places.values():
            entries, first_s = self._digest(folder), 0
            if times.of(folder.inode) is None:
                created_at_s = folder.assets.creation_times(folder.inodes())
                first_s = max(created_at_s, default=now.newest_s)
            found[folder.inode] = FolderTime(entries, first_s)
        times.update(found)

    def _digest(self, folder: Folder) -> int:
        entries = entries_digest(folder, missing=self.options.include_unavailable)
        entries = (entries + sum(beside.digest(folder) for beside in self._providers)) % 2**63
        if folder.inode not in self._incomplete:
            return entries
        if any(map(self._sizes.is_unknown, folder.rows(folder.assets.unsettled))):
            return shown_in_part(entries)
        self._incomplete.discard(folder.inode)
        return entries


def _lines(folder: Folder, left_out: Set[str]) -> Iterator[Entry]:
    """The entries of a folder of the tree, without the assets in ``left_out``."""
    for name, child in folder.folders():
        yield Entry(name, child.inode, True, True)
    absent = {folder.assets.inode(code) for code in left_out}
    make = tuple.__new__  # a third of the cost of calling the class
    for name, inode in folder.files():
        if inode not in absent:
            yield make(Entry, (name, inode, False, True))
