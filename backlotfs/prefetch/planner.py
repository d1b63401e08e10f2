"""Plans what to fetch ahead of the readers of one source: a pure state machine over their reads.

Rules. Each place that is being read is a *cursor*, whoever reads there: the planner belongs to the
version of the source, not to a handle, so a player that closes and opens again keeps its windows. A
read near a cursor, or in what was planned for it, moves the cursor, so a skip forward keeps what is
in flight. Any other read starts a new cursor in place of the least recently used one; cursors that
were read once go first, so random readers do not evict streams.

A cursor at byte 0 is expected to go on and gets `first_window_bytes` at once. Any other gets
nothing until a second read continues it. Then its window is `GROWTH` times what it has earned by
reading on (`Cursor.earned_window`), up to what the host can bring, its share of the memory, and
what a reader with a pace of its own takes in the time of a hiccup. If the last runs of reading were
short, the next is expected to be as long as they, and gets just that.

A reader that leaves its place and reads on elsewhere is taken to have sought: the bytes ahead of
the old place are not `wanted` any more, until it comes back. Only a place that is new to it leaves
the others, so a reader of two places (sound and picture) keeps both. Places not read for `IDLE_S`
are not wanted either.

A cursor earns by the bytes it read, less twice the holes it left, so a reader that hops about never
has much fetched for nothing. Reads of one stream arrive out of order, as the kernel sends its own
readahead in parallel: a hole that is filled later is not counted.

A *stride* is the rhythm of a reader that reads a stretch, skips one, and so on. To fetch what is
skipped would cost such a reader its share of the host. Two skips of about the same length after
about the same stretch make a rhythm; a read where the rhythm expects none ends it.

How large a window and its requests are. A connection that makes requests of ``q`` bytes to a host
of latency ``l`` and rate ``r`` carries ``q / (l + q / r)``. Requests are made so large that latency
costs about a third of the time, and the window holds as many of them as it takes to carry the
host's total twice over: one that held just the total would never find out that there is more. A
reader with a pace of its own needs less: what it reads while a hiccup of the host may last.

No clock, no I/O, no lock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.config.settings import MIB
from backlotfs.source.bandwidth import NEAR_S, HostStats

#: One GET of a grown window carries at least this: below, its fixed cost in CPU shows …
MIN_GROWN_REQUEST_BYTES = 2 * MIB
#: … and at most this much, so that a connection is soon free for what is more urgent.
MAX_REQUEST_BYTES = 8 * MIB
#: A GET costs a fraction of a millisecond of CPU, so it should last at least this long.
WORTHWHILE_S = 0.016
#: Requests in a window, whatever the estimate says: it may stem from a time when little was asked …
MIN_IN_FLIGHT = 22
#: … but few fill the line to a near host, and the processor's cache has more of a small window.
MIN_IN_FLIGHT_NEAR = 8
#: More connections to one source than this are never needed.
MAX_IN_FLIGHT = 32
#: A hiccup of the line that a reader with a pace of its own must not notice, in seconds …
HICCUP_S = 0.5
#: … and in latencies.
HICCUP_LATENCIES = 4.0


class WindowTarget(NamedTuple):
    """What a reader that takes all it can get needs.

    :ivar window_bytes: ahead of it. :ivar request_bytes: in each GET, a power of two.
    """

    window_bytes: int
    request_bytes: int


#: Of a line that nothing is known of: a fast connection with a far end.
UNKNOWN_LINE = WindowTarget(64 * MIB, 4 * MIB)


def window_target(line: HostStats | None) -> WindowTarget:
    """What it takes to use ``line`` fully."""
    if line is None or line.connection_bytes_per_s <= 0:
        return UNKNOWN_LINE
    rate = line.connection_bytes_per_s
    request = power_of_two(int(2 * line.latency_s * rate / 2**0.5))
    request = max(request, power_of_two(int(rate * WORTHWHILE_S / 2**0.5)))
    request = max(MIN_GROWN_REQUEST_BYTES, min(MAX_REQUEST_BYTES, request))
    carried = request / (line.latency_s + request / rate)
    wanted = round(2 * line.total_bytes_per_s / carried)
    least = MIN_IN_FLIGHT if line.latency_s > NEAR_S else MIN_IN_FLIGHT_NEAR
    in_flight = max(least, min(MAX_IN_FLIGHT, wanted))
    return WindowTarget((in_flight + 1) * request, request)


def paced_window(bytes_per_s: float, latency_s: float) -> int:
    """The window of a reader that takes this much, however fast the line is."""
    return int(bytes_per_s * (HICCUP_S + HICCUP_LATENCIES * latency_s))


def power_of_two(number: int) -> int:
    """The smallest power of two that is not less; at least 1."""
    return 1 << max(0, number - 1).bit_length()


#: Gaps below this are cheaper fetched than left out: a GET costs about as much by its latency.
MIN_GAP_BYTES = 512 * 1024
#: Two stretches, or two gaps, are the same up to this: the kernel's own read-ahead makes them vary.
TOLERANCE_BYTES = 256 * 1024

#: So many stretches are fetched ahead at most, however short they are.
MAX_STRETCHES = 32


@dataclass(slots=True)
class Stride:
    """The last skips of one cursor. Not thread-safe: its owner locks."""

    _run_start: int  # where the stretch that is being read begins
    _run: int = 0
    _gap: int = 0
    _rhythm: bool = False

    @property
    def learned(self) -> bool:
        """Whether it is known what will be skipped."""
        return self._rhythm

    def skipped(self, gap: ByteRange) -> None:
        """The reader went from ``gap.start`` to ``gap.stop`` without reading what lies between."""
        if gap.length < MIN_GAP_BYTES:
            return
        run = gap.start - self._run_start
        self._rhythm = (
            self._gap > 0
            and abs(run - self._run) <= TOLERANCE_BYTES
            and abs(gap.length - self._gap) <= TOLERANCE_BYTES
        )
        if self._rhythm:
            # The longer stretch and the earlier return: what is planned is never too little.
            run, length = max(run, self._run), min(gap.length, self._gap)
        else:
            length = gap.length
        self._run, self._gap, self._run_start = run, length, gap.stop

    def forget(self, start: int) -> None:
        """It was no skip, or the reader went another way: begin again at ``start``."""
        self._run_start = start
        self._run = self._gap = 0
        self._rhythm = False

    def breaks(self, position: int) -> bool:
        """Whether reading up to ``position`` goes on where the rhythm says that it skips."""
        return self._rhythm and position > self._run_start + self._run + TOLERANCE_BYTES

    def spread(self, window_bytes: int) -> int:
        """How far ahead a window reaches when what will be skipped does not count."""
        if not self._rhythm:
            return window_bytes
        return min(window_bytes, MAX_STRETCHES * self._run) * (self._run + self._gap) // self._run

    def stretches(self, ahead: ByteRange, longest: int) -> list[ByteRange]:
        """The parts of ``ahead`` that will be read, by a learned rhythm.

        The last is left for later while it is cut short by the end of ``ahead``, unless it is
        longer than ``longest``: requests should be as large as the stretches allow.

        :param ahead: not before the stretch that is being read.
        """
        period = self._run + self._gap
        start = self._run_start + (ahead.start - self._run_start) // period * period
        found = []
        while start < ahead.stop:
            stop = start + self._run
            stretch = ByteRange(max(start, ahead.start), min(stop, ahead.stop))
            if stretch.length and (stop <= ahead.stop or self._run > longest):
                found.append(stretch)
            start += period
        return found


#: Bytes and holes older than about this do not count any more.
MEMORY_BYTES = 64 * 1024 * 1024
#: Gaps of one cursor whose reads may still be noted.
GAPS_REMEMBERED = 16
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
    pace: float | None = None
    _read_bytes: int = 0
    _run_read: int = 0
    _holes: int = 0
    _paced_from: int = 0
    _paced_since_s: float = 0.0
    stride: Stride = field(init=False)
    _overtaken: deque[ByteRange] = field(default_factory=lambda: deque(maxlen=GAPS_REMEMBERED))

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

    def was_overtaken(self, read: ByteRange) -> bool:
        """Whether ``read`` lies in a gap that was planned, and that later reads passed over.

        Reads are noted after they are answered, on several threads: on a busy machine one is noted
        when its successors are many MiB ahead.
        """
        return any(_covers(gap, read) for gap in self._overtaken)

    def advance(self, read: ByteRange) -> bool:
        """Take note of a read that belongs here; whether it went further than those before."""
        self.reads += 1
        if read.stop <= self.position or read.start < self.run_start:
            return self._came_late(read)
        gap = ByteRange(self.position, read.start)
        self._holes += gap.length
        if gap.length and gap.stop <= self.planned_to:
            self._overtaken.append(gap)
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


#: Positions followed at once in one source, whoever reads.
CURSORS = 16
#: A window is this many times what the cursor has earned: three round trips to a full one.
GROWTH = 8
#: The same for a reader that has left other places soon, until it has read on this far.
CAUTIOUS_GROWTH = 2
CAUTIOUS_BYTES = 2 * MIB
#: A place not read for this long is not read any more, as far as memory and the line go.
IDLE_S = 2.0
#: So many runs in a row, each shorter than `SHORT_RUN_BYTES`, tell how long the next will be.
RUNS_REMEMBERED = 3
SHORT_RUN_BYTES = 16 * MIB
#: The end of a file, and where its head says that an index is.
INDEXES_REMEMBERED = 2


#: The end of a file is fetched in about so many parts.
PARALLEL = 16


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """The scale of planning.

    :ivar first_window_bytes: at the head of a file, before anything is known.
    :ivar trusted_window_bytes: there, for a file that is likely to be read as a whole.
    :ivar near_bytes: how far from a cursor a read may begin and still be its continuation: as far
        as reads that the kernel sends in parallel overtake each other.
    :ivar min_request_bytes: what one GET carries at least, while the window is young.
    """

    first_window_bytes: int = 512 * 1024
    trusted_window_bytes: int = 32 * MIB
    near_bytes: int = 4 * MIB
    min_request_bytes: int = 256 * 1024


class ReadPlan(NamedTuple):
    """What to fetch beyond the read itself: one GET each, ascending, disjoint; often none."""

    requests: tuple[ByteRange, ...]


_NOTHING = ReadPlan(())


class ReadPlanner:
    """Watches the reads of one version of a source. Not thread-safe: its owner locks.

    :ivar max_window_bytes: may be changed between reads, as others begin and cease to read.
    :ivar target: what the line can make use of; may be changed between reads.
    :ivar latency_s: of the line, for readers with a pace of their own.
    :ivar likely_sequential: it is likely to be read as a whole, as those opened before it were.
    :ivar read_through: somebody read it from its head to its end.
    """

    def __init__(
        self,
        size: int,
        *,
        max_window_bytes: int,
        block_bytes: int,
        limits: PlanLimits | None = None,
    ) -> None:
        """``size`` of the file; windows never exceed ``max_window_bytes`` nor leave the file."""
        self.max_window_bytes = max_window_bytes
        self.target: WindowTarget = UNKNOWN_LINE
        self.latency_s = 0.0
        self.likely_sequential = self.read_through = False
        self._size = size
        self._block_bytes = block_bytes
        self._limits = limits or PlanLimits()
        self._cursors: list[Cursor] = []  # most recently used first
        self._runs: deque[int] = deque(maxlen=RUNS_REMEMBERED)
        self._expected: deque[ByteRange] = deque(maxlen=INDEXES_REMEMBERED)

    def observe(
        self,
        read: ByteRange,
        *,
        missed: bool = False,
        late: bool = True,
        reader: int = 0,
        now_s: float = 0.0,
    ) -> ReadPlan:
        """Take note of a read and say what lies ahead.

        :param read: the bytes asked for, inside the file, not empty.
        :param missed: they were neither cached nor on their way, so what this planner believes
            it has planned was dropped or evicted, and is planned anew.
        :param late: some of it is not here yet: whoever reads has to wait.
        :param reader: who reads, by a number of its own (a handle).
        :param now_s: on a monotonic clock.
        """
        cursor = self._find(read, reader)
        if cursor is None:
            cursor, advanced = self._start(read, reader, now_s), True
        else:
            self._resume(cursor, now_s)
            advanced = cursor.advance(read)
            cursor.reader, cursor.touched_s = reader, now_s
            if cursor.reads == 2:
                self._abandon_others(cursor)
            cursor.note_pace(now_s, late=late)
        # Also by a read that was overtaken by the last: the kernel sends several at a time.
        if cursor.position >= self._size and cursor.from_the_head:
            self.read_through = True
        if not advanced and not missed:
            return _NOTHING
        if missed:
            cursor.planned_to = min(cursor.planned_to, cursor.position)
        cursor.window_bytes = min(self._desire(cursor), self.max_window_bytes)
        return self._plan(cursor) if cursor.window_bytes else _NOTHING

    def hint(self, index: ByteRange) -> ReadPlan:
        """Have an index read early that programs will look for; nothing when it was said before."""
        index = index.clamped(self._size)
        if not index.length or any(_covers(known, index) for known in self._expected):
            return _NOTHING
        self._expected.append(index)
        return ReadPlan(tuple(_pieces(index, MIB)))

    def wanted(self, wanted: ByteRange, now_s: float = 0.0) -> bool:
        """Whether a reader is still on its way to any byte of this range."""
        if any(_overlap(wanted, index) for index in self._expected):
            return True
        start, stop = wanted.start, wanted.stop + self._limits.near_bytes
        return any(
            start < cursor.planned_to and cursor.position < stop
            for cursor in self._cursors
            if not cursor.abandoned and now_s - cursor.touched_s < IDLE_S
        )

    def windows(self, now_s: float = 0.0) -> list[int]:
        """What the cursors that are being read would have ahead of them, in bytes, uncapped."""
        return [
            self._desire(cursor)
            for cursor in self._cursors
            if cursor.window_bytes and not cursor.abandoned and now_s - cursor.touched_s < IDLE_S
        ]

    def _find(self, read: ByteRange, reader: int) -> Cursor | None:
        near = self._limits.near_bytes
        best, least = None, self._size + 1
        for cursor in self._cursors:
            distance = read.start - cursor.position
            if not distance or (cursor.reader == reader and cursor.was_overtaken(read)):
                best = cursor
                break
            reach = max(0, cursor.planned_to - cursor.position) + near
            if -near <= distance <= reach and abs(distance) < least:
                best, least = cursor, abs(distance)
        if best is not None and best is not self._cursors[0]:
            self._cursors.remove(best)
            self._cursors.insert(0, best)
        return best

    def _start(self, read: ByteRange, reader: int, now_s: float) -> Cursor:
        left = next((cursor for cursor in self._cursors if cursor.reader == reader), None)
        if left is not None:
            self._runs.append(left.run_bytes)
        if len(self._cursors) >= CURSORS:
            # Those that never went on are the traces of random reads.
            victim = next((one for one in reversed(self._cursors) if one.reads == 1), None)
            self._cursors.remove(victim or self._cursors[-1])
        cursor = Cursor(read.start, read.stop, reader, now_s)
        self._cursors.insert(0, cursor)
        return cursor

    def _resume(self, cursor: Cursor, now_s: float) -> None:
        if cursor.abandoned:
            cursor.abandoned = False
            cursor.rewind_plan(now_s)
        elif now_s - cursor.touched_s >= IDLE_S:
            cursor.rewind_plan(now_s)

    def _abandon_others(self, cursor: Cursor) -> None:
        for other in self._cursors:
            if other is not cursor and other.reader == cursor.reader:
                other.abandoned = True

    def _desire(self, cursor: Cursor) -> int:
        """What it would get if there were nobody else."""
        if len(self._runs) == RUNS_REMEMBERED and not cursor.from_the_head:
            usual = max(self._runs)
            if usual < SHORT_RUN_BYTES and 2 * cursor.run_bytes <= 3 * usual:
                even = usual <= 2 * min(self._runs)
                return max(0, usual - cursor.run_bytes) if even or cursor.reads > 1 else 0
        grown = self._growth(cursor) * cursor.earned_window if cursor.reads > 1 else 0
        if cursor.from_the_head:
            trusted = self.likely_sequential or self.read_through
            limits = self._limits
            head = limits.trusted_window_bytes if trusted else limits.first_window_bytes
            grown = max(grown, head)
        grown = min(grown, self.target.window_bytes)
        if cursor.pace is not None:
            paced = paced_window(cursor.pace, self.latency_s)
            grown = min(grown, max(paced, self._limits.first_window_bytes))
        return grown

    def _growth(self, cursor: Cursor) -> int:
        probing = cursor.run_bytes < CAUTIOUS_BYTES and min(self._runs, default=MIB) < MIB
        return CAUTIOUS_GROWTH if probing else GROWTH

    def _plan(self, cursor: Cursor) -> ReadPlan:
        window = cursor.window_bytes
        request = self._request_bytes(window)
        start = max(cursor.planned_to, cursor.position)
        stop = cursor.position + cursor.stride.spread(window)
        if stop >= self._size:
            stop = self._size
            # Nothing comes after it: what is left is spread over as many connections as there are.
            spread = _power_below((stop - start) // PARALLEL)
            request = max(min(request, spread), self._limits.min_request_bytes)
        else:
            # Whole requests only: following every read with its own bytes would make GETs as
            # small as the reads. A window smaller than a request is a remainder: all of it.
            unit = request if window >= request else min(self._block_bytes, request)
            stop = stop // unit * unit
        if stop <= start or (2 * (stop - start) < min(request, window) and stop < self._size):
            return _NOTHING
        if not cursor.stride.learned:
            cursor.planned_to = stop
            return ReadPlan(tuple(_pieces(ByteRange(start, stop), request)))
        stretches = cursor.stride.stretches(ByteRange(start, stop), window)
        cursor.planned_to = stretches[-1].stop if stretches else cursor.planned_to
        return ReadPlan(tuple(part for whole in stretches for part in _parts(whole, request)))

    def _request_bytes(self, window: int) -> int:
        """A power of two, so that windows of all sizes cut the file at the same places."""
        eighth = _power_below(window // 8)
        return max(min(eighth, self.target.request_bytes), self._limits.min_request_bytes)


def _power_below(number: int) -> int:
    """The largest power of two that is not more; at least 1."""
    return 1 << max(0, number.bit_length() - 1)


def _overlap(one: ByteRange, two: ByteRange) -> bool:
    return max(one.start, two.start) < min(one.stop, two.stop)


def _covers(one: ByteRange, two: ByteRange) -> bool:
    return one.start <= two.start and two.stop <= one.stop


def _parts(whole: ByteRange, length: int) -> list[ByteRange]:
    """Cut into parts of about ``length`` that are all as long, as far as that can be."""
    step = -(-whole.length // max(1, round(whole.length / length)))
    starts = range(whole.start, whole.stop, step)
    return [ByteRange(start, min(start + step, whole.stop)) for start in starts]


def _pieces(whole: ByteRange, length: int) -> list[ByteRange]:
    """Cut at the multiples of ``length``."""
    cuts = [whole.start, *range(whole.start // length * length + length, whole.stop, length)]
    return [
        ByteRange(start, min(stop, whole.stop))
        for start, stop in zip(cuts, [*cuts[1:], whole.stop], strict=True)
    ]
