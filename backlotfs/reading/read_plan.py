"""What to fetch ahead of a reader: a pure state machine over (offset, size).

Rules. Each place that is being read is a *cursor*. A read near a cursor's position moves it; any
other read starts a new cursor, and the least recently used of `CURSORS` is forgotten, so that a
player which alternates between sound and picture keeps both windows. A cursor that starts at byte
0 is expected to go on and gets `FIRST_WINDOW_BYTES` at once; one that starts elsewhere gets nothing
until a second read continues it, so a random reader never pays for read-ahead. From then on the
window doubles with each window that is read, up to the cap, and the requests grow with it.

The kernel sends its own read-ahead asynchronously, so reads of one stream arrive out of order;
"near" therefore allows a small step either way. No clock, no I/O, no lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from backlotfs.byterange import ByteRange

#: Positions followed at once, per handle.
CURSORS = 4
#: The first window: small, so that the first byte does not queue behind it.
FIRST_WINDOW_BYTES = 512 * 1024
#: How far from a cursor a read may begin and still be its continuation.
NEAR_BYTES = 1024 * 1024
#: One GET carries at most this much …
MAX_REQUEST_BYTES = 4 * 1024 * 1024
#: … and at least this much, while the window is young.
MIN_REQUEST_BYTES = 256 * 1024


class ReadPlan(NamedTuple):
    """What to fetch beyond the read itself.

    :ivar ahead: bytes to have soon; empty when nothing new is wanted.
    :ivar request_bytes: how much of it one GET should carry.
    """

    ahead: ByteRange
    request_bytes: int


_NOTHING = ReadPlan(ByteRange(0, 0), MIN_REQUEST_BYTES)


@dataclass(slots=True)
class _Cursor:
    position: int  # where the stream goes on
    planned_to: int  # everything before this was already handed out
    run_bytes: int  # bytes read in this run since the window last grew
    window_bytes: int  # 0: not known to be sequential yet


class ReadPlanner:
    """Watches the reads of one handle. Not thread-safe: its owner locks."""

    def __init__(self, size: int, *, max_window_bytes: int, block_bytes: int) -> None:
        """``size`` of the file; windows never exceed ``max_window_bytes`` nor leave the file."""
        self._size = size
        #: May be changed between reads, as other files open and close.
        self.max_window_bytes = max_window_bytes
        self._block_bytes = block_bytes
        self._cursors: list[_Cursor] = []  # most recently used first

    def observe(self, read: ByteRange, *, missed: bool = False) -> ReadPlan:
        """Take note of a read and say what lies ahead.

        :param read: the bytes asked for, inside the file, not empty.
        :param missed: they were neither cached nor on their way, so what this planner believes
            it has planned was dropped or evicted, and is planned anew.
        """
        cursor = self._find(read)
        if cursor is None:
            cursor = self._start(read)
        else:
            self._advance(cursor, read)
        if missed:
            cursor.planned_to = min(cursor.planned_to, read.stop)
        return self._plan(cursor)

    def _find(self, read: ByteRange) -> _Cursor | None:
        for cursor in self._cursors:
            if abs(read.start - cursor.position) <= NEAR_BYTES:
                self._cursors.remove(cursor)
                self._cursors.insert(0, cursor)
                return cursor
        return None

    def _start(self, read: ByteRange) -> _Cursor:
        window = min(FIRST_WINDOW_BYTES, self.max_window_bytes) if read.start == 0 else 0
        cursor = _Cursor(read.stop, read.stop, read.length, window)
        self._cursors.insert(0, cursor)
        del self._cursors[CURSORS:]
        return cursor

    def _advance(self, cursor: _Cursor, read: ByteRange) -> None:
        cursor.window_bytes = min(cursor.window_bytes, self.max_window_bytes)
        progress = read.stop - cursor.position
        if progress <= 0:
            return  # a read behind the position: repeated, or overtaken by the kernel's read-ahead
        cursor.position = read.stop
        cursor.run_bytes += progress
        if cursor.window_bytes == 0:
            cursor.window_bytes = min(FIRST_WINDOW_BYTES, self.max_window_bytes)
            cursor.run_bytes = 0
        elif cursor.run_bytes >= cursor.window_bytes // 2:
            cursor.window_bytes = min(cursor.window_bytes * 2, self.max_window_bytes)
            cursor.run_bytes = 0

    def _plan(self, cursor: _Cursor) -> ReadPlan:
        request = max(MIN_REQUEST_BYTES, min(MAX_REQUEST_BYTES, cursor.window_bytes // 4))
        start = max(cursor.planned_to, cursor.position)
        # Whole requests only: following every read with its own bytes would make GETs as small
        # as the reads.
        stop = min(self._size, (cursor.position + cursor.window_bytes) // request * request)
        near_end = cursor.position + cursor.window_bytes >= self._size
        if near_end and cursor.window_bytes:
            stop = self._size
        if stop - start < min(request, self._block_bytes) and not (near_end and stop > start):
            return _NOTHING
        cursor.planned_to = stop
        return ReadPlan(ByteRange(start, stop), request)
