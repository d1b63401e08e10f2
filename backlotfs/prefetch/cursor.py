"""One place in a file that is being read on from: how far, how densely, and at what pace. Pure.

Credit is what a cursor has earned by reading on: the bytes it read, less twice the holes it left.
Windows grow with it, so a reader that hops about never has much fetched for nothing. Reads of one
stream arrive out of order, as the kernel sends its own read-ahead in parallel: a hole that is
filled later was none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from backlotfs.byterange import ByteRange
from backlotfs.prefetch.stride import MIN_GAP_BYTES, Stride

#: Bytes and holes older than about this do not count any more.
MEMORY_BYTES = 64 * 1024 * 1024
#: A pace is measured over at least this, without a read that had to wait, in seconds.
PACE_S = 0.5


@dataclass(slots=True)
class Cursor:
    """Mutable; its planner owns it.

    :ivar start: where its first run began. :ivar position: behind the last byte read.
    :ivar planned_to: everything before this was handed out, or skipped on purpose.
    :ivar run_start: of the run being read, since the last skip.
    :ivar reader: who read last. :ivar touched_s: when.
    :ivar window_bytes: as last planned.
    :ivar abandoned: its reader has gone to read on elsewhere: what was planned is not wanted.
    :ivar interleaved: its reader has come back from such a trip, so it reads in several places.
    :ivar pace: bytes per second that it takes; None while it takes whatever comes.
    """

    start: int
    position: int
    reader: int
    touched_s: float
    planned_to: int = 0
    run_start: int = 0
    reads: int = 1
    window_bytes: int = 0
    abandoned: bool = False
    interleaved: bool = False
    pace: float | None = None
    _read_bytes: int = 0
    _run_read: int = 0
    _holes: int = 0
    _paced_from: int = 0
    _paced_since_s: float = 0.0
    stride: Stride = field(init=False)

    def __post_init__(self) -> None:
        self.planned_to = self._paced_from = self.position
        self.run_start = self.start
        self._read_bytes = self._run_read = self.position - self.start
        self._paced_since_s = self.touched_s
        self.stride = Stride(self.start)

    @property
    def run_bytes(self) -> int:
        """Length of the run being read."""
        return self.position - self.run_start

    @property
    def from_the_head(self) -> bool:
        """Whether it has read everything from byte 0 on."""
        return self.start == 0 and not self._holes

    @property
    def earned_window(self) -> int:
        """What it has earned, by all its runs or by this one, in bytes; never negative."""
        run = 2 * min(self._run_read, self.run_bytes) - self.run_bytes
        return max(0, self._read_bytes - 2 * self._holes, run)

    def advance(self, read: ByteRange) -> bool:
        """Take note of a read that belongs here; whether it went further than those before."""
        self.reads += 1
        if read.stop <= self.position or read.start < self.run_start:
            return self._came_late(read)
        gap = ByteRange(self.position, read.start)
        self._holes += gap.length
        if gap.length >= MIN_GAP_BYTES:
            self.stride.skipped(gap)
            if self.stride.learned:
                self._holes = 0  # what is skipped is known, and was not fetched
            self.run_start, self._run_read = read.start, 0
        elif self.stride.breaks(read.stop):
            self.stride.forget(self.run_start)
            self.planned_to = min(self.planned_to, self.position)
        fresh = read.stop - max(read.start, self.position)
        self._read_bytes += fresh
        self._run_read += fresh
        self.position = read.stop
        if self._read_bytes > 2 * MEMORY_BYTES:
            self._read_bytes //= 2
            self._holes //= 2
        return True

    def _came_late(self, read: ByteRange) -> bool:
        """A read behind the position: overtaken by its successors, or repeated."""
        if read.start < self.start:
            self._holes += max(0, self.start - read.stop)
            self._read_bytes += min(read.stop, self.start) - read.start
            self.start = read.start
        else:
            filled = min(read.length, self._holes)
            self._holes -= filled
            self._read_bytes += filled
        if read.start < self.run_start:  # what looked like a skip was none
            self.run_start = read.start
            self.stride.forget(read.start)
        self._run_read += read.length
        advanced = read.stop > self.position
        self.position = max(self.position, read.stop)
        return advanced

    def note_pace(self, now_s: float, *, late: bool) -> None:
        """``late``: the read just noted has to wait, so how much more it would take is unknown."""
        elapsed = now_s - self._paced_since_s
        if late:
            self.pace = None
        elif elapsed < PACE_S:
            return
        else:
            self.pace = (self.position - self._paced_from) / elapsed
        self._paced_from, self._paced_since_s = self.position, now_s

    def rewind_plan(self, now_s: float) -> None:
        """What was planned may have been dropped meanwhile: hand it out again."""
        self.planned_to = self.position
        self._paced_from, self._paced_since_s = self.position, now_s
