"""Open, read, flush and release of sources: the face of `reading` towards the kernel adapter."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

from backlotfs.byterange import ByteRange
from backlotfs.concurrency.clock import Clock, SystemClock
from backlotfs.concurrency.interruptible_wait import InterruptibleWait
from backlotfs.errors import ContentChanged
from backlotfs.fetch.block_fetch import StillWanted
from backlotfs.fetch.pending_read import PendingRead
from backlotfs.open_files.handles import FileHandle, HandleTable
from backlotfs.open_files.page_cache_policy import OpenMode
from backlotfs.prefetch.index_patterns import (
    HEAD_BYTES,
    MIN_FILE_BYTES,
    likely_index,
    next_index_range,
)
from backlotfs.prefetch.planner import PlanLimits, ReadPlan
from backlotfs.prefetch.registry import LineOf, PrefetcherRegistry, unknown_line
from backlotfs.source.version import SourceVersion


class Opened(NamedTuple):
    """The answer to an open."""

    fh: int
    mode: OpenMode


class Store(Protocol):
    """Loads blocks (`fetch.loader.BlockLoader`)."""

    @property
    def block_bytes(self) -> int:
        """Length of every block but the last."""

    def demand(self, identity: SourceVersion, wanted: ByteRange) -> PendingRead:
        """Start whatever is missing of ``wanted``."""

    def prefetch(
        self,
        identity: SourceVersion,
        ahead: ByteRange,
        request_bytes: int,
        still_wanted: StillWanted,
    ) -> None:
        """Have ``ahead`` fetched if memory allows."""


class SourceReader:
    """Serves reads of open files. Any thread may call it; it does no I/O itself."""

    def __init__(
        self,
        handles: HandleTable,
        store: Store,
        window_budget_bytes: int,
        *,
        clock: Clock | None = None,
        line_of: LineOf = unknown_line,
        limits: PlanLimits | None = None,
    ) -> None:
        """Put the parts together.

        :param window_budget_bytes: what the windows of all that is being read may add up to.
        :param line_of: what is known of the line to a source's host.
        :param limits: the scale of planning.
        """
        self._handles = handles
        self._store = store
        self._plans = PrefetcherRegistry(
            clock or SystemClock(),
            window_budget_bytes=window_budget_bytes,
            block_bytes=store.block_bytes,
            line_of=line_of,
            limits=limits,
        )

    def open(
        self,
        identity: SourceVersion,
        *,
        settling: bool = False,
        name: str = "",
        sparing: bool = False,
    ) -> Opened:
        """Open this version of a source.

        :param settling: the kernel may still believe the size of the version before it.
        :param name: of the file: says whether its end is likely to be looked at first.
        :param sparing: whoever reads wants little of it: nothing is fetched ahead.
        """
        plan = self._plans.opened(identity)
        handle, mode = self._handles.open(identity, plan, name, settling=settling, sparing=sparing)
        return Opened(handle.fh, mode)

    def begin(self, fh: int, offset: int, size: int) -> PendingRead | None:
        """Have bytes ``offset`` to ``offset + size`` brought; never waits.

        :return: the read, with its `PendingRead.look_ahead`; None at or beyond the end of the file.
        :raises BadHandle: not open.
        :raises ContentChanged: beyond the end of a version that a larger one has replaced. The
            kernel would take a short answer for the end of the file, whichever version it is of,
            and show everybody that size for as long as it believes what it knows.
        """
        handle = self._handles.get(fh)
        identity = handle.identity
        if handle.outgrown and offset + size > identity.size:
            raise ContentChanged(f"{identity.embed_code} was replaced by a larger source")
        wanted = ByteRange(offset, min(offset + size, identity.size))
        if wanted.stop <= offset:
            return None
        demand = self._store.demand(identity, wanted)
        if not handle.sparing:
            demand.look_ahead = partial(
                self._look_ahead, handle, wanted, missed=demand.missed, late=not demand.complete
            )
        return demand

    def read(self, fh: int, offset: int, size: int, waiter: InterruptibleWait) -> bytes:
        """Bytes ``offset`` to ``offset + size``, fewer only at the end of the file.

        :raises BadHandle: not open. :raises ContentChanged: not the version opened any more.
        :raises BacklotError: the bytes cannot be had; or the wait ended, see `InterruptibleWait`.
        """
        demand = self.begin(fh, offset, size)
        if demand is None:
            return b""
        demand.look_ahead()
        return demand.result(waiter)

    def flush(self, fh: int) -> None:
        """Called at each close: the last chance to tell a copying program.

        :raises ContentChanged: the source was replaced while the file was open; a copy that a
            shrunk size cut short would otherwise look complete.
        """
        handle = self._handles.get(fh)
        if handle.changed:
            raise ContentChanged(f"{handle.identity.embed_code} was replaced while it was open")

    def open_files(self) -> list[str]:
        """The names of the open files, one for each handle."""
        return self._handles.names()

    def release(self, fh: int) -> None:
        """The last use of a handle."""
        handle = self._handles.release(fh)
        self._plans.closed(handle.plan, tells=not handle.sparing)

    def source_changed(self, embed_code: str, current: SourceVersion | None) -> None:
        """The source is now this version (None: not the one that was known, not yet seen)."""
        self._handles.mark_changed(embed_code, current)

    def _look_ahead(self, handle: FileHandle, read: ByteRange, *, missed: bool, late: bool) -> None:
        plan = handle.plan
        ahead = plan.observe(read, missed=missed, late=late, reader=handle.fh)
        if ahead.requests:
            self._prefetch(handle, ahead)
        beginning = not read.start and handle.identity.size >= MIN_FILE_BYTES
        if beginning and missed and not plan.head_awaited:
            plan.head_awaited = True
            self._look_for_index(handle, read)

    def _prefetch(self, handle: FileHandle, plan: ReadPlan) -> None:
        for request in plan.requests:
            self._store.prefetch(handle.identity, request, request.length, handle.plan.wanted)

    def _look_for_index(self, handle: FileHandle, read: ByteRange) -> None:
        """A file is read from its head, cold: have its index fetched before it is asked for."""
        identity, plan = handle.identity, handle.plan
        tail = likely_index(handle.name, identity.size)
        if tail is not None:
            self._prefetch(handle, plan.hint(tail))
        # A demand of its own, as the reader's is the adapter's to wait for; it joins that transfer.
        head = self._store.demand(identity, ByteRange(0, min(HEAD_BYTES, read.stop)))

        def arrived() -> None:
            if head.error is None:
                index = next_index_range(b"".join(head.views()), identity.size)
                if index is not None:
                    self._prefetch(handle, plan.hint(index))

        head.add_done_callback(arrived)
