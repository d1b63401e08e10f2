"""Open, read, flush and release of sources: the face of `reading` towards the kernel adapter."""

from __future__ import annotations

from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.errors import ContentChanged
from backlotfs.reading.block_store import BlockStore
from backlotfs.reading.handles import HandleTable
from backlotfs.reading.page_cache import OpenMode
from backlotfs.reading.read_plan import ReadPlanner
from backlotfs.remote.identity import SourceIdentity
from backlotfs.waiting import Waiter

#: No window is larger: at 60 MB/s a connection this is more than 12 connections need.
MAX_WINDOW_BYTES = 64 * 1024 * 1024
#: Nor smaller, however many files are open.
MIN_WINDOW_BYTES = 1024 * 1024


class Opened(NamedTuple):
    """The answer to an open."""

    fh: int
    mode: OpenMode


class SourceReader:
    """Serves reads of open files. Any thread may call it; a read waits, it does no I/O itself."""

    def __init__(self, handles: HandleTable, store: BlockStore, window_budget_bytes: int) -> None:
        """``window_budget_bytes``: what the windows of all open files may add up to."""
        self._handles = handles
        self._store = store
        self._window_budget = window_budget_bytes

    def open(self, identity: SourceIdentity, *, settling: bool = False) -> Opened:
        """Open this version of a source.

        :param settling: the kernel may still believe the size of the version before it.
        """
        planner = ReadPlanner(
            identity.size, max_window_bytes=MAX_WINDOW_BYTES, block_bytes=self._store.block_bytes
        )
        handle, mode = self._handles.open(identity, planner, settling=settling)
        return Opened(handle.fh, mode)

    def read(self, fh: int, offset: int, size: int, waiter: Waiter) -> bytes:
        """Bytes ``offset`` to ``offset + size``, fewer only at the end of the file.

        :raises BadHandle: not open. :raises ContentChanged: not the version opened any more.
        :raises BacklotError: the bytes cannot be had; or waiting ended (`Waiter.result`).
        """
        handle = self._handles.get(fh)
        identity = handle.identity
        wanted = ByteRange(offset, offset + size).clamped(identity.size)
        if not wanted.length:
            return b""
        demand = self._store.demand(identity, wanted)
        with handle.lock:
            handle.planner.max_window_bytes = self._window_cap()
            plan = handle.planner.observe(wanted, missed=demand.missed)
        if plan.ahead.length:
            self._store.prefetch(
                identity, plan.ahead, plan.request_bytes, lambda: not handle.closed
            )
        return demand.result(waiter)

    def flush(self, fh: int) -> None:
        """Called at each close: the last chance to tell a copying program.

        :raises ContentChanged: the source was replaced while the file was open; a copy that a
            shrunk size cut short would otherwise look complete.
        """
        handle = self._handles.get(fh)
        if handle.changed:
            raise ContentChanged(f"{handle.identity.embed_code} was replaced while it was open")

    def release(self, fh: int) -> None:
        """The last use of a handle."""
        self._handles.release(fh)

    def source_changed(self, embed_code: str, current: SourceIdentity | None) -> None:
        """The source is now this version (None: not the one that was known, not yet seen)."""
        self._handles.mark_changed(embed_code, current.validator if current else None)

    def _window_cap(self) -> int:
        share = self._window_budget // max(1, len(self._handles))
        return max(MIN_WINDOW_BYTES, min(MAX_WINDOW_BYTES, share))
