# SPDX-License-Identifier: Apache-2.0
"""Open files and their reads.

`SourceReader` serves the kernel's requests on files: open, read, flush, release. It does no I/O
itself: the block loader loads the bytes, and the prefetcher of the file's version plans what is
fetched ahead.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

from backlotfs.byterange import ByteRange
from backlotfs.errors import BadHandle, ContentChanged
from backlotfs.fetch.loader import BlockLoader, PendingRead
from backlotfs.log.traces import Tracing
from backlotfs.open_files.walk_prefetch import OpenedFile, WalkPrefetcher
from backlotfs.prefetch.index_patterns import (
    HEAD_BYTES,
    MIN_FILE_BYTES,
    likely_index,
    next_index_range,
)
from backlotfs.prefetch.planner import ReadPlan
from backlotfs.prefetch.registry import Prefetcher, PrefetcherRegistry
from backlotfs.source.version import SourceVersion


@dataclass(slots=True)
class FileHandle:
    """One open file, bound to one version of its source.

    :ivar prefetcher: the prefetcher of the version, shared by all its handles.
    :ivar name: path of the file, as it was opened.
    :ivar opened: the record of this open file in the prefetch across files; None: nothing is
        fetched ahead of the reads of this handle.
    :ivar stale: whether a read failed because the source was replaced (`ContentChanged`).
    """

    fh: int
    version: SourceVersion
    prefetcher: Prefetcher
    name: str
    opened: OpenedFile | None = None
    stale: bool = False


class HandleTable:
    """The open files, by handle number. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._handles: dict[int, FileHandle] = {}

    def __len__(self) -> int:
        return len(self._handles)

    def open(
        self,
        version: SourceVersion,
        prefetcher: Prefetcher,
        name: str = "",
        opened: OpenedFile | None = None,
    ) -> FileHandle:
        """Make a handle on this version."""
        with self._lock:
            handle = FileHandle(next(self._numbers), version, prefetcher, name, opened)
            self._handles[handle.fh] = handle
        return handle

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
        return handle


class SourceReader:
    """Serves reads of open files. Any thread may call it; it does no I/O itself."""

    def __init__(
        self,
        handles: HandleTable,
        loader: BlockLoader,
        prefetchers: PrefetcherRegistry,
        walks: WalkPrefetcher,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        self._handles = handles
        self._loader = loader
        self._prefetchers = prefetchers
        self._walks = walks

    def open(
        self,
        version: SourceVersion,
        *,
        name: str = "",
        program: Hashable = "",
        no_prefetch: bool = False,
        reads_whole: bool = False,
    ) -> int:
        """Open this version of a source and return the handle.

        :param name: name of the file; its extension shows whether its end is probably read first.
        :param program: identifies the program that reads, for all its processes together.
        :param no_prefetch: fetch nothing ahead, because the reader needs only a small part.
        :param reads_whole: the program reads files completely, as far as its name tells.
        """
        opened = None
        if not no_prefetch:
            opened = self._walks.opened(program, version, reads_whole=reads_whole)
        expected = None if opened is None else opened.expected_bytes
        prefetcher = self._prefetchers.opened(version, expected)
        return self._handles.open(version, prefetcher, name, opened).fh

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """Start to load bytes ``offset`` to ``offset + size``, without waiting.

        :return: the read, with its `PendingRead.look_ahead`; None at or beyond the end of the file.
        :raises BadHandle: the file is not open.
        """
        handle = self._handles.get(fh)
        version = handle.version
        wanted = ByteRange(offset, min(offset + size, version.size))
        if wanted.stop <= offset:
            return None
        tracing, span = self._tracing, None
        if tracing is not None:
            span = tracing.read(version.embed_code, wanted.start, wanted.length)
        try:
            read = self._loader.demand(version, wanted, span)
            if handle.opened is not None:
                self._walks.read(handle.opened, wanted)
                late = not read.complete  # the read may be complete when `look_ahead` is called
                read.look_ahead = partial(self._look_ahead, handle, wanted, read.missed, late)
        except Exception as error:
            if span is not None:
                span.failed(error)
            raise
        return read

    def flush(self, fh: int) -> None:
        """Fail if a read of this handle failed because the source was replaced.

        This is called at each close, because a program may not check the result of each read.

        :raises ContentChanged: a read wanted bytes of a version that the host no longer has.
        """
        handle = self._handles.get(fh)
        if handle.stale:
            raise ContentChanged(f"{handle.version.embed_code} was replaced while it was read")

    def open_files(self) -> list[str]:
        """The names of the open files, one for each handle."""
        return self._handles.names()

    def release(self, fh: int) -> None:
        """Close a handle."""
        handle = self._handles.release(fh)
        handle.prefetcher.closed()
        if handle.opened is not None:
            self._walks.closed(handle.opened)

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
        if handle.opened is not None:
            self._walks.look_ahead(handle.opened)

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
        # This is another pending read, because the read of the program has a callback already. Both
        # wait for the same fetch.
        head = self._loader.demand(version, ByteRange(0, min(HEAD_BYTES, read.stop)))

        def arrived() -> None:
            if head.error is None:
                index = next_index_range(b"".join(head.views()), version.size)
                if index is not None:
                    self._prefetch(handle, prefetcher.hint(index))

        head.add_done_callback(arrived)
