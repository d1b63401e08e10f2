# SPDX-License-Identifier: Apache-2.0
"""Plans which bytes of one source to fetch before they are read. Pure: no clock, no I/O, no lock.

Cursors. Each place that is being read is a *cursor*. The planner belongs to the version of the
source, not to a handle, so all handles share its cursors, and a player that closes and opens the
file keeps them. A read near a cursor, or in the range that was planned for it, moves the cursor, so
a skip forward keeps the requests in flight. Any other read starts a new cursor. If there are
`CURSORS` of them, it replaces the least recently used one. Cursors that were read only once are
replaced first, so random reads do not replace streams.

Windows. The *window* is the range ahead of a cursor that is fetched. A cursor at byte 0 gets
`first_window_bytes` at once. Any other cursor gets no window until a second read continues it. Then
its window is `GROWTH` times the bytes it has earned by reading on (`Cursor.earned_window`). The
limits are the speed of the host, the share of the memory, and the need of a reader that reads at a
steady rate (a player). If the last runs of reads were short, the next run is expected to be as
short, and the window is the rest of it.

A cursor earns the bytes that were read there, minus twice the holes between the reads, so little is
fetched in vain for a reader that jumps. Reads of one stream arrive out of order, because the kernel
sends its own read-ahead in parallel. A hole that is filled later is not counted.

Seeks. If a reader reads on at a new place, it has left its old places: the bytes planned there are
not `wanted` any more until it returns. Only a place that is new to the reader does this, so a
reader that alternates between two places (sound and picture) keeps both. Places that were not read
for `IDLE_S` are not wanted either.

Strides. Some readers read a range, skip a range, and so on, in a *stride*. To fetch the skipped
ranges would waste their share of the host. Two skips of about the same length, after ranges of
about the same length, are a stride. A read inside a range that should be skipped ends it.

Sizes. A connection that makes requests of ``q`` bytes to a host of latency ``l`` and rate ``r``
carries ``q / (l + q / r)``. Requests are so large that latency takes about a third of the time. The
window has enough of them to carry twice the measured throughput of the host: with a window for
exactly that throughput, a higher one would never be measured. A reader at a steady rate needs less:
the bytes that it reads during a short interruption.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from backlotfs.byterange import ByteRange
from backlotfs.config.settings import MIB
from backlotfs.source.bandwidth import NEAR_S, HostStats

#: Smallest request of a large window: the CPU time of smaller ones would be noticeable.
MIN_GROWN_REQUEST_BYTES = 2 * MIB
#: Largest request, so that its connection is soon free for an urgent one; `even_parts` may be half
#: as long again.
MAX_REQUEST_BYTES = 8 * MIB
#: A GET costs a fraction of a millisecond of CPU time, so it should last at least this long.
WORTHWHILE_S = 0.016
#: Fewest requests in a window: the measured throughput may be low because few requests were made.
MIN_IN_FLIGHT = 22
#: The same for a near host, which a few requests use fully; more of a small window stays in the
#: cache of the processor.
MIN_IN_FLIGHT_NEAR = 8
#: Most requests in a window.
MAX_IN_FLIGHT = 32
#: A reader at a steady rate must not notice an interruption of this many seconds …
HICCUP_S = 0.5
#: … and this many latencies.
HICCUP_LATENCIES = 4.0


class WindowTarget(NamedTuple):
    """The window of a reader that reads as fast as it can.

    :ivar window_bytes: size of the window. :ivar request_bytes: size of a GET, a power of two.
    """

    window_bytes: int
    request_bytes: int


#: For a host that was not measured: a window for a fast host that is far away.
UNKNOWN_HOST = WindowTarget(64 * MIB, 4 * MIB)


def window_target(host: HostStats | None) -> WindowTarget:
    """The window that uses a host with these figures fully."""
    if host is None or host.connection_bytes_per_s <= 0:
        return UNKNOWN_HOST
    rate = host.connection_bytes_per_s
    request = power_of_two(int(2 * host.latency_s * rate / 2**0.5))
    request = max(request, power_of_two(int(rate * WORTHWHILE_S / 2**0.5)))
    request = max(MIN_GROWN_REQUEST_BYTES, min(MAX_REQUEST_BYTES, request))
    carried = request / (host.latency_s + request / rate)
    wanted = round(2 * host.total_bytes_per_s / carried)
    least = MIN_IN_FLIGHT if host.latency_s > NEAR_S else MIN_IN_FLIGHT_NEAR
    in_flight = max(least, min(MAX_IN_FLIGHT, wanted))
    return WindowTarget((in_flight + 1) * request, request)


def paced_window(bytes_per_s: float, latency_s: float) -> int:
    """The window of a reader at this steady rate."""
    return int(bytes_per_s * (HICCUP_S + HICCUP_LATENCIES * latency_s))


def power_of_two(number: int) -> int:
    """The smallest power of two that is not less than ``number``; at least 1."""
    return 1 << max(0, number - 1).bit_length()


#: Smaller gaps are fetched: they take less time than the latency of another GET.
MIN_GAP_BYTES = 512 * 1024
#: Two ranges, or two gaps, count as equal up to this difference, because the kernel's own
#: read-ahead makes them vary.
TOLERANCE_BYTES = 256 * 1024

#: Most ranges of a stride that are fetched ahead.
MAX_STRETCHES = 32


@dataclass(slots=True)
class Stride:
    """The last skips of one cursor. Not thread-safe: `Prefetcher` locks it."""

    _run_start: int  # start of the range that is being read
    _run: int = 0
    _gap: int = 0
    _learned: bool = False

    @property
    def learned(self) -> bool:
        """Whether the next skips are known."""
        return self._learned

    def skipped(self, gap: ByteRange) -> None:
        """Record that the reader skipped ``gap``."""
        if gap.length < MIN_GAP_BYTES:
            return
        run = gap.start - self._run_start
        self._learned = (
            self._gap > 0
            and abs(run - self._run) <= TOLERANCE_BYTES
            and abs(gap.length - self._gap) <= TOLERANCE_BYTES
        )
        if self._learned:
            # The longer range and the shorter gap, so that no needed byte is left out.
            run, length = max(run, self._run), min(gap.length, self._gap)
        else:
            length = gap.length
        self._run, self._gap, self._run_start = run, length, gap.stop

    def forget(self, start: int) -> None:
        """Forget the stride; the range that is being read begins at ``start``."""
        self._run_start = start
        self._run = self._gap = 0
        self._learned = False

    def breaks(self, position: int) -> bool:
        """Whether a read up to ``position`` is inside a range that should be skipped."""
        return self._learned and position > self._run_start + self._run + TOLERANCE_BYTES

    def spread(self, window_bytes: int) -> int:
        """How many bytes a window spans, if the ranges that will be skipped do not use its size."""
        if not self._learned:
            return window_bytes
        return min(window_bytes, MAX_STRETCHES * self._run) * (self._run + self._gap) // self._run

    def stretches(self, ahead: ByteRange, longest: int) -> list[ByteRange]:
        """The parts of ``ahead`` that will be read, by a learned stride.

        All parts together are no longer than ``longest``. A part that does not fit, or in which
        ``ahead`` ends, is left out until a later call, so that requests are as large as possible;
        but if each part is longer than ``longest``, one is cut.

        :param ahead: not before the range that is being read.
        """
        period = self._run + self._gap
        start = self._run_start + (ahead.start - self._run_start) // period * period
        left, cut = longest, self._run > longest
        found = []
        while start < ahead.stop and left:
            stop, begin = start + self._run, max(start, ahead.start)
            wanted = max(0, min(stop, ahead.stop) - begin)
            if wanted and (cut or (stop <= ahead.stop and wanted <= left)):
                found.append(ByteRange(begin, begin + min(wanted, left)))
            left -= min(wanted, left)
            start += period
        return found


#: The counts of read bytes and holes are halved when a cursor has read twice this.
MEMORY_BYTES = 64 * 1024 * 1024
#: Number of gaps of one cursor for which later reads are expected.
GAPS_REMEMBERED = 16
#: The rate of a reader is measured over at least this many seconds without a read that waited.
PACE_S = 0.5


@dataclass(slots=True)
class Cursor:
    """One place that is being read. Not thread-safe: `Prefetcher` locks it.

    A *run* is a range that was read without a skip.

    :ivar start: start of the first run. :ivar position: end of the last byte read.
    :ivar planned_to: everything before this was planned, or skipped on purpose.
    :ivar run_start: start of the current run.
    :ivar reader: the last reader. :ivar touched_s: time of the last read.
    :ivar window_bytes: the window of the last plan.
    :ivar abandoned: whether its reader reads elsewhere now, so the planned bytes are not wanted.
    :ivar pace: bytes per second of a reader at a steady rate; None if it reads as fast as it can.
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
        """Length of the current run."""
        return self.position - self.run_start

    @property
    def from_the_head(self) -> bool:
        """Whether everything from byte 0 on was read."""
        return self.start == 0 and not self._holes

    @property
    def earned_window(self) -> int:
        """Bytes earned by reading on, in all runs or in the current one; never negative."""
        run = 2 * min(self._run_read, self.run_bytes) - self.run_bytes
        return max(0, self._read_bytes - 2 * self._holes, run)

    def was_overtaken(self, read: ByteRange) -> bool:
        """Whether ``read`` is in a planned gap that later reads have skipped.

        Reads are recorded after their answers, on several threads. On a busy machine one may be
        recorded when the next reads are many MiB ahead.
        """
        return any(_covers(gap, read) for gap in self._overtaken)

    def advance(self, read: ByteRange) -> bool:
        """Record a read of this cursor; return whether it ends after all reads before it."""
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
                self._holes = 0  # the skipped ranges were not fetched
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
        """Record a read before the position: one that later reads overtook, or a repeated one."""
        if read.start < self.start:
            self._holes += max(0, self.start - read.stop)
            self._read_bytes += min(read.stop, self.start) - read.start
            self.start = read.start
        else:
            filled = min(read.length, self._holes)
            self._holes -= filled
            self._read_bytes += filled
        if read.start < self.run_start:  # it was not a skip
            self.run_start = read.start
            self.stride.forget(read.start)
        self._run_read += read.length
        advanced = read.stop > self.position
        self.position = max(self.position, read.stop)
        return advanced

    def note_pace(self, now_s: float, *, late: bool) -> None:
        """Measure the rate of the reader.

        :param late: whether the read has to wait; then the rate is that of the host.
        """
        elapsed = now_s - self._paced_since_s
        if late:
            self.pace = None
        elif elapsed < PACE_S:
            return
        else:
            self.pace = (self.position - self._paced_from) / elapsed
        self._paced_from, self._paced_since_s = self.position, now_s

    def rewind_plan(self, now_s: float) -> None:
        """Plan everything ahead again, because requests may have been dropped meanwhile."""
        self.planned_to = self.position
        self._paced_from, self._paced_since_s = self.position, now_s


#: Most cursors of one source.
CURSORS = 16
#: A window is this many times the earned bytes, so it is full after three round trips.
GROWTH = 8
#: The same if the reader left other places after short runs, until its run has this length.
CAUTIOUS_GROWTH = 2
CAUTIOUS_BYTES = 2 * MIB
#: A place that was not read for this long gets no memory and no requests.
IDLE_S = 2.0
#: If this many runs in a row were shorter than `SHORT_RUN_BYTES`, the next one is expected to be
#: short too.
RUNS_REMEMBERED = 3
SHORT_RUN_BYTES = 16 * MIB
#: Two hints of an index: the end of a file, and the place that its head names.
INDEXES_REMEMBERED = 2
#: The end of a file is fetched in about this many parts.
PARALLEL = 16
#: A small window is split into about this many requests, if few files are read.
WINDOW_REQUESTS = 8


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """The sizes that plans are made with.

    :ivar first_window_bytes: the first window at the head of a file.
    :ivar trusted_window_bytes: the same for a file that is probably read completely.
    :ivar near_bytes: how far from a cursor a read may begin and still continue it; reads that the
        kernel sends in parallel overtake each other by less.
    :ivar min_request_bytes: the smallest request, while the window is small.
    """

    first_window_bytes: int = 512 * 1024
    trusted_window_bytes: int = 32 * MIB
    near_bytes: int = 4 * MIB
    min_request_bytes: int = 256 * 1024


class ReadPlan(NamedTuple):
    """The ranges to fetch ahead of a read: one GET each, ascending, disjoint; often none."""

    requests: tuple[ByteRange, ...]


_NOTHING = ReadPlan(())


class ReadPlanner:
    """Plans from the reads of one version of a source. Not thread-safe: `Prefetcher` locks it.

    :ivar max_window_bytes: limit of a window, by the share of the memory; may change.
    :ivar target: the window that uses the host fully; may change.
    :ivar latency_s: latency of the host; may change.
    :ivar window_requests: requests of a window; fewer if other files are read too; may change.
    :ivar expected_bytes: how many bytes of the file, from its head, will probably be read, judged
        by the files that the program read last, or by its name; None: not known.
    :ivar read_through: whether the file was read from its head to its end.
    """

    def __init__(
        self,
        size: int,
        *,
        max_window_bytes: int,
        block_bytes: int,
        limits: PlanLimits | None = None,
    ) -> None:
        """Plan for a file of ``size`` bytes."""
        self.max_window_bytes = max_window_bytes
        self.target: WindowTarget = UNKNOWN_HOST
        self.latency_s = 0.0
        self.window_requests = WINDOW_REQUESTS
        self.expected_bytes: int | None = None
        self.read_through = False
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
        """Record a read and plan what to fetch ahead of it.

        :param read: the bytes of the read, inside the file, not empty.
        :param missed: whether a block was neither cached nor in flight; then the planned requests
            were dropped, or their blocks evicted, and they are planned again.
        :param late: whether the reader has to wait for a block.
        :param reader: number of the reader (its file handle).
        :param now_s: on a monotonic clock.
        """
        cursor = self._find(read, reader, missed=missed)
        if cursor is None:
            cursor, advanced = self._start(read, reader, now_s), True
        else:
            self._resume(cursor, now_s)
            advanced = cursor.advance(read)
            cursor.touched_s = now_s
            if advanced:  # a late read by another handle does not change the reader of the cursor
                cursor.reader = reader
            if cursor.reads == 2 and cursor.reader == reader:
                self._abandon_others(cursor)
            cursor.note_pace(now_s, late=late)
        # Checked for each read, because the read of the last bytes may be recorded before others.
        if cursor.position >= self._size and cursor.from_the_head:
            self.read_through = True
        if not advanced and not missed:
            return _NOTHING
        if missed:
            cursor.planned_to = min(cursor.planned_to, cursor.position)
        cursor.window_bytes = min(self._desire(cursor), self.max_window_bytes)
        return self._plan(cursor) if cursor.window_bytes else _NOTHING

    def hint(self, index: ByteRange) -> ReadPlan:
        """Plan an index that programs will probably read; nothing if it was planned before."""
        index = index.clamped(self._size)
        if not index.length or any(_covers(known, index) for known in self._expected):
            return _NOTHING
        self._expected.append(index)
        return ReadPlan(tuple(_pieces(index, MIB)))

    def wanted(self, wanted: ByteRange, now_s: float = 0.0) -> bool:
        """Whether a reader still needs any byte of this range soon."""
        if any(_overlap(wanted, index) for index in self._expected):
            return True
        start, stop = wanted.start, wanted.stop + self._limits.near_bytes
        return any(
            start < cursor.planned_to and cursor.position < stop
            for cursor in self._cursors
            if not cursor.abandoned and now_s - cursor.touched_s < IDLE_S
        )

    def windows(self, now_s: float = 0.0) -> list[int]:
        """The windows that the active cursors need, in bytes, without the memory's limit."""
        return [
            self._desire(cursor)
            for cursor in self._cursors
            if cursor.window_bytes and not cursor.abandoned and now_s - cursor.touched_s < IDLE_S
        ]

    def _find(self, read: ByteRange, reader: int, *, missed: bool) -> Cursor | None:
        near = self._limits.near_bytes
        best, least, late = None, self._size + 1, None
        for cursor in self._cursors:
            distance = read.start - cursor.position
            overtaken = cursor.was_overtaken(read)
            if not distance or (overtaken and cursor.reader == reader):
                best = cursor
                break
            if overtaken and not missed and late is None:
                late = cursor
            reach = max(0, cursor.planned_to - cursor.position) + near
            if -near <= distance <= reach and abs(distance) < least:
                best, least = cursor, abs(distance)
        # Several handles that read one stream overtake each other too, and do not miss blocks.
        best = best or late
        if best is not None and best is not self._cursors[0]:
            self._cursors.remove(best)
            self._cursors.insert(0, best)
        return best

    def _start(self, read: ByteRange, reader: int, now_s: float) -> Cursor:
        left = next((cursor for cursor in self._cursors if cursor.reader == reader), None)
        if left is not None:
            self._runs.append(left.run_bytes)
        if len(self._cursors) >= CURSORS:
            # Cursors with one read come from random reads.
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
        """The window that a cursor needs, without the memory's limit."""
        if len(self._runs) == RUNS_REMEMBERED and not cursor.from_the_head:
            usual = max(self._runs)
            if usual < SHORT_RUN_BYTES and 2 * cursor.run_bytes <= 3 * usual:
                even = usual <= 2 * min(self._runs)
                return max(0, usual - cursor.run_bytes) if even or cursor.reads > 1 else 0
        grown = self._growth(cursor) * cursor.earned_window if cursor.reads > 1 else 0
        if cursor.from_the_head:
            limits, expected = self._limits, self.expected_bytes
            if self.read_through or expected == self._size:
                head = limits.trusted_window_bytes
            elif expected is None:
                head = limits.first_window_bytes
            else:
                head = min(limits.first_window_bytes, max(0, expected - cursor.position))
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
        request = self._request_bytes(window, paced=cursor.pace is not None)
        start = max(cursor.planned_to, cursor.position)
        stop = cursor.position + cursor.stride.spread(window)
        if stop >= self._size:
            stop = self._size
            # This is the end of the file: split the rest evenly over many connections.
            spread = -(-(stop - start) // PARALLEL)
            request = max(min(request, spread), self._limits.min_request_bytes)
            cut_up = even_parts
        else:
            # Only whole requests, because otherwise each read would cause a GET of its own size.
            # A window smaller than a request is fetched completely.
            unit = request if window >= request else min(self._block_bytes, request)
            stop = stop // unit * unit
            cut_up = _pieces
        if stop <= start or (2 * (stop - start) < min(request, window) and stop < self._size):
            return _NOTHING
        if not cursor.stride.learned:
            cursor.planned_to = stop
            return ReadPlan(tuple(cut_up(ByteRange(start, stop), request)))
        stretches = cursor.stride.stretches(ByteRange(start, stop), window)
        cursor.planned_to = stretches[-1].stop if stretches else cursor.planned_to
        return ReadPlan(tuple(part for whole in stretches for part in even_parts(whole, request)))

    def _request_bytes(self, window: int, *, paced: bool) -> int:
        """The size of a request: a power of two, so that windows cut at the same places.

        :param paced: whether the reader reads at a steady rate. Then one request is in flight while
            another one is read, however many files are read.
        """
        requests = max(2, self.window_requests) if paced else self.window_requests
        part = power_below(window // requests)
        return max(min(part, self.target.request_bytes), self._limits.min_request_bytes)


def power_below(number: int) -> int:
    """The largest power of two that is not more than ``number``; at least 1."""
    return 1 << max(0, number.bit_length() - 1)


def even_parts(whole: ByteRange, length: int) -> list[ByteRange]:
    """Cut into parts that are equally long, except for the last.

    :param whole: not empty. :param length: of a part, about: a part has up to half as much again.
    """
    step = -(-whole.length // max(1, round(whole.length / length)))
    starts = range(whole.start, whole.stop, step)
    return [ByteRange(start, min(start + step, whole.stop)) for start in starts]


def _overlap(one: ByteRange, two: ByteRange) -> bool:
    return max(one.start, two.start) < min(one.stop, two.stop)


def _covers(one: ByteRange, two: ByteRange) -> bool:
    return one.start <= two.start and two.stop <= one.stop


def _pieces(whole: ByteRange, length: int) -> list[ByteRange]:
    """Cut a range at the multiples of ``length``."""
    cuts = [whole.start, *range(whole.start // length * length + length, whole.stop, length)]
    return [
        ByteRange(start, min(stop, whole.stop))
        for start, stop in zip(cuts, [*cuts[1:], whole.stop], strict=True)
    ]
