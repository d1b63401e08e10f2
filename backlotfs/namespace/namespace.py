"""The library as folders: the face of `namespace` towards the kernel adapter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from enum import Enum
from itertools import chain
from typing import NamedTuple, Protocol

from backlotfs.api.records import Asset
from backlotfs.catalog.db.rows import AssetRow
from backlotfs.catalog.library import Library
from backlotfs.catalog.versions import ProbedSource
from backlotfs.concurrency.interruptible_wait import InterruptibleWait, WouldWait
from backlotfs.errors import (
    BacklotError,
    DeadlineExceeded,
    IsADirectory,
    NoSuchEntry,
    NotADirectory,
    RateLimited,
    RemoteUnavailable,
    SizeUnknown,
    SourceDenied,
    SourceGone,
    SourceMissing,
)
from backlotfs.namespace.attributes import Attributes, Totals, directory_attributes, file_attributes
from backlotfs.namespace.incomplete_notice import Notice
from backlotfs.namespace.layouts import Folder, Layout, build
from backlotfs.namespace.name_modes import NameMode
from backlotfs.namespace.path_lookup import node_at
from backlotfs.namespace.xattrs import CacheState, extended_attributes, value_of
from backlotfs.source.version import SourceVersion

#: An open after a long pause waits this long for news, so that it does not trust an old version.
OPEN_WAIT_S = 1.5
#: A program that goes on trying has a source probed again after so many seconds.
AGAIN_S = 2.0


class Listing(Protocol):
    """What is needed of the catalog."""

    @property
    def library(self) -> Library:
        """The last good listing."""

    def used(self, wait_s: float = 0.0) -> None:
        """Somebody uses the mount; a refresh that is due gets so long to bring news."""

    def record(self, embed_code: str) -> Asset | None:
        """All that the API says of an asset."""

    def total_size(self) -> int:
        """Bytes of all sources whose size is known."""


class Book(Protocol):
    """What is needed of the source book."""

    def known(self, embed_code: str) -> ProbedSource | None:
        """What is known of a source, verified or not."""

    def is_current(self, row: AssetRow) -> bool:
        """Whether a row says all that is known of its source, and nothing is in doubt."""

    def within_attr_ttl(self, known: ProbedSource) -> bool:
        """Whether the kernel may still believe the size of an older version."""

    def failure(self, embed_code: str) -> BacklotError | None:
        """Why the last probe failed, while that is recent."""

    def unavailable(self, row: AssetRow) -> bool:
        """Whether there is no source to be had."""


class Probes(Protocol):
    """What is needed of the probe scheduler."""

    def request(self, embed_code: str) -> Future[ProbedSource]:
        """Probe as soon as possible, or join the probe that runs."""

    def is_queued(self, embed_code: str) -> bool:
        """Whether the probe of a source waits for an API credit."""

    def seconds_until(self, embed_code: str) -> float:
        """Seconds until the probe of a source that an application waits for can begin."""

    def prioritize(self, embed_codes: Iterable[str]) -> None:
        """A folder is being listed."""

    def seconds_for(self, assets: int) -> float | None:
        """Seconds that probes of so many more assets take; None when that cannot be told."""


class Treatment(Enum):
    """What a program gets that asks for a file whose size is not known yet."""

    WAIT = "wait"  #: it waits for the size
    HIDE = "hide"  #: there is no such file yet
    FAIL = "fail"  #: EAGAIN


class UnsizedRules(Protocol):
    """Which program gets which treatment; asked on the thread that serves the program."""

    def treatment(self, seconds: Callable[[], float]) -> Treatment:
        """For the file that the program names.

        :param seconds: tells how long it takes until its size can be asked for.
        """

    def hides(self, seconds: float | None) -> bool:
        """Whether a folder is listed without such files.

        :param seconds: until all sizes of the folder are known; None when that cannot be told.
        """


class EverybodyWaits:
    """The rules where no option and no program is special."""

    def treatment(self, seconds: Callable[[], float]) -> Treatment:  # noqa: ARG002
        """Wait."""
        return Treatment.WAIT

    def hides(self, seconds: float | None) -> bool:  # noqa: ARG002  # as UnsizedRules
        """No file is hidden."""
        return False


class Version(NamedTuple):
    """What to open.

    :ivar settling: the kernel may still believe the size of the version before it.
    """

    identity: SourceVersion
    settling: bool


class Entry(NamedTuple):
    """One line of a listing."""

    name: str
    inode: int
    is_directory: bool


class _Snapshot(NamedTuple):
    """One version of the library with its folders."""

    library: Library
    layout: Layout[AssetRow]
    newest_s: int


class Namespace:
    """Any thread may call it. Only `attributes` and `open` of a source not yet known wait."""

    def __init__(
        self,
        catalog: Listing,
        book: Book,
        probes: Probes,
        *,
        layouts: Sequence[str],
        names: NameMode,
        umask: int,
        include_unavailable: bool = False,
        rules: UnsizedRules | None = None,
        local: Callable[[str], CacheState] = lambda _code: CacheState(),
        failed: Callable[[str, str, BacklotError], None] = lambda _code, _path, _error: None,
    ) -> None:
        """Put it together; see `layouts.build` for ``layouts``.

        :param rules: who waits for a size that is not known yet; None: everybody.
        :param local: what this mount knows of a source; asks nobody.
        :param failed: is told of each open that failed.
        """
        self._catalog = catalog
        self._book = book
        self._probes = probes
        self._layouts = tuple(layouts)
        self._names = names
        self._umask = umask
        self._include_unavailable = include_unavailable
        self._rules = rules or EverybodyWaits()
        self._local = local
        self._failed = failed
        self._lock = threading.Lock()
        self._snapshot = self._build(catalog.library)

    def attributes(self, path: str, patience: Callable[[], InterruptibleWait]) -> Attributes:
        """What ``stat`` says; waits for the probe of a source that is not known yet.

        :param patience: makes the waiter, where one is needed. If it raises `WouldWait`, the
            attributes are not `Attributes.settled`.
        :raises NoSuchEntry: no such path, or there is no source to be had.
        :raises SizeUnknown: the program is not to wait for the size.
        :raises BacklotError: the size cannot be found out now: never a guess, never 0.
        """
        now = self._current()
        try:
            node = self._lookup(now, path)
        except NoSuchEntry:
            notice = self._notice_at(now, path)
            if notice is None:
                raise
            return notice.attributes(now.newest_s, self._umask)
        if isinstance(node, Folder):
            return directory_attributes(
                node.inode, mtime_s=now.newest_s, umask=self._umask, subdirs=node.subfolders
            )
        code = node.embed_code
        if self._book.is_current(node):  # nearly always, and 100 000 times in an `ls -l`
            return file_attributes(
                node.inode,
                node.size,
                mtime_s=node.mtime_s,
                umask=self._umask,
                nlink=now.layout.places(code),
            )
        known: ProbedSource | None
        try:
            known = self._settled(code, patience)
        except WouldWait:
            known = self._book.known(code)
            return file_attributes(
                node.inode,
                0 if known is None else known.version.size,
                mtime_s=node.updated_at_s if known is None else known.mtime_s,
                umask=self._umask,
                nlink=now.layout.places(code),
            )._replace(settled=False)
        except (SourceMissing, SourceGone, SourceDenied) as error:
            if not self._include_unavailable:
                raise NoSuchEntry(f"{path!r} has no source file") from error
            known = ProbedSource(SourceVersion(code, 0, None, None), node.updated_at_s, False)
        return file_attributes(
            node.inode,
            known.version.size,
            mtime_s=known.mtime_s,
            umask=self._umask,
            nlink=now.layout.places(code),
        )

    def entries(self, path: str) -> Iterator[Entry]:
        """The lines of a folder, all of one version of the library.

        Programs that only look get no line for a file whose size is not known yet, and one more
        that says how many are missing.

        :raises NoSuchEntry, NotADirectory: `path` is no folder.
        """
        self._catalog.used()
        folder = self._lookup(self._current(), path)
        if not isinstance(folder, Folder):
            raise NotADirectory(f"{path!r} is a file")
        files = [entry for entry in folder.entries.values() if not isinstance(entry, Folder)]
        # Also the hidden ones: whether they have a source now is asked again, in its time.
        unsettled = [entry for entry in files if entry.size < 0 or not entry.verified]
        if unsettled:
            self._probes.prioritize(entry.embed_code for entry in unsettled)
        everything, unavailable = self._include_unavailable, self._book.unavailable
        unsized = {entry.embed_code for entry in unsettled if self._is_unsized(entry)}
        seconds = self._probes.seconds_for(len(unsized)) if unsized else 0.0
        hidden = unsized if unsized and self._rules.hides(seconds) else set[str]()
        lines = (
            Entry(name, entry.inode, isinstance(entry, Folder))
            for name, entry in folder.entries.items()
            if isinstance(entry, Folder)
            or (entry.embed_code not in hidden and (everything or not unavailable(entry)))
        )
        if not hidden:
            return lines
        notice = Notice.of(folder.inode, len(hidden), seconds)
        return chain(lines, (Entry(notice.name, notice.inode, False),))

    def open(self, path: str, waiter: InterruptibleWait) -> Version:
        """The version of a source to open: probed anew if it is in doubt.

        :raises IsADirectory, NoSuchEntry: `path` is no file.
        :raises SizeUnknown: the program is not to wait for the size.
        :raises SourceMissing, SourceGone, SourceDenied: there is no source to be had.
        :raises BacklotError: it cannot be found out now.
        """
        self._catalog.used(OPEN_WAIT_S)
        node = self._lookup(self._current(), path)
        if isinstance(node, Folder):
            raise IsADirectory(f"{path!r} is a folder")
        known = self._book.known(node.embed_code)
        if known is None or not known.verified:
            try:
                if known is None:
                    self._check_waits(node.embed_code)
                known = self._probe(node.embed_code, waiter)
            except BacklotError as error:
                self._failed(node.embed_code, path, error)
                raise
        return Version(known.version, self._book.within_attr_ttl(known))

    def source(self, embed_code: str) -> SourceVersion | None:
        """The version that the source of an asset is known to have; None if none is known."""
        known = self._book.known(embed_code)
        return None if known is None else known.version

    def is_virtual(self, path: str) -> bool:
        """Whether this is a file that has no source."""
        return self._notice_at(self._current(), path) is not None

    def virtual_content(self, path: str, patience: Callable[[], InterruptibleWait]) -> bytes | None:  # noqa: ARG002
        """The whole contents of such a file; None when the path is something else."""
        notice = self._notice_at(self._current(), path)
        return None if notice is None else notice.content

    def name_of(self, embed_code: str) -> str:
        """The file name of an asset, for messages; the embed code where it has none."""
        row = self._catalog.library.rows.get(embed_code)
        return row.name if row is not None and row.name else embed_code

    def asset(self, path: str) -> Asset | None:
        """What the API says of a file; None of a folder. :raises NoSuchEntry: no such path."""
        node = self._lookup(self._current(), path)
        return None if isinstance(node, Folder) else self._catalog.record(node.embed_code)

    def xattrs(self, path: str) -> dict[str, bytes]:
        """All extended attributes of a path; a folder has none."""
        asset = self.asset(path)
        if asset is None:
            return {}
        return extended_attributes(asset, path.rpartition("/")[2], self._local(asset.embed_code))

    def xattr(self, path: str, name: str) -> bytes:
        """One extended attribute. :raises NotSupported, NoAttribute: see `xattrs.value_of`."""
        if not name.startswith("user."):
            return value_of({}, name)  # refused without a look at the asset
        return value_of(self.xattrs(path), name)

    def totals(self) -> Totals:
        """Of the whole library, for ``statfs``."""
        return Totals(files=len(self._catalog.library.rows), size=self._catalog.total_size())

    @property
    def root(self) -> Folder[AssetRow]:
        """The folders as they are now; see `places`."""
        return self._current().layout.root

    def _settled(self, embed_code: str, patience: Callable[[], InterruptibleWait]) -> ProbedSource:
        """What to show: of a source in doubt the new size if it can be had, else the last one."""
        known = self._book.known(embed_code)
        if known is None:
            self._check_waits(embed_code)
            return self._probe(embed_code, patience())
        if known.verified:
            return known
        waiter = patience()
        try:
            # The kernel keeps what it is told: a size corrected only in `open` comes too late.
            probe = self._request(embed_code)
            if not probe.done() and self._probes.is_queued(embed_code):
                return known  # nobody waits for a credit to see a size that is probably the same
            return waiter.result(probe, f"finding out about {embed_code}")
        except (RemoteUnavailable, DeadlineExceeded):
            return known

    def _check_waits(self, embed_code: str) -> None:
        """:raises NoSuchEntry, SizeUnknown: the program does not wait for sizes."""
        treatment = self._rules.treatment(lambda: self._probes.seconds_until(embed_code))
        if treatment is Treatment.HIDE:
            self._request(embed_code)
            raise NoSuchEntry(f"{embed_code} has no known size yet, and is hidden from a program")
        if treatment is Treatment.FAIL:
            self._request(embed_code)
            raise SizeUnknown(f"{embed_code} has no known size yet")

    def _probe(self, embed_code: str, waiter: InterruptibleWait) -> ProbedSource:
        doing = f"finding out about {embed_code}"
        while True:
            try:
                return waiter.result(self._request(embed_code), doing, embed_code)
            except RateLimited:
                raise  # after the longest wait for a credit
            except RemoteUnavailable:
                if not waiter.persistent:
                    raise
            waiter.pause(AGAIN_S, doing)

    def _request(self, embed_code: str) -> Future[ProbedSource]:
        """:raises BacklotError: why the last probe failed, not long ago."""
        failure = self._book.failure(embed_code)
        if failure is not None:
            raise failure.with_traceback(None)  # it is kept: it must not collect frames
        return self._probes.request(embed_code)

    def _notice_at(self, now: _Snapshot, path: str) -> Notice | None:
        """The notice of this path, if it can be one and its folder still lacks sizes."""
        place, _, name = path.rpartition("/")
        if not Notice.is_name(name):
            return None
        try:
            folder = node_at(now.layout.root, place)
        except BacklotError:
            return None
        if not isinstance(folder, Folder) or name in folder.entries:
            return None
        files = (entry for entry in folder.entries.values() if not isinstance(entry, Folder))
        return Notice(name, folder.inode) if any(map(self._is_unsized, files)) else None

    def _is_unsized(self, row: AssetRow) -> bool:
        """Whether it is not known yet how large the source is, nor that there is none."""
        if row.size >= 0:
            return False
        return self._book.known(row.embed_code) is None and not self._book.unavailable(row)

    def _current(self) -> _Snapshot:
        if self._catalog.library.version != self._snapshot.library.version:
            with self._lock:
                library = self._catalog.library
                if library.version != self._snapshot.library.version:
                    self._snapshot = self._build(library)
        return self._snapshot

    def _build(self, library: Library) -> _Snapshot:
        rows = library.rows.values()
        layout = build(self._layouts, rows, library.labels, library.members, names=self._names)
        # A folder changes when something comes into it, not when something in it is edited.
        return _Snapshot(library, layout, max((row.created_at_s for row in rows), default=0))

    @staticmethod
    def _lookup(now: _Snapshot, path: str) -> Folder[AssetRow] | AssetRow:
        return node_at(now.layout.root, path)
