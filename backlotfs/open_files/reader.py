"""Open files and their reads.

`SourceReader` serves the kernel's requests on files: open, read, flush, release. It does no I/O
itself: the block loader loads the bytes, and the prefetcher of the file's version plans what is
fetched ahead.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.errors import BadHandle, ContentChanged
from backlotfs.fetch.loader import BlockLoader, PendingRead
from backlotfs.prefetch.index_patterns import (
    HEAD_BYTES,
    MIN_FILE_BYTES,
    likely_index,
    next_index_range,
)
from backlotfs.prefetch.planner import ReadPlan
from backlotfs.prefetch.registry import Prefetcher, PrefetcherRegistry
from backlotfs.source.version import SourceVersion


class OpenMode(NamedTuple):
    """The two flags of ``fuse_file_info``."""

    keep_cache: bool
    direct_io: bool


class PageCachePolicy:
    """Decides whether an open file uses the kernel's page cache, and whether old pages are kept.

    The page cache belongs to the inode, not to the open file, so an old handle would get pages that
    a new handle has filled with the bytes of another version (measured). The flags of each open:

    - while a handle on another version is open: ``direct_io``, so the new handle bypasses the
      cache;
    - while the kernel may still use the size of an older version: ``direct_io`` too, because a
      buffered read would end at that size;
    - otherwise, if the pages are of this version: ``keep_cache``, so they are used again;
    - otherwise none: the kernel drops the old pages at this open.

    It stores one string for each file that was ever opened, about 150 bytes each. Not thread-safe:
    `HandleTable` locks it.
    """

    def __init__(self) -> None:
        self._pages: dict[str, str] = {}
        self._open: dict[str, Counter[str]] = {}

    def open(self, embed_code: str, validator: str, *, direct: bool = False) -> OpenMode:
        """Decide how this version is opened, and count the open.

        :param direct: bypass the page cache in any case.
        """
        open_now = self._open.setdefault(embed_code, Counter())
        others = open_now.total() - open_now[validator]
        open_now[validator] += 1
        if others or direct:
            # A private mapping of the file fills pages all the same; the next open drops them.
            self._pages.setdefault(embed_code, "")
            return OpenMode(keep_cache=False, direct_io=True)
        # A file that was never opened has no pages, but to drop none is not free: the kernel waits
        # for pages that another reader has locked meanwhile, perhaps behind a stalled host.
        keep = self._pages.get(embed_code, validator) == validator
        self._pages[embed_code] = validator
        return OpenMode(keep_cache=keep, direct_io=False)

    def release(self, embed_code: str, validator: str) -> None:
        """Count a handle on this version that is closed."""
        open_now = self._open[embed_code]
        open_now[validator] -= 1
        if not open_now.total():
            del self._open[embed_code]


@dataclass(slots=True)
class FileHandle:
    """One open file, bound to one version of its source.

    :ivar prefetcher: the prefetcher of the version, shared by all its handles.
    :ivar name: path of the file, as it was opened.
    :ivar no_prefetch: whether nothing is fetched ahead of the reads of this handle.
    :ivar changed: whether the source has another version now; then `flush` fails.
    :ivar replaced_by_larger: whether that version is larger; the kernel may have its size.
    """

    fh: int
    version: SourceVersion
    prefetcher: Prefetcher
    name: str
    no_prefetch: bool = False
    changed: bool = False
    replaced_by_larger: bool = False


class HandleTable:
    """The open files, by handle number. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._handles: dict[int, FileHandle] = {}
        self._pages = PageCachePolicy()

    def __len__(self) -> int:
        return len(self._handles)

    def open(
        self,
        version: SourceVersion,
        prefetcher: Prefetcher,
        name: str = "",
        *,
        settling: bool = False,
        no_prefetch: bool = False,
    ) -> tuple[FileHandle, OpenMode]:
        """Make a handle on this version, and decide on its use of the page cache.

        :param settling: whether the kernel may still use the size of the version before.
        :param no_prefetch: bypass the page cache, so that the kernel reads nothing ahead either.
        """
        direct = settling or no_prefetch
        with self._lock:
            handle = FileHandle(next(self._numbers), version, prefetcher, name, no_prefetch)
            self._handles[handle.fh] = handle
            mode = self._pages.open(version.embed_code, version.validator, direct=direct)
            return handle, mode

    def get(self, fh: int) -> FileHandle:
        """Return an open file. :raises BadHandle: it is not open."""
        handle = self._handles.get(fh)
        if handle is None:
            raise BadHandle(f"file handle {fh} is not open")
        return handle

    def names(self) -> list[str]:
        """The names of the open files, one for each handle."""
        with self._lock:
            return [handle.name for handle in self._handles.values()]

    def release(self, fh: int) -> FileHandle:
        """Close a handle and return it. :raises BadHandle: it is not open."""
        with self._lock:
            handle = self._handles.pop(fh, None)
            if handle is None:
                raise BadHandle(f"file handle {fh} is not open")
            self._pages.release(handle.version.embed_code, handle.version.validator)
        return handle

    def mark_changed(self, embed_code: str, current: SourceVersion | None) -> None:
        """Mark every handle on another version than ``current`` (None: on any) as changed."""
        with self._lock:
            for handle in self._handles.values():
                version = handle.version
                if version.embed_code != embed_code:
                    continue
                if current is None:
                    handle.changed = True
                elif version.validator != current.validator:
                    handle.changed = True
                    handle.replaced_by_larger |= version.size < current.size

    def mark_replaced(self, version: SourceVersion) -> None:
        """Mark every handle on exactly this version as changed.

        `mark_changed` may have missed a handle that was opened at the same time.
        """
        with self._lock:
            for handle in self._handles.values():
                handle.changed |= handle.version == version


class Opened(NamedTuple):
    """The result of an open."""

    fh: int
    mode: OpenMode


class SourceReader:
    """Serves reads of open files. Any thread may call it; it does no I/O itself."""

    def __init__(
        self, handles: HandleTable, loader: BlockLoader, prefetchers: PrefetcherRegistry
    ) -> None:
        self._handles = handles
        self._loader = loader
        self._prefetchers = prefetchers

    def open(
        self,
        version: SourceVersion,
        *,
        settling: bool = False,
        name: str = "",
        no_prefetch: bool = False,
    ) -> Opened:
        """Open this version of a source.

        :param settling: whether the kernel may still use the size of the version before.
        :param name: path of the file; its extension tells whether its end is probably read first.
        :param no_prefetch: fetch nothing ahead, because the reader needs a small part only.
        """
        prefetcher = self._prefetchers.opened(version)
        handle, mode = self._handles.open(
            version, prefetcher, name, settling=settling, no_prefetch=no_prefetch
        )
        return Opened(handle.fh, mode)

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """Start to load bytes ``offset`` to ``offset + size``, without waiting.

        :return: the read, with its `PendingRead.look_ahead`; None at or beyond the end of the file.
        :raises BadHandle: the file is not open.
        :raises ContentChanged: the read ends beyond the end of a version that a larger one has
            replaced. After a short answer the kernel would show its end as the size of the new
            version, to all programs, until its attributes expire.
        """
        handle = self._handles.get(fh)
        version = handle.version
        if handle.replaced_by_larger and offset + size > version.size:
            raise ContentChanged(f"{version.embed_code} was replaced by a larger source")
        wanted = ByteRange(offset, min(offset + size, version.size))
        if wanted.stop <= offset:
            return None
        read = self._loader.demand(version, wanted)
        if not handle.no_prefetch:
            late = not read.complete  # later, when the prefetch is planned, it may be complete
            read.look_ahead = partial(self._look_ahead, handle, wanted, read.missed, late)
        return read

    def flush(self, fh: int) -> None:
        """Check the version at each close, where a copying program still sees an error.

        :raises ContentChanged: the source was replaced while the file was open. Otherwise a copy
            that ended at the smaller size of the new version would look complete.
        """
        handle = self._handles.get(fh)
        if handle.changed:
            raise ContentChanged(f"{handle.version.embed_code} was replaced while it was open")

    def open_files(self) -> list[str]:
        """The names of the open files, one for each handle."""
        return self._handles.names()

    def release(self, fh: int) -> None:
        """Close a handle."""
        handle = self._handles.release(fh)
        self._prefetchers.closed(handle.prefetcher, tells=not handle.no_prefetch)

    def source_changed(self, embed_code: str, current: SourceVersion | None) -> None:
        """Mark the handles on other versions than ``current``; None if it is not known yet."""
        self._handles.mark_changed(embed_code, current)

    def _look_ahead(
        self, handle: FileHandle, read: ByteRange, missed: bool, late: bool
    ) -> None:  # by partial
        prefetcher = handle.prefetcher
        plan = prefetcher.observe(read, missed=missed, late=late, reader=handle.fh)
        if plan.requests:
            self._prefetch(handle, plan)
        beginning = not read.start and handle.version.size >= MIN_FILE_BYTES
        if beginning and missed and not prefetcher.head_awaited:
            prefetcher.head_awaited = True
            self._look_for_index(handle, read)

    def _prefetch(self, handle: FileHandle, plan: ReadPlan) -> None:
        wanted = handle.prefetcher.wanted
        for request in plan.requests:
            self._loader.prefetch(handle.version, request, wanted)

    def _look_for_index(self, handle: FileHandle, read: ByteRange) -> None:
        """Prefetch the index of a file whose head is being fetched."""
        version, prefetcher = handle.version, handle.prefetcher
        tail = likely_index(handle.name, version.size)
        if tail is not None:
            self._prefetch(handle, prefetcher.hint(tail))
        # Another pending read, because the read of the program has a callback already. It joins
        # the same fetch.
        head = self._loader.demand(version, ByteRange(0, min(HEAD_BYTES, read.stop)))

        def arrived() -> None:
            if head.error is None:
                index = next_index_range(b"".join(head.views()), version.size)
                if index is not None:
                    self._prefetch(handle, prefetcher.hint(index))

        head.add_done_callback(arrived)
